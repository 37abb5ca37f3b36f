#!/usr/bin/env bash
# Ends runs at every call to the file system that they make: killed, stopped by a signal, on a full disk;
# with checkpoints and without, over an older run, while going on. Each is resumed and has to end in the bits
# of a run that nothing befell. The tests do the same at a few of these moments.
#   scripts/kill_everywhere.sh [--stride N] [TEST]
set -euo pipefail
cd "$(dirname "$0")/.."

export VITCUDA_KILL_STRIDE=1
if [[ "${1:-}" == --stride ]]; then
    VITCUDA_KILL_STRIDE="$2"
    shift 2
fi
cargo test --locked --release --test cli -- --test-threads 1 "kill_everywhere::${1:-}"
