#!/usr/bin/env bash
# Feeds mutated files to every parser (fuzz/README.md):
#   scripts/fuzz.sh --seconds S [TARGET…]     each parser for so long
#   scripts/fuzz.sh --long [TARGET…]          10^7 JPEGs, 10^6 of each other
# Before the long run comes one of a tenth, built so that arithmetic that overflows panics and branches are
# counted. Either goes on from the inputs that ever reached something new in such a one (target/fuzz/keep).
# Options before them: --seed N (else the date's), --share DIVISOR (of the long run's numbers), --jobs N
# (parsers at a time, else two).
# Prints a line for each parser; fails if one shows a fault. Leaves target/fuzz/summary.txt.
set -euo pipefail

seed=$(date +%Y%m%d) divisor=1 jobs=2 mode='' seconds=0
while [[ "${1:-}" == --* ]]; do
    case "$1" in
        --seed) seed=$2; shift 2 ;;
        --share) divisor=$2; shift 2 ;;
        --jobs) jobs=$2; shift 2 ;;
        --seconds) mode=smoke seconds=$2; shift 2 ;;
        --long) mode=long; shift ;;
        *) mode=''; break ;;
    esac
done
if [[ -z "$mode" ]]; then
    sed -n '2,10s/^# //p' "$0" >&2
    exit 2
fi
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
out="$target/fuzz"
mkdir -p "$out"

if [[ "$mode" == long ]]; then
    # A target triple keeps these flags from build scripts.
    triple=$(rustc -vV | sed -n 's/^host: //p')
    export RUSTFLAGS="-C debug-assertions -C overflow-checks -C passes=sancov-module \
        -C llvm-args=-sanitizer-coverage-level=3 -C llvm-args=-sanitizer-coverage-inline-8bit-counters"
    cargo build --quiet --locked --release --example fuzz --target "$triple" --target-dir "$out/build"
    unset RUSTFLAGS
    counted="$out/build/$triple/release/examples/fuzz"
fi
cargo build --quiet --locked --release --example fuzz
fuzz="$target/release/examples/fuzz"
mapfile -t targets < <("$fuzz" list)
(($# == 0)) || targets=("$@")

# A parser's session in a build.
session() {
    local fuzz=$1 name=$2
    "$fuzz" run "$name" "${@:3}" --seed "$seed" --found "$out/found" >>"$out/$name.txt" \
        || { echo "$name: a fault" >>"$out/$name.txt"; touch "$out/failed"; }
}
run() {
    local name=$1 runs=1000000
    : >"$out/$name.txt"
    if [[ "$mode" == long ]]; then
        [[ "$name" != jpeg ]] || runs=10000000
        session "$counted" "$name" --runs $((runs / divisor / 10)) --keep "$out/keep/$name"
        session "$fuzz" "$name" --runs $((runs / divisor)) --keep "$out/keep/$name"
    else
        session "$fuzz" "$name" --seconds "$seconds"
    fi
    cat "$out/$name.txt"
}
rm -f "$out/failed"
printf 'seed %s, %s\n' "$seed" "$(rustc --version)"
for name in "${targets[@]}"; do
    while (($(jobs -rp | wc -l) >= jobs)); do wait -n || true; done
    run "$name" &
done
wait
{
    printf 'seed %s, %s, commit %s\n' "$seed" "$(rustc --version)" "$(git rev-parse --short HEAD)"
    for name in "${targets[@]}"; do cat "$out/$name.txt"; done
} >"$out/summary.txt"
if [[ -e "$out/failed" ]]; then
    echo "FAILED: the inputs are in $out/found; what to do with them says fuzz/README.md" >&2
    exit 1
fi
