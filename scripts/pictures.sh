#!/bin/sh
# Makes the README's pictures again, from runs on the embedded digits: docs/*.png and docs/*.svg.
# Needs Chromium for the one of the report.
set -eu
cd "$(dirname "$0")/.."
command -v chromium >/dev/null || { echo "chromium is missing: it draws docs/report.png" >&2; exit 1; }
cargo build --release --quiet
vitcuda="$PWD/${CARGO_TARGET_DIR:-target}/release/vitcuda"
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT

"$vitcuda" data show --grid 2x6 -o docs/grid.png
"$vitcuda" train --quiet --output-dir "$runs/digits"
"$vitcuda" train --quiet --output-dir "$runs/lower-rate" --learning-rate 2e-4
"$vitcuda" plot "$runs/digits" "$runs/lower-rate" -o docs/curves.svg
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,1560 \
    --screenshot="$PWD/docs/report.png" "file://$runs/digits/report.html" 2>/dev/null
