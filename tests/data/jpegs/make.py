"""Makes the JPEGs of this folder, and prints what Pillow decodes them to: the table of jpeg.rs.

Made with Pillow 13.0.0 and libjpeg-turbo 3.2.0.
"""

import io
import pathlib
import warnings
import zlib

from PIL import Image

FOLDER = pathlib.Path(__file__).parent


def picture(width, height, mode="RGB"):
    """Waves, a hard edge, and noise from a linear congruential generator."""
    channels = len(mode) if mode != "L" else 1
    state, values = 12345, bytearray()
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                state = (state * 1103515245 + 12345) & 0x7FFFFFFF
                noise = (state >> 16) % 24
                edge = 90 if (x + c) % 13 > y % 11 else 0
                values.append((7 * x + (5 + 3 * c) * y + 40 * c) % 140 + edge + noise)
    return Image.frombytes(mode, (width, height), bytes(values))


def jpeg(size, mode="RGB", **options):
    options = {"quality": 75, "optimize": True} | options
    file = io.BytesIO()
    picture(*size, mode).save(file, "JPEG", **options)
    return bytearray(file.getvalue())


def segment(file, marker):
    """Start and end of the first segment of that kind."""
    start = file.index(bytes([0xFF, marker]))
    return start, start + 2 + int.from_bytes(file[start + 2 : start + 4], "big")


def with_factors(file, *factors):
    """Other sampling factors; the units must keep their number of blocks."""
    start, _ = segment(file, 0xC0)
    for component, value in enumerate(factors):
        file[start + 11 + 3 * component] = value
    return file


def ycck(size):
    file = jpeg(size, "CMYK")
    start, _ = segment(file, 0xEE)
    file[start + 15] = 2
    return file


def separate_scans(size):
    """One sequential scan for each component: the scans of three grey images."""
    file = bytearray(b"\xff\xd8")
    for component in range(3):
        grey = jpeg(size, "L", quality=60 + 15 * component)
        if component == 0:
            start, end = segment(grey, 0xDB)
            file += grey[start:end]
            start, _ = segment(grey, 0xC0)
            sizes = grey[start + 4 : start + 9]
            file += b"\xff\xc0\x00\x11" + sizes + b"\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00"
        # Tables and scan lie together, up to the end of the image.
        grey[segment(grey, 0xDA)[0] + 5] = component + 1
        file += grey[segment(grey, 0xC4)[0] : -2]
    return file + b"\xff\xd9"


def without_tables(size):
    """As a frame of a Motion-JPEG film: the standard tables are meant."""
    file = jpeg(size, optimize=False)
    while b"\xff\xc4" in file:
        start, end = segment(file, 0xC4)
        del file[start:end]
    return file


def damaged(size, change, **options):
    file = jpeg(size, restart_marker_blocks=1, **options)
    change(file)
    return file


def drop_restart(file):
    start = file.index(b"\xff\xd1")
    del file[start : start + 2]


def swap_restart(file):
    file[file.index(b"\xff\xd1") + 1] = 0xD0


def skip_restart(file):
    file[file.index(b"\xff\xd0") + 1] = 0xD2




FILES = {
    "444": jpeg((17, 9), subsampling="4:4:4"),
    "422": jpeg((19, 9), subsampling="4:2:2"),
    "420": jpeg((37, 35), subsampling="4:2:0", quality=50),
    "420_narrow": jpeg((3, 5), subsampling="4:2:0"),
    "422_narrow": jpeg((4, 3), subsampling="4:2:2"),
    "422_wide_enough": jpeg((5, 3), subsampling="4:2:2"),
    "420_one_pixel": jpeg((1, 1), subsampling="4:2:0"),
    "440": with_factors(jpeg((14, 19), subsampling="4:2:2"), 0x12, 0x11, 0x11),
    "411": with_factors(jpeg((35, 10), subsampling="4:2:0"), 0x41, 0x11, 0x11),
    "mixed": with_factors(jpeg((33, 18), subsampling="4:2:0"), 0x21, 0x12, 0x12),
    "fine_chroma": with_factors(jpeg((18, 18), subsampling="4:2:2"), 0x11, 0x21, 0x11),
    "quality_5": jpeg((30, 20), quality=5),
    "quality_100": jpeg((9, 8), quality=100),
    "flat": jpeg((24, 24), quality=1),
    "grey": jpeg((18, 11), "L"),
    "cmyk": jpeg((11, 10), "CMYK"),
    "ycck": ycck((11, 10)),
    "rgb": jpeg((12, 10), keep_rgb=True),
    "restarts": jpeg((34, 18), subsampling="4:2:0", restart_marker_blocks=2),
    "standard_tables": jpeg((16, 8), optimize=False),
    "no_tables": without_tables((24, 12)),
    "separate_scans": separate_scans((13, 9)),
    "progressive_420": jpeg((35, 19), progressive=True),
    "progressive_444": jpeg((17, 10), progressive=True, subsampling="4:4:4", quality=90),
    "progressive_grey": jpeg((20, 17), "L", progressive=True, quality=95),
    "progressive_restarts": jpeg((33, 17), progressive=True, restart_marker_rows=1),
    "restart_lost": damaged((60, 16), drop_restart),
    "restart_repeated": damaged((60, 16), swap_restart),
    "restart_skipped": damaged((60, 16), skip_restart),
}

warnings.simplefilter("ignore")
for name, content in FILES.items():
    (FOLDER / f"{name}.jpg").write_bytes(content)
    image = Image.open(io.BytesIO(content))
    crc = zlib.crc32(image.convert("RGB").tobytes())
    width, height = image.size
    print(f'    ("{name}", ({width}, {height}), 0x{crc:08x}, include_bytes!("jpegs/{name}.jpg")),')


def is_taken(content):
    try:
        Image.open(io.BytesIO(content)).load()
    except OSError:
        return False
    return True


# Bytes in place of the end marker that it takes for Pillow to be content.
for name, content in FILES.items():
    start = content[: content.rindex(b"\xff\xd9")]
    enough = (n for n in range(1000) if is_taken(start + n * b"\x5a"))
    print(f'    ("{name}", {next(enough, None)}),')
