"""Prints what image processors of transformers make of made-up pictures: the table of preprocess.rs.

Made with transformers 5.23.0 and Pillow 13.0.0.
"""

import zlib

import numpy
from PIL import Image
from transformers import BitImageProcessorPil, CLIPImageProcessorPil, DeiTImageProcessorPil, ViTImageProcessorPil

SIZES = [(97, 61), (61, 97), (50, 203), (36, 36), (41, 300), (499, 375), (333, 500)]


def noise(width, height):
    state, values = 12345, bytearray()
    for _ in range(3 * width * height):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        values.append(state >> 16 & 255)
    return Image.frombytes("RGB", (width, height), bytes(values))


def show(name, processor):
    """A line a picture: its size, and CRC-32 of what is left of it as u8, planes first."""
    print(name, processor.image_mean, processor.image_std)
    for width, height in SIZES:
        planes = processor(noise(width, height), do_rescale=False, do_normalize=False)["pixel_values"][0]
        print(f"(({width}, {height}), {zlib.crc32(numpy.asarray(planes).astype(numpy.uint8).tobytes()):#010x}),")


small = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
show("Bit, 36 to 32", BitImageProcessorPil(**small))
# What an empty file of each class means; a DINOv2's says `"size": {"shortest_edge": 256}`.
for processor in [BitImageProcessorPil, CLIPImageProcessorPil, DeiTImageProcessorPil, ViTImageProcessorPil]:
    show(processor.__name__, processor())
show("a DINOv2's", BitImageProcessorPil(size={"shortest_edge": 256}))
