#!/usr/bin/env python3
"""Writes Parquet files of images as pyarrow stores them.

  make_parquet.py FOLDER

Each folder in FOLDER holds one file of forty rows: an image struct with a PNG of 1 × 1 whose red is
the number of the row, and a label, the number modulo 3 of the classes `c`, `a`, `b`.
"""

import json
import pathlib
import struct
import sys
import zlib

import pyarrow
import pyarrow.parquet

ROWS = 40
FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["c", "a", "b"]}}
LAYOUTS = {
    "default": {},
    "uncompressed": {"compression": "none"},
    "zstd": {"compression": "zstd", "row_group_size": 7},
    "pages": {"data_page_version": "2.0", "data_page_size": 256, "use_dictionary": False},
    "old": {"version": "1.0", "write_statistics": False, "row_group_size": 1},
    "checked": {"write_page_checksum": True, "write_page_index": True},
}


def png(red):
    """A red pixel."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes([0, red, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def main():
    folder = pathlib.Path(sys.argv[1])
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    rows = [{"bytes": png(row), "path": f"{row:02}.png"} for row in range(ROWS)]
    labels = [row % 3 for row in range(ROWS)]
    schema = pyarrow.schema(
        [("image", image), ("label", pyarrow.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
    )
    table = pyarrow.table({"image": pyarrow.array(rows, image), "label": labels}, schema=schema)
    for name, options in LAYOUTS.items():
        (folder / name).mkdir()
        pyarrow.parquet.write_table(table, folder / name / "train.parquet", **options)
        print(name)


if __name__ == "__main__":
    main()
