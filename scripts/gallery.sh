#!/bin/sh
# Makes the pictures of the README anew: trains on synthetic pictures, then looks inside.
set -eu
cd "$(dirname "$0")/.."
run=$(mktemp -d)/run
cargo run --release -- train --out "$run"
cargo run --release -- explain --run "$run"
cargo run --release -- learned --run "$run"
cp "$run/features/overview.png" docs/overview.png
cp "$(ls -d "$run"/explain/*/ | head -n 1)index.png" docs/explain.png
cp "$run/learned/block-4-patches.png" docs/learned.png
rm -r "$run"
