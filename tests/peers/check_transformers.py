#!/usr/bin/env python3
"""Does transformers load a folder that vitcuda saved, and compute what vitcuda computes?

  check_transformers.py FOLDER                    keys and configuration only
                        [--same-as FOLDER]        the logits of this one, for random images
                        [--golden FILE]           `logits` of FILE, for its `pixel_values`
                        [--backbone FOLDER]       the hidden states of this one, for random images

--backbone takes what the model was made from: a DINOv2, or a ViT without a head.

Runs transformers on PyTorch where that is installed, else (transformers 4) on JAX. Where image sizes
differ, --same-as and --backbone interpolate positions at every forward pass, as only PyTorch's
classes do in the same way, and the results may differ by rounding.

Prints one line a check and exits with 1 if one fails.
"""

import argparse
import logging
import sys

import numpy
from safetensors.numpy import load_file

# Two programs that add the same products in other orders.
TOLERANCE = 1e-4

try:
    import torch
except ImportError:
    torch = None


class Messages(logging.Handler):
    """What transformers warns of."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


def load_torch(folder):
    """The classifier, and complaints about its keys."""
    from transformers import ViTForImageClassification

    model, info = ViTForImageClassification.from_pretrained(folder, output_loading_info=True)
    return model.eval(), {kind: sorted(names) for kind, names in info.items()}


def load_jax(folder):
    from transformers import FlaxViTForImageClassification
    from transformers.utils import logging as theirs

    messages = Messages()
    theirs.get_logger().addHandler(messages)
    model = FlaxViTForImageClassification.from_pretrained(folder)
    theirs.get_logger().removeHandler(messages)
    # Of JAX itself they say that its days in transformers are over.
    about_weights = [text for text in messages.texts if "deprecated" not in text]
    return model, {"messages": about_weights}


def load(folder):
    return load_torch(folder) if torch else load_jax(folder)


def dtypes(model):
    if torch:
        return {str(p.dtype).removeprefix("torch.") for p in model.parameters()}
    import jax

    return {str(p.dtype) for p in jax.tree_util.tree_leaves(model.params)}


def logits(model, pixels):
    if torch is None:
        return numpy.asarray(model(pixel_values=pixels).logits)
    resized = {"interpolate_pos_encoding": True} if pixels.shape[-1] != model.config.image_size else {}
    with torch.no_grad():
        return model(torch.from_numpy(pixels), **resized).logits.numpy()


def hidden_states(folder, pixels):
    """`last_hidden_state` of the backbone in `folder`."""
    if torch is None:
        from transformers import AutoConfig, FlaxDinov2Model, FlaxViTModel

        config = AutoConfig.from_pretrained(folder)
        dinov2 = config.model_type == "dinov2"
        if dinov2 and config.image_size != pixels.shape[-1]:
            sys.exit(f"FAILED on JAX, positions for {config.image_size} are not resampled as on PyTorch")
        model = (FlaxDinov2Model if dinov2 else FlaxViTModel).from_pretrained(folder)
        model.params = model.to_fp32(model.params)
        return numpy.asarray(model(pixel_values=pixels).last_hidden_state)
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(folder)
    no_pooler = {} if config.model_type == "dinov2" else {"add_pooling_layer": False}
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, **no_pooler).eval()
    # A DINOv2 resamples its positions unasked.
    resized = config.model_type != "dinov2" and config.image_size != pixels.shape[-1]
    options = {"interpolate_pos_encoding": True} if resized else {}
    with torch.no_grad():
        return model(torch.from_numpy(pixels), **options).last_hidden_state.numpy()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--same-as")
    parser.add_argument("--golden")
    parser.add_argument("--backbone")
    args = parser.parse_args()
    checks = []

    def close(what, found, wanted, tolerance=TOLERANCE):
        difference = float(numpy.abs(found - wanted).max()) if found.shape == wanted.shape else float("inf")
        largest = float(numpy.abs(wanted).max())
        checks.append((f"{what} up to {largest:.3g} differ by {difference:.2e}", difference <= tolerance))

    model, complaints = load(args.folder)
    checks += [(f"{kind}: {texts}", not texts) for kind, texts in complaints.items()]
    checks.append((f"types: {dtypes(model)}", dtypes(model) == {"float32"}))
    labels = model.config.id2label
    inverse = {name: i for i, name in labels.items()}
    checks.append((f"labels: {labels}", model.config.label2id == inverse and len(labels) == model.config.num_labels))

    size = model.config.image_size
    random = numpy.random.default_rng(0)
    pixels = random.uniform(-1, 1, (1, 3, size, size)).astype(numpy.float32)
    if args.same_as:
        other, _ = load(args.same_as)
        same_size = other.config.image_size == size
        wanted = logits(other, pixels)
        close(f"at {size}, logits", logits(model, pixels), wanted, 0 if same_size else TOLERANCE)
    if args.golden:
        golden = load_file(args.golden)
        close("logits", logits(model, golden["pixel_values"]), golden["logits"])
    if args.backbone:
        wanted = hidden_states(args.backbone, pixels)
        close(f"at {size}, hidden states", hidden_states(args.folder, pixels), wanted)

    for what, passed in checks:
        print("ok    " if passed else "FAILED", what)
    sys.exit(not all(passed for _, passed in checks))


if __name__ == "__main__":
    main()
