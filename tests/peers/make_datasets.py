"""Folders of images in many layouts, and tables, with what `datasets` makes of each.

make_datasets.py FOLDER writes FOLDER/NAME/… and FOLDER/NAME.json: a list of [image, label] for each
split, the image by its first pixel's red, the label by its name. A layout that `datasets` does not
read is null.
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

import datasets
import pyarrow.parquet
from PIL import Image

ROOT = Path(sys.argv[1])
os.environ["HF_HOME"] = str(ROOT / "cache")
datasets.config.HF_DATASETS_CACHE = ROOT / "cache"


def image(number):
    return Image.new("RGB", (3, 2), (number, 7, 9))


def draw(folder, files):
    for number, file in enumerate(files):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        image(number).save(path)


def pair(*prefixes):
    """Two cats and a dog below each prefix."""
    return [f"{p}{f}" for p in prefixes for f in ("cat/1.png", "cat/2.png", "dog/1.png")]


FOLDERS = {
    "classes": pair(""),
    "deep": ["cat/a/1.png", "cat/b/2.png", "dog/a/1.png"],
    "train": pair("train/"),
    "train_test": pair("train/", "test/"),
    "all_three": pair("train/", "validation/", "test/"),
    "val": pair("train/", "val/"),
    "dev": pair("train/", "dev/"),
    "valid": pair("training/", "valid/"),
    "seg": pair("seg_train/", "seg_test/"),
    "sets": pair("training_set/", "test_set/"),
    "wrapped": pair("PetImages/"),
    "stations": ["train_station/1.png", "bus_stop/1.png", "train_station/2.png"],
}

METADATA = {
    "metadata_csv": {"": "csv"},
    "metadata_parts": {"train/": "jsonl", "test/": "jsonl"},
}


def rows(split, label):
    label_feature = split.features.get(label)
    named = getattr(label_feature, "int2str", str)
    found = []
    for row in split:
        value = row[label] if label in row else None
        picture = row["image"]
        red = None if picture is None else picture.convert("RGB").getpixel((0, 0))[0]
        found.append([red, None if value is None else named(value)])
    return found


def write(name, load):
    try:
        found = {split: rows(data, "label") for split, data in load().items()}
    except Exception as problem:  # whatever it is: it does not read this
        print(name, repr(problem)[:300], file=sys.stderr)
        found = None
    (ROOT / f"{name}.json").write_text(json.dumps(found))


for name, files in FOLDERS.items():
    draw(ROOT / name, files)
    write(name, lambda: datasets.load_dataset("imagefolder", data_dir=str(ROOT / name)))

for name, parts in METADATA.items():
    for number, (prefix, kind) in enumerate(parts.items()):
        folder = ROOT / name / prefix
        draw(folder, [f"{i}.png" for i in range(4)])
        labels = [(f"{i}.png", "dog" if i % 3 else "cat") for i in range(4)]
        lines = ["file_name,label"] + [f"{file},{label}" for file, label in labels]
        if kind == "jsonl":
            lines = [json.dumps({"file_name": file, "label": label}) for file, label in labels]
        (folder / f"metadata.{kind}").write_text("\n".join(lines) + "\n")
    write(name, lambda: datasets.load_dataset("imagefolder", data_dir=str(ROOT / name)))

# Tables: names that are not sorted, a row without a label, one without an image.
FEATURES = datasets.Features(
    {"image": datasets.Image(), "label": datasets.ClassLabel(names=["c", "a", "b"])}
)


def table(numbers):
    pictures = [None if n == 5 else image(n) for n in numbers]
    labels = [None if n == 7 else n % 3 for n in numbers]
    return datasets.Dataset.from_dict({"image": pictures, "label": labels}, features=FEATURES)


both = datasets.DatasetDict({"train": table(range(9)), "test": table(range(20, 24))})
both.save_to_disk(ROOT / "saved")
write("saved", lambda: datasets.load_from_disk(str(ROOT / "saved")))
both["train"].select([4, 2, 8]).save_to_disk(ROOT / "saved_one", num_shards=2)
write("saved_one", lambda: {"train": datasets.load_from_disk(str(ROOT / "saved_one"))})
for codec in ["NONE", "snappy", "gzip", "lz4", "zstd", "brotli"]:
    name = f"parquet_{codec.lower()}"
    (ROOT / name).mkdir()
    files = {}
    for split, data in both.items():
        files[split] = str(ROOT / name / f"{split}-00000-of-00001.parquet")
        pyarrow.parquet.write_table(
            data.data.table.combine_chunks(), files[split], compression=codec, row_group_size=3
        )
    write(name, lambda: datasets.load_dataset("parquet", data_files=files))
