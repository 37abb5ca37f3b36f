#!/bin/sh
# The whole check on the GPU of this box; results go to $OUT (default: results), summary.md first.
#   OUT=results sh run.sh [--torch torch_vit.py] [--nvrtc PATH]… [--deadline SECONDS] [--only PART,PART…]
# PARTs, in this order: doctor train kernels steps torch. --torch times PyTorch beside us with that
# script. Every NVRTC that is named with --nvrtc (the library, or the folder with it) has to pass
# doctor --full, beside the one that is found; all else is done with the one that is found. By the deadline (570 s from the start) all is over; a part gets a third of the time at most.
# CHECK_MODELS="PRESET:BATCH …" is what is timed, CHECK_REPEATS (20) times.
# Fails where doctor --full, the training run or the evaluation of its result does.
set -u

here=$(cd "$(dirname "$0")" && pwd)
OUT=${OUT:-results}
torch='' nvrtcs='' deadline=570 only=doctor,train,kernels,steps,torch
while [ $# -gt 0 ]; do
    case $1 in
        --torch) torch=$2 ;;
        --nvrtc) nvrtcs="$nvrtcs
$2" ;;
        --deadline) deadline=$2 ;;
        --only) only=$2 ;;
        *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift 2
done
models=${CHECK_MODELS:-vit_small_patch14_224:64 vit_base_patch16_224:64}
repeats=${CHECK_REPEATS:-20}
mkdir -p "$OUT" || exit 2
OUT=$(cd "$OUT" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
vitcuda=$here/vitcuda
status=0
begin=$(date +%s)

wanted() { case ",$only," in *",$1,"*) true ;; *) false ;; esac; }

# run NAME FILE COMMAND…: appends its output to FILE, its messages and how it ended to log.txt.
run() {
    name=$1 file=$2
    shift 2
    start=$(date +%s)
    limit=$((begin + deadline - start))
    [ $limit -le $((deadline / 3)) ] || limit=$((deadline / 3))
    printf '\n%s: %s\n' "$name" "$*" >>"$OUT/log.txt"
    if [ $limit -gt 0 ]; then
        timeout $limit "$@" >>"$OUT/$file" 2>>"$OUT/log.txt"
        code=$?
    else
        code='not run'
    fi
    printf 'PART\t%s\t%s\t%s s\n' "$name" "$code" $(($(date +%s) - start)) | tee -a "$OUT/log.txt"
    [ "$code" = 0 ]
}
# The same, and the check fails where it does.
must() { run "$@" || status=1; }

box() {
    date -u +%Y-%m-%dT%H:%MZ
    printf 'vitcuda %s\n' "$(cat "$here/version")"
    uname -srm
    nvidia-smi || true
    python3 -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)' || true
}
box >>"$OUT/log.txt" 2>&1

if wanted doctor; then
    must doctor doctor.txt "$vitcuda" doctor --device cuda
    must 'doctor --full' doctor.txt "$vitcuda" doctor --full --device cuda
    # Lines, since a path may have blanks.
    while read -r nvrtc; do
        [ -z "$nvrtc" ] || must "doctor --full with $nvrtc" doctor.txt \
            env VITCUDA_NVRTC="$nvrtc" "$vitcuda" doctor --full --device cuda </dev/null
    done <<END
$nvrtcs
END
fi

if wanted train; then
    must train train.jsonl "$vitcuda" train "$here/photos" --device cuda --model "$here/model" \
        --learning-rate 2e-5 --epochs 3 --batch-size 16 --eval-steps 10 --logging-steps 5 \
        --output-dir "$work/run" --json
    # The model that came out, by both devices: what the GPU has made is what the CPU reads.
    for device in cuda cpu; do
        must "eval on $device" train.jsonl "$vitcuda" eval "$work/run" "$here/photos" \
            --device $device --json
    done
fi

for pair in $models; do
    model=${pair%:*} batch=${pair#*:}
    # A folder of the package.
    [ ! -d "$here/$model" ] || model=$here/$model
    if wanted kernels; then
        for precision in f16 bf16; do
            run "kernels $pair $precision" kernels.jsonl "$vitcuda" bench --kernels --json \
                --device cuda --model "$model" --batch-size "$batch" --repeats "$repeats" \
                --precision $precision
        done
    fi
    if wanted steps; then
        run "steps $pair" steps.jsonl "$vitcuda" bench --step --json --device cuda \
            --model "$model" --batch-size "$batch" --warmup 5 --repeats "$repeats"
    fi
done

if wanted torch && [ -n "$torch" ]; then
    for pair in $models; do
        peer=$(printf %s "${pair%:*}" | tr _ -) batch=${pair#*:}
        run "torch kernels $pair" torch.jsonl python3 "$torch" kernels --model "$peer" \
            --batch "$batch"
        for mode in eager compile; do
            run "torch $mode step $pair" torch.jsonl python3 "$torch" step --model "$peer" \
                --batch "$batch" --precision fp16 --mode $mode
        done
    done
fi

python3 "$here/summary.py" "$OUT" | tee "$OUT/summary.md"
exit $status
