#!/usr/bin/env python3
"""Does transformers load a folder that vitcuda saved as it loads its own?

  check_transformers.py FOLDER                                   keys and configuration only
  check_transformers.py FOLDER --same-as FOLDER --inputs FILE    and the same logits, bit for bit,
                                                                 for `pixel_values` of FILE

Prints one line a check and exits with 1 if one fails.
"""

import argparse
import sys

import torch
from safetensors.torch import load_file
from transformers import ViTForImageClassification


def load(folder):
    model, info = ViTForImageClassification.from_pretrained(folder, output_loading_info=True)
    return model.eval(), info


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--same-as")
    parser.add_argument("--inputs")
    args = parser.parse_args()
    checks = []

    model, info = load(args.folder)
    checks += [(f"{kind}: {sorted(names)}", not names) for kind, names in info.items()]
    dtypes = {p.dtype for p in model.parameters()}
    checks.append((f"types: {dtypes}", dtypes == {torch.float32}))
    labels = model.config.id2label
    inverse = {name: i for i, name in labels.items()}
    checks.append((f"labels: {labels}", model.config.label2id == inverse and len(labels) == model.config.num_labels))

    if args.same_as:
        other, _ = load(args.same_as)
        pixels = load_file(args.inputs)["pixel_values"]
        with torch.no_grad():
            ours, theirs = model(pixels).logits, other(pixels).logits
        checks.append((f"largest difference of logits: {(ours - theirs).abs().max():g}", torch.equal(ours, theirs)))

    for what, passed in checks:
        print("ok    " if passed else "FAILED", what)
    sys.exit(not all(passed for _, passed in checks))


if __name__ == "__main__":
    main()
