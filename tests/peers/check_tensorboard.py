#!/usr/bin/env python3
"""Does TensorBoard read the event files of a run as `metrics.jsonl` has them?

  check_tensorboard.py RUN

RUN is the output folder of `vitcuda train`. Tags, steps and values are compared, values as the f32
that event files hold; metrics.csv must agree too. Prints one line a check and exits with 1 if one
fails.
"""

import argparse
import csv
import json
import math
import pathlib
import sys

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {
    "logged": {
        "loss": "train/loss",
        "grad_norm": "train/grad_norm",
        "learning_rate": "train/learning_rate",
    },
    "evaluated": {
        "eval_loss": "eval/loss",
        "eval_accuracy": "eval/accuracy",
        "eval_runtime": "eval/runtime",
        "eval_samples_per_second": "eval/samples_per_second",
        "eval_steps_per_second": "eval/steps_per_second",
    },
}
RESULTS = ["train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss"]


def same(found, wanted):
    """Equal points, NaN equal to null."""
    value = lambda v: math.nan if v is None else float(numpy.float32(v))
    found = [(step, value(v)) for step, v in found]
    wanted = [(step, value(v)) for step, v in wanted]
    return len(found) == len(wanted) and all(
        a[0] == b[0] and (a[1] == b[1] or (math.isnan(a[1]) and math.isnan(b[1]))) for a, b in zip(found, wanted)
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=pathlib.Path)
    run = parser.parse_args().run
    checks = []

    folders = sorted((run / "runs").iterdir())
    checks.append((f"one folder of events: {[f.name for f in folders]}", len(folders) == 1))
    events = EventAccumulator(str(folders[0]), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    texts = ["args/text_summary", "model_config/text_summary"]
    checks.append((f"texts: {tags['tensors']}", sorted(tags["tensors"]) == texts))
    for tag in texts:
        text = events.Tensors(tag)[0].tensor_proto.string_val[0]
        checks.append((f"{tag} is JSON of {len(text)} bytes", isinstance(json.loads(text), dict)))

    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    points = {tag: [] for keys in TAGS.values() for tag in keys.values()}
    for row in rows:
        for key, tag in TAGS.get(row["event"], {}).items():
            points[tag].append((row["step"], row[key]))
    last = max(row["step"] for row in rows)
    results = json.loads((run / "train_results.json").read_text())
    for key in RESULTS:
        points[f"train/{key}"] = [(last, results[key])]
    for tag, wanted in points.items():
        if wanted:
            found = [(p.step, p.value) for p in events.Scalars(tag)] if tag in tags["scalars"] else []
            checks.append((f"{tag}: {len(found)} points", same(found, wanted)))
    wanted = {tag for tag, wanted in points.items() if wanted} | {"train/epoch"}
    checks.append((f"no other tags: {set(tags['scalars']) - wanted}", set(tags["scalars"]) == wanted))

    with open(run / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    for event, keys in TAGS.items():
        for key in keys:
            wanted = [(r["step"], r[key]) for r in rows if r["event"] == event]
            steps = {step for step, _ in wanted}
            found = [(int(r["step"]), float(r[key]) if r[key] else None) for r in table if int(r["step"]) in steps]
            if wanted:
                checks.append((f"metrics.csv, {key}: {len(found)} rows", same(found, wanted)))

    for what, passed in checks:
        print("ok    " if passed else "FAILED", what)
    sys.exit(not all(passed for _, passed in checks))


if __name__ == "__main__":
    main()
