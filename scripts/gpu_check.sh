#!/usr/bin/env bash
# Packs what a check on a real GPU needs into one file, target/gpu_check.tar.gz, of less than 64 MiB:
#   scripts/gpu_check.sh MODEL PHOTOS
# MODEL: folder of a pretrained model, in f16 where it is large (a ViT-S has 43 MB then, 87 in f32).
# PHOTOS: folder with train/CLASS/… and validation/CLASS/…, of which some are taken
# (TRAIN_PHOTOS=100 and VALIDATION_PHOTOS=25 of each class).
# The box needs a driver, NVRTC (a wheel of Python's will do) and Python, nothing of this project:
#   tar xf gpu_check.tar.gz && OUT=results sh gpu_check/run.sh
# With `--nvrtc PATH` it tries other NVRTCs, too (benches/runs/QUEUE.md, the first entry).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
fail() { printf 'gpu_check: %s\n' "$1" >&2; exit 2; }
[[ $# -eq 2 ]] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
model=$1 photos=$2
[[ -f $model/config.json && -f $model/model.safetensors ]] || fail "$model is no model's folder"
[[ -d $photos/train && -d $photos/validation ]] || fail "$photos has no train/ and validation/"
target=${CARGO_TARGET_DIR:-$root/target}

cargo build --quiet --release --locked --manifest-path "$root/Cargo.toml"

package=$target/gpu_check
rm -rf "$package"
mkdir -p "$package/model"
cp "$target/release/vitcuda" "$root"/scripts/gpu_check/{run.sh,summary.py} "$package"
cp "$model"/*.json "$model/model.safetensors" "$package/model"
chmod -R u+w "$package"
git -C "$root" describe --always --dirty --abbrev=12 >"$package/version" 2>/dev/null \
    || echo unknown >"$package/version"

# take SPLIT COUNT: the first photos of each class, by name.
take() {
    local class
    for class in "$photos/$1"/*/; do
        local to=$package/photos/$1/$(basename "$class")
        mkdir -p "$to"
        find -L "$class" -maxdepth 1 -type f | sort | head -n "$2" | while read -r photo; do
            cp "$photo" "$to"
        done
    done
}
take train "${TRAIN_PHOTOS:-100}"
take validation "${VALIDATION_PHOTOS:-25}"

# In the folder as in the file: some boxes count the one, some the other.
limit=$((64 << 20))
unpacked=$(du -sb "$package" | cut -f1)
((unpacked < limit)) || fail "$unpacked bytes; $limit is the limit: take fewer photos, or weights in f16"
tar -C "$target" -czf "$target/gpu_check.tar.gz" gpu_check
printf '%s: %s bytes, %s unpacked\n' \
    "$target/gpu_check.tar.gz" "$(wc -c <"$target/gpu_check.tar.gz")" "$unpacked"
