//! The JPEG decoder against Pillow, whose pixels it must give to the bit.

use std::path::Path;

use libtest_mimic::{Failed, Trial};
use vitcuda::data::decode::decode;
use vitcuda::data::folder::read_images;

use crate::common::with_shared;
use crate::decode::problem;
use crate::pictures::crc32;
use crate::plain;

pub fn trials() -> Vec<Trial> {
    vec![
        plain("JPEGs of every kind decode as in Pillow", every_kind),
        plain("a JPEG's smallest damages are told apart", damages),
        plain(
            "JPEGs that Pillow reads and this does not are named",
            unread,
        ),
        plain(
            "JPEGs without an end are read where Pillow reads them",
            without_end,
        ),
        with_shared(
            "real photos decode as in Pillow",
            "data/cats_vs_dogs/validation",
            photos,
        ),
    ]
}

/// File, size, and CRC-32 of what Pillow makes of it in RGB; `jpegs/make.py` made both.
type Known = (&'static str, (usize, usize), u32, &'static [u8]);

#[rustfmt::skip]
const KNOWN: [Known; 29] = [
    ("444", (17, 9), 0xbf82ad39, include_bytes!("jpegs/444.jpg")),
    ("422", (19, 9), 0x6762cd36, include_bytes!("jpegs/422.jpg")),
    ("420", (37, 35), 0xc8c3cef1, include_bytes!("jpegs/420.jpg")),
    ("420_narrow", (3, 5), 0x10dad6d4, include_bytes!("jpegs/420_narrow.jpg")),
    ("422_narrow", (4, 3), 0x26df8286, include_bytes!("jpegs/422_narrow.jpg")),
    ("422_wide_enough", (5, 3), 0x7309e564, include_bytes!("jpegs/422_wide_enough.jpg")),
    ("420_one_pixel", (1, 1), 0xce873994, include_bytes!("jpegs/420_one_pixel.jpg")),
    ("440", (14, 19), 0x666e5495, include_bytes!("jpegs/440.jpg")),
    ("411", (35, 10), 0x78568060, include_bytes!("jpegs/411.jpg")),
    ("mixed", (33, 18), 0xa982b050, include_bytes!("jpegs/mixed.jpg")),
    ("fine_chroma", (18, 18), 0xd46007b1, include_bytes!("jpegs/fine_chroma.jpg")),
    ("quality_5", (30, 20), 0x5c84b8fe, include_bytes!("jpegs/quality_5.jpg")),
    ("quality_100", (9, 8), 0x982a303f, include_bytes!("jpegs/quality_100.jpg")),
    ("flat", (24, 24), 0x92cf3350, include_bytes!("jpegs/flat.jpg")),
    ("grey", (18, 11), 0x7fe77ae9, include_bytes!("jpegs/grey.jpg")),
    ("cmyk", (11, 10), 0x6063b323, include_bytes!("jpegs/cmyk.jpg")),
    ("ycck", (11, 10), 0x684ac57f, include_bytes!("jpegs/ycck.jpg")),
    ("rgb", (12, 10), 0xd0b38200, include_bytes!("jpegs/rgb.jpg")),
    ("restarts", (34, 18), 0xc2a3a701, include_bytes!("jpegs/restarts.jpg")),
    ("standard_tables", (16, 8), 0xab33c0b6, include_bytes!("jpegs/standard_tables.jpg")),
    ("no_tables", (24, 12), 0x8f09fd62, include_bytes!("jpegs/no_tables.jpg")),
    ("separate_scans", (13, 9), 0x8116dfb0, include_bytes!("jpegs/separate_scans.jpg")),
    ("progressive_420", (35, 19), 0x61db5489, include_bytes!("jpegs/progressive_420.jpg")),
    ("progressive_444", (17, 10), 0xb61e3346, include_bytes!("jpegs/progressive_444.jpg")),
    ("progressive_grey", (20, 17), 0xebd23bae, include_bytes!("jpegs/progressive_grey.jpg")),
    ("progressive_restarts", (33, 17), 0x91e605e7, include_bytes!("jpegs/progressive_restarts.jpg")),
    ("restart_lost", (60, 16), 0xb8a4f5eb, include_bytes!("jpegs/restart_lost.jpg")),
    ("restart_repeated", (60, 16), 0xb8a4f5eb, include_bytes!("jpegs/restart_repeated.jpg")),
    ("restart_skipped", (60, 16), 0x4450bc53, include_bytes!("jpegs/restart_skipped.jpg")),
];

fn known(name: &str) -> &'static [u8] {
    let (.., file) = KNOWN
        .iter()
        .find(|(n, ..)| *n == name)
        .expect("a known file");
    file
}

fn every_kind() {
    for (name, size, wanted, file) in KNOWN {
        let image = decode(file).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert_eq!((image.width, image.height), size, "{name}");
        assert_eq!(crc32(&image.pixels), wanted, "{name}");
    }
}

/// `file` with the bytes at `offset` behind the first marker `FF marker` replaced.
fn patched(file: &[u8], marker: u8, offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    let start = file.windows(2).position(|m| m == [0xff, marker]);
    let start = start.expect("the marker") + 2 + offset;
    file[start..start + bytes.len()].copy_from_slice(bytes);
    file
}

