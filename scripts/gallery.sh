#!/bin/sh
# Makes the pictures of the README anew: trains on synthetic pictures, then looks inside.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cargo build --release --manifest-path "$root/Cargo.toml"
cd "$work"
"$root/target/release/convscope" train
"$root/target/release/convscope" explain --run runs/001
"$root/target/release/convscope" learned --run runs/001
cp runs/001/features/overview.png "$root/docs/overview.png"
# The first that was explained: the worst mistake.
cp "$(ls -dtr runs/001/explain/*/ | head -n 1)index.png" "$root/docs/explain.png"
cp runs/001/learned/block-4-patches.png "$root/docs/learned.png"
