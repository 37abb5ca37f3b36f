#!/usr/bin/env python3
"""Does transformers load a folder that vitcuda saved as it loads its own?

  check_transformers.py FOLDER                      keys and configuration only
  check_transformers.py FOLDER --same-as FOLDER     and the logits of this one, for random images
                        [--golden FILE]             and `logits` of FILE, for its `pixel_values`

Where the image sizes differ, --same-as interpolates positions at every forward pass, and the logits
may differ by rounding; else they must be the same bits.

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
    parser.add_argument("--golden")
    args = parser.parse_args()
    checks = []

    model, info = load(args.folder)
    checks += [(f"{kind}: {sorted(names)}", not names) for kind, names in info.items()]
    dtypes = {p.dtype for p in model.parameters()}
    checks.append((f"types: {dtypes}", dtypes == {torch.float32}))
    labels = model.config.id2label
    inverse = {name: i for i, name in labels.items()}
    checks.append((f"labels: {labels}", model.config.label2id == inverse and len(labels) == model.config.num_labels))

    size = model.config.image_size
    if args.same_as:
        other, _ = load(args.same_as)
        resized = other.config.image_size != size
        torch.manual_seed(0)
        pixels = torch.rand(4, 3, size, size) * 2 - 1
        with torch.no_grad():
            theirs = other(pixels, interpolate_pos_encoding=resized).logits
            difference = (model(pixels).logits - theirs).abs().max().item()
        # Positions differ by 1e-6 at most, being below 4 and sums of 16 products.
        checks.append((f"at {size}, logits differ by {difference:g}", difference <= (1e-5 if resized else 0)))
    if args.golden:
        golden = load_file(args.golden)
        with torch.no_grad():
            difference = (model(golden["pixel_values"]).logits - golden["logits"]).abs().max().item()
        checks.append((f"golden logits differ by {difference:g}", difference <= 1e-5))

    for what, passed in checks:
        print("ok    " if passed else "FAILED", what)
    sys.exit(not all(passed for _, passed in checks))


if __name__ == "__main__":
    main()
