#!/bin/sh
# Runs COMMAND with the emulator in place of libcuda and libnvrtc:
#   scripts/with_emulator.sh COMMAND [ARGUMENT…]
# VITCUDA_EMULATE picks the device: sm_75, sm_80 (default), sm_86, sm_89, sm_90, sm_120.
set -eu

if [ $# -eq 0 ]; then
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
fi

root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
cargo build --quiet --release --manifest-path "$root/emulator/Cargo.toml"

links=$target/release/emulator
mkdir -p "$links"
for name in libcuda.so libcuda.so.1 libnvrtc.so libnvrtc.so.13 libnvrtc.so.12; do
    # Renamed into place: another command may be starting at this moment.
    ln -sf "$target/release/libvitcuda_emulator.so" "$links/.$name.$$"
    mv -f "$links/.$name.$$" "$links/$name"
done

# The kernels the emulator compiled stay for the next command.
mkdir -p "$target/emulator-cache"
export VITCUDA_EMULATOR_CACHE="${VITCUDA_EMULATOR_CACHE:-$target/emulator-cache}"
export VITCUDA_EMULATE="${VITCUDA_EMULATE:-sm_80}"
export LD_LIBRARY_PATH="$links${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# The emulator's NVRTC hands the text on to NVIDIA's. That one alone would crash beside a driver that is
# not NVIDIA's.
VITCUDA_TEST_NVRTC=$("$root/scripts/nvrtc.sh" --fetch)
export VITCUDA_TEST_NVRTC
unset VITCUDA_NVRTC
exec "$@"
