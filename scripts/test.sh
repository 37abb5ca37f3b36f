#!/usr/bin/env bash
# Runs the tests, those of the kernels on the emulated GPU with them:
#   scripts/test.sh [ARGUMENT OF cargo test…]
# The kernels are compiled by NVIDIA's NVRTC, which Python fetches into target/ the first time. Where there
# is no Python or no network, the tests that need it are left out, and the end says so.
set -euo pipefail
cd "$(dirname "$0")/.."

if library=$(scripts/nvrtc.sh --fetch); then
    export VITCUDA_TEST_NVRTC="$library"
    printf 'Kernels are compiled by %s\n' "$library" >&2
    exec cargo test --release "$@"
fi

status=0
cargo test --release "$@" || status=$?
cat >&2 <<'TEXT'

Left out, for there is no NVRTC here: the tests on the emulated GPU, which the tests `kernels` and `cuda`
report as ignored. To have them, run scripts/test.sh where python3 and the network are (once: NVRTC stays in
target/), or let VITCUDA_TEST_NVRTC name a libnvrtc.so.13.
TEXT
exit "$status"
