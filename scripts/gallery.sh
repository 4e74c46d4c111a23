#!/bin/sh
# Makes the images of the README anew: trains on synthetic images, looks inside, and photographs the pages with Chromium.
# CONVSCOPE names the program, if it is built already; CHROMIUM the browser.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
browser=${CHROMIUM:-chromium}
command -v "$browser" >/dev/null || { echo "gallery.sh: there is no $browser: install Chromium, or name it in CHROMIUM" >&2; exit 1; }
if [ -z "${CONVSCOPE:-}" ]; then
    cargo build --release --manifest-path "$root/Cargo.toml"
    CONVSCOPE=$root/target/release/convscope
fi
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cd "$work"

# photograph PAGE HEIGHT IMAGE: the top of a page.
photograph() {
    "$browser" --headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --user-data-dir="$work/browser" --hide-scrollbars \
        --window-size="1200,$2" --screenshot="$root/docs/$3" "file://$work/$1" 2>"$work/browser.log" ||
        { cat "$work/browser.log" >&2; exit 1; }
}

"$CONVSCOPE" train
"$CONVSCOPE" explain --run runs/001
"$CONVSCOPE" learned --run runs/001
photograph runs/001/features/index.html 1500 overview.png
# The first that was explained: the worst mistake.
photograph "$(ls -dtr runs/001/explain/*/ | head -n 1)index.html" 2400 explain.png
photograph runs/001/learned/index.html 1500 learned.png
