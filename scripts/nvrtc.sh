#!/bin/sh
# Prints where the NVRTC is that the tests compile kernels with for the emulated GPU:
#   scripts/nvrtc.sh [--fetch]
# That is the file VITCUDA_TEST_NVRTC names, or else the newest under target/nvrtc. With --fetch one is
# put there where there is none, by Python's pip. Where it cannot be had, says why and fails.
# (VITCUDA_NVRTC is another thing: the NVRTC of a real GPU.)
set -u

root=$(cd "$(dirname "$0")/.." && pwd)
folder=${CARGO_TARGET_DIR:-$root/target}/nvrtc
package='nvidia-cuda-nvrtc>=13.2,<14'

# The same rule as in emulator/tests/common/first.rs, for which the tests need no script.
newest() {
    find "$folder" -name 'libnvrtc.so*' -printf '%f %p\n' 2>/dev/null | sort -V | tail -n 1 | cut -d ' ' -f 2-
}

fail() {
    printf 'no NVRTC: %s\n' "$1" >&2
    exit 1
}

fetch() {
    [ "$(uname -s)" = Linux ] || fail "the emulated GPU is made for Linux"
    command -v python3 >/dev/null || fail "python3, which installs it, is missing"
    python=python3
    if ! python3 -m pip --version >/dev/null 2>&1; then
        python3 -m venv "$folder/python" >/dev/null 2>&1 \
            || fail "python3 has neither pip nor venv (Debian and Ubuntu: apt install python3-venv)"
        python=$folder/python/bin/python
    fi
    printf 'Fetching NVRTC into %s\n' "$folder" >&2
    # Complete or not there: whoever looks meanwhile finds nothing.
    partial=$folder-partial.$$
    mkdir -p "$folder" "$partial" || fail "$folder cannot be written"
    if ! "$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --retries 1 \
        --target "$partial/packages" "$package" >"$partial/log" 2>&1; then
        cat "$partial/log" >&2
        rm -rf "$partial"
        fail "pip could not install $package"
    fi
    rm -rf "$folder/packages"
    mv "$partial/packages" "$folder/packages"
    rm -rf "$partial"
}

library=${VITCUDA_TEST_NVRTC:-}
[ -n "$library" ] || library=$(newest)
if [ -z "$library" ] && [ "${1:-}" = --fetch ]; then
    fetch
    library=$(newest)
fi
[ -n "$library" ] || fail "none under $folder"
[ -f "$library" ] || fail "$library is no file"
case $library in
/*) ;;
*) library=$PWD/$library ;; # cargo starts tests elsewhere
esac
printf '%s\n' "$library"