fn damages() {
    const SOF0: u8 = 0xc0;
    const DHT: u8 = 0xc4;
    const SOS: u8 = 0xda;
    const DQT: u8 = 0xdb;
    let file = known("standard_tables");
    for (marker, offset, bytes, wanted) in [
        (SOF0, 1, &[18][..], "its frame segment has a wrong length"),
        (SOF0, 2, &[12], "a JPEG of 12 bits"),
        (SOF0, 7, &[2], "a JPEG of 2 colour components"),
        (SOF0, 9, &[0x50], "sampling factors other than 1 to 4"),
        (SOF0, 9, &[0x31, 0, 2, 0x21], "no multiples"),
        (SOF0, 9, &[0x44], "more than 10 blocks"),
        (
            SOF0,
            10,
            &[3],
            "a quantisation table is used and not defined",
        ),
        (DQT, 2, &[4], "a quantisation table has a number above 3"),
        (
            DQT,
            2,
            &[0x10],
            "its quantisation segment has a wrong length",
        ),
        (DHT, 2, &[0x04], "a Huffman table has a number above 3"),
        (DHT, 2, &[0x20], "a Huffman table is of an unknown class"),
        (DHT, 3, &[200], "a Huffman table has too many codes"),
        (DHT, 3, &[6, 0, 0], "a Huffman table has more codes"),
        (DHT, 19, &[16], "impossible DC lengths"),
        (SOS, 2, &[5], "its scan segment has a wrong length"),
        (SOS, 3, &[9], "a scan holds an unknown component, 9"),
        (
            SOS,
            4,
            &[0x22],
            "DC Huffman table 2 is used and not defined",
        ),
    ] {
        let found = problem(decode(&patched(file, marker, offset, bytes)));
        assert!(found.contains(wanted), "{found}, wanted {wanted}");
    }
    let progressive = patched(known("progressive_420"), SOS, 10, &[0x30]);
    assert!(problem(decode(&progressive)).contains("a progressive scan is not one that can be"));
}

fn unread() {
    for (marker, kind) in [
        (0xc3, "lossless"),
        (0xc9, "arithmetic-coded"),
        (0xc5, "hierarchical"),
    ] {
        let mut file = known("444").to_vec();
        let start = file.windows(2).position(|m| m == [0xff, 0xc0]);
        file[start.expect("a frame") + 1] = marker;
        let found = problem(decode(&file));
        assert!(found.contains(kind), "{found}");
    }
}

/// Bytes that must stand in place of the end marker for Pillow to take the file (`jpegs/make.py`).
#[rustfmt::skip]
const ENOUGH: [(&str, usize); 24] = [
    ("420", 6),
    ("420_narrow", 6),
    ("420_one_pixel", 4),
    ("422", 0),
    ("422_narrow", 1),
    ("422_wide_enough", 2),
    ("444", 5),
    ("cmyk", 2),
    ("fine_chroma", 0),
    ("flat", 6),
    ("grey", 6),
    ("mixed", 2),
    ("no_tables", 4),
    ("quality_100", 2),
    ("quality_5", 3),
    ("restart_lost", 3),
    ("restart_repeated", 3),
    ("restart_skipped", 0),
    ("restarts", 6),
    ("rgb", 0),
    ("standard_tables", 7),
    ("ycck", 2),
    ("411", 320),
    ("440", 253),
];

fn without_end() {
    let end_of = |file: &[u8]| file.windows(2).rposition(|m| m == [0xff, 0xd9]);
    for (name, enough) in ENOUGH {
        let file = known(name);
        let start = &file[..end_of(file).expect("an end")];
        let ended_by = |rest: &[u8]| decode(&[start, rest].concat());
        for more in [enough, enough + 1, enough + 9] {
            let found = ended_by(&vec![0x5a; more]);
            assert!(found.is_ok(), "{name} with {more}: {:?}", found.err());
        }
        for less in enough.saturating_sub(3)..enough {
            let found = problem(ended_by(&vec![0x5a; less]));
            assert!(found.contains("truncated"), "{name} with {less}: {found}");
        }
        for marker in [&[0xff, 0xd3][..], &[0xff, 0xfe, 0, 9, b'a']] {
            assert_eq!(ended_by(marker), decode(file), "{name}");
        }
    }
    for name in ["progressive_420", "progressive_grey", "separate_scans"] {
        let file = known(name);
        let start = &file[..end_of(file).expect("an end")];
        let found = problem(decode(
            &[start, &[0xff, 0xd3, 0, 0, 0, 0, 0, 0, 0, 0]].concat(),
        ));
        assert!(found.contains("truncated"), "{name}: {found}");
    }
}

/// CRC-32 of the CRCs of all photos, in the order of their names.
fn photos(folder: &Path) -> Result<(), Failed> {
    for (class, wanted) in [("cat", 0xcf85b40f), ("dog", 0x2b881d58)] {
        let (paths, _) = read_images(&folder.join(class))?;
        let mut sums = Vec::new();
        for path in &paths {
            let image = decode(&std::fs::read(path)?)?;
            sums.extend(crc32(&image.pixels).to_le_bytes());
        }
        assert_eq!((paths.len(), crc32(&sums)), (100, wanted), "{class}");
    }
    Ok(())
}
