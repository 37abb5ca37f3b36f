#!/bin/sh
# Tries single slips in the kernels, which the tests must catch (emulator/mutations.txt):
#   scripts/mutate.sh --all
#   scripts/mutate.sh --sample N --seed S    N of them, the same for the same seed
#   scripts/mutate.sh NAME…
# First the tests must pass without a slip. Fails if a slip survives that is not listed as
# equivalent, or one is caught that is. Leaves a table in target/mutations.md.
set -eu

if [ $# -eq 0 ]; then
    sed -n '2,7s/^# //p' "$0" >&2
    exit 2
fi

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}

# Where cargo put a test binary.
built() {
    cargo test --locked --release --test "$1" --no-run 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$/\1/p'
}

set -- --target "$target" "$@"
for name in kernels cuda; do
    grep -q "^test $name " emulator/mutations.txt || continue
    path=$(built "$name")
    [ -x "$path" ] || { echo "mutate: the test binary $name could not be built" >&2; exit 2; }
    set -- --binary "$name=$path" "$@"
done
cargo build --quiet --locked --release -p vitcuda-emulator --example mutate
exec "$target/release/examples/mutate" "$@"
