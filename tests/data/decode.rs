use std::collections::BTreeSet;
use std::path::Path;

use image::{ExtendedColorType, ImageFormat};
use libtest_mimic::{Failed, Trial};
use vitcuda::data::Source;
use vitcuda::data::decode::{Undecodable, decode};
use vitcuda::data::source::open_unlabelled;

use crate::common::with_shared;
use crate::pictures::{crc32, jpeg_of, noise, png, png_of, smooth};
use crate::plain;

pub fn trials() -> Vec<Trial> {
    vec![
        with_shared(
            "bad inputs fare as with Pillow",
            "data/bad_inputs",
            bad_inputs,
        ),
        plain("every colour mode becomes RGB", colour_modes),
        plain("EXIF orientations are applied", orientations),
        plain("every format is read whole", formats),
        plain("TIFF files are read as Pillow reads them", tiffs),
        plain("what of TIFF is not read is named", other_tiffs),
        plain("JPEGs of all small sizes are read", small_jpegs),
        plain("harmless oddities of JPEGs are read", odd_jpegs),
        plain("JPEGs that libjpeg refuses are refused", broken_jpegs),
        plain("headers that lie about sizes cost nothing", lying_headers),
        plain("damaged files never panic", damaged),
    ]
}

/// Why it failed, as it should have.
pub fn problem(result: Result<impl Sized, Undecodable>) -> String {
    match result {
        Ok(_) => panic!("this should have failed"),
        Err(reason) => reason.to_string(),
    }
}

/// What is said about each file; "ok" and its size where it is read.
const BAD_INPUTS: [(&str, &str); 19] = [
    ("bmp_named.jpg", "ok 64 × 48"),
    ("directory_named.jpg", "it is a folder, not an image"),
    ("empty.jpg", "the file is empty"),
    ("flipped_bytes.jpg", "broken JPEG: "),
    ("gif_named.jpg", "ok 64 × 48"),
    ("header_only.jpg", "truncated"),
    ("jpeg_65535x65535.jpg", "claims 65535 × 65535 pixels"),
    ("jpeg_zero_size.jpg", "its size is"),
    ("no_eoi.jpg", "truncated"),
    ("one_pixel.png", "ok 1 × 1"),
    ("png_bad_crc.png", "Format error decoding Png"),
    (
        "png_huge_dimensions.png",
        "more than the limit of 178956970",
    ),
    ("png_named.jpg", "ok 64 × 48"),
    ("png_truncated.png", "truncated"),
    ("text.jpg", "not an image"),
    ("trailing_garbage.jpg", "ok 259 × 269"),
    ("truncated_half.jpg", "truncated"),
    ("webp_named.jpg", "ok 64 × 48"),
    ("zeroed_block.jpg", "ok 259 × 269"),
];

/// Each file is read exactly when Pillow's strict mode reads it. There is no difference to list.
fn bad_inputs(folder: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(folder.join("expected_pillow.json"))?;
    let pillow: serde_json::Value = serde_json::from_str(&text)?;
    let (dataset, _) = open_unlabelled(&[Source::Folder(folder.to_owned())])?;
    // The files that claim gigabytes have a folder of their own and are not Pillow's to judge.
    let own = (0..dataset.len()).filter(|&i| !dataset.name(i).contains('/'));
    let own: Vec<usize> = own.collect();
    let names: BTreeSet<String> = own.iter().map(|&i| dataset.name(i)).collect();
    let listed: BTreeSet<String> = BAD_INPUTS.iter().map(|(name, _)| (*name).into()).collect();
    assert_eq!(names, listed, "every file has its line in the table");
    for (i, (name, wanted)) in own.into_iter().zip(BAD_INPUTS) {
        assert_eq!(dataset.name(i), name);
        let found = match dataset.image(i) {
            Ok(image) => format!("ok {} × {}", image.width, image.height),
            Err(reason) => reason.to_string(),
        };
        assert!(found.contains(wanted), "{name}: {found}, wanted {wanted}");
        let strict = pillow[name]["pillow"].as_str().expect("a verdict");
        assert_eq!(
            found.starts_with("ok"),
            strict.starts_with("ok"),
            "{name}: {found}"
        );
    }
    Ok(())
}

fn colour_modes() {
    let decoded = |samples: &[u8], color| {
        let image = decode(&png(samples, 1, 1, color)).expect("a PNG");
        <[u8; 3]>::try_from(image.pixels).expect("one pixel")
    };
    use ExtendedColorType::{L8, L16, La8, La16, Rgb8, Rgb16, Rgba8, Rgba16};
    assert_eq!(decoded(&[70], L8), [70; 3]);
    assert_eq!(decoded(&[1, 2, 3], Rgb8), [1, 2, 3]);
    // Samples of 16 bits are native-endian here; of 0x1280 the high byte counts.
    let wide: Vec<u8> = [0x1280_u16, 0x00ff, 0xff00]
        .iter()
        .flat_map(|v| v.to_ne_bytes())
        .collect();
    assert_eq!(decoded(&wide[..2], L16), [0x12; 3]);
    assert_eq!(decoded(&wide, Rgb16), [0x12, 0, 0xff]);
    // Transparent is white, opaque is itself, half of black on white is 255 − 128 = 127.
    assert_eq!(decoded(&[9, 9, 9, 0], Rgba8), [255; 3]);
    assert_eq!(decoded(&[9, 8, 7, 255], Rgba8), [9, 8, 7]);
    assert_eq!(decoded(&[0, 255, 0, 128], Rgba8), [127, 255, 127]);
    assert_eq!(decoded(&[0, 128], La8), [127; 3]);
    let wide: Vec<u8> = [0, 0x8000_u16]
        .iter()
        .flat_map(|v| v.to_ne_bytes())
        .collect();
    assert_eq!(decoded(&wide, La16), [127; 3]);
    let wide: Vec<u8> = [0, 0xff00, 0, 0x8000_u16]
        .iter()
        .flat_map(|v| v.to_ne_bytes())
        .collect();
    assert_eq!(decoded(&wide, Rgba16), [127, 255, 127]);
}

/// `file` with bytes put in after its first two.
pub fn with_segment(file: &[u8], segment: &[u8]) -> Vec<u8> {
    [&file[..2], segment, &file[2..]].concat()
}

/// An APP1 segment that holds an orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let entry = [0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
    let tiff = [&b"II*\0\x08\0\0\0\x01\0"[..], &entry, &[0; 4]].concat();
    let length = (2 + 6 + tiff.len() as u16).to_be_bytes();
    [&[0xff, 0xe1][..], &length, b"Exif\0\0", &tiff].concat()
}

/// Where EXIF says that row 0 and column 0 of the file are seen, and so its bright corner.
fn orientations() {
    let mut picture = noise(32, 16);
    for (i, pixel) in picture.pixels.chunks_exact_mut(3).enumerate() {
        let is_corner = i / 32 < 8 && i % 32 < 8;
        pixel.fill(if is_corner { 255 } else { 0 });
    }
    let file = jpeg_of(&picture);
    const TOP: usize = 0;
    const LEFT: usize = 0;
    const BOTTOM: usize = 1;
    const RIGHT: usize = 1;
    for (orientation, wanted_size, (y, x)) in [
        (0, (32, 16), (TOP, LEFT)), // no such orientation
        (1, (32, 16), (TOP, LEFT)),
        (2, (32, 16), (TOP, RIGHT)),
        (3, (32, 16), (BOTTOM, RIGHT)),
        (4, (32, 16), (BOTTOM, LEFT)),
        (5, (16, 32), (TOP, LEFT)),
        (6, (16, 32), (TOP, RIGHT)),
        (7, (16, 32), (BOTTOM, RIGHT)),
        (8, (16, 32), (BOTTOM, LEFT)),
    ] {
        let image = decode(&with_segment(&file, &exif(orientation))).expect("a JPEG");
        assert_eq!(
            (image.width, image.height),
            wanted_size,
            "orientation {orientation}"
        );
        for row in 0..2 {
            for column in 0..2 {
                let pixel = row * (image.height - 1) * image.width + column * (image.width - 1);
                let is_bright = image.pixels[3 * pixel] > 128;
                assert_eq!(
                    is_bright,
                    (row, column) == (y, x),
                    "orientation {orientation}"
                );
            }
        }
    }
}

fn formats() {
    let picture = smooth(40, 30);
    let [jpeg, rest @ ..] = written_in_all_formats(40, 30);
    let found = decode(&jpeg).expect("a JPEG");
    let differences = std::iter::zip(&found.pixels, &picture.pixels).map(|(a, b)| a.abs_diff(*b));
    assert!(differences.max().expect("pixels") < 16);
    for file in rest {
        let found = decode(&file).expect("an image");
        assert_eq!((found.width, found.height), (40, 30));
    }
    assert_eq!(decode(&png_of(&picture)), Ok(picture));
}

/// JPEG, PNG, GIF, BMP and WebP.
pub fn written_in_all_formats(width: usize, height: usize) -> [Vec<u8>; 5] {
    let picture = smooth(width, height);
    let image = image::RgbImage::from_raw(width as u32, height as u32, picture.pixels.clone());
    let image = image::DynamicImage::ImageRgb8(image.expect("the right length"));
    let write = |format| {
        let mut file = std::io::Cursor::new(Vec::new());
        image.write_to(&mut file, format).expect("an encoder");
        file.into_inner()
    };
    let [png, gif, bmp, webp] = [
        ImageFormat::Png,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::WebP,
    ]
    .map(write);
    [jpeg_of(&picture), png, gif, bmp, webp]
}

fn tiff(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiff");
    std::fs::read(folder.join(name)).expect(name)
}

/// Written by Pillow 13 and tifffile; beside them, as PNG, what Pillow reads (of 16-bit grey the high
/// bytes, as everywhere here). It takes 16-bit planes for something else.
fn tiffs() {
    for (name, picture) in [
        ("bits", "bits"),
        ("cmyk", "cmyk"),
        ("cmyk_black", "cmyk_black"),
        ("grey16", "grey16"),
        ("grey_alpha", "grey_alpha"),
        ("grey_deflate", "grey_deflate"),
        ("grey_white_is_zero", "grey_white_is_zero"),
        ("premultiplied", "premultiplied"),
        ("rgb16_big_endian", "rgb"),
        ("rgb16_planar", "rgb"),
        ("rgb_big", "rgb"),
        ("rgb_lzw_predicted", "rgb"),
        ("rgb_packbits_strips", "rgb"),
        ("rgb_planar", "rgb"),
        ("rgb_raw", "rgb"),
        ("rgb_tiled", "rgb"),
        ("rgb_turned_2", "rgb_turned_2"),
        ("rgb_turned_3", "rgb_turned_3"),
        ("rgb_turned_4", "rgb_turned_4"),
        ("rgb_turned_5", "rgb_turned_5"),
        ("rgb_turned_6", "rgb_turned_6"),
        ("rgb_turned_7", "rgb_turned_7"),
        ("rgb_turned_8", "rgb_turned_8"),
        ("rgb_two_pages", "rgb"),
        ("rgba", "rgba"),
    ] {
        let file = tiff(&format!("{name}.tiff"));
        let found = decode(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
        let wanted = decode(&tiff(&format!("{picture}.png"))).expect("a picture");
        assert!(found == wanted, "{name}");
        for length in (0..file.len()).step_by(7) {
            drop(decode(&file[..length])); // a part may be a picture; none panics
        }
    }
}

fn other_tiffs() {
    for (name, wanted) in [
        ("fax", "TIFF of a fax is not read (save it as PNG)"),
        (
            "float",
            "TIFF of numbers with a sign or a fraction is not read",
        ),
        ("jpeg", "JPEG within TIFF is not read"),
        ("palette", "TIFF with a palette is not read"),
    ] {
        let found = problem(decode(&tiff(&format!("{name}.tiff"))));
        assert!(found.contains(wanted), "{name}: {found}");
    }
    for (side, wanted) in [
        (60_000_u32, "more than the limit of 178956970"),
        (12_000, "bytes are too few for the 12000 × 12000 pixels"),
    ] {
        let mut claims = tiff("rgb_raw.tiff");
        let place = claims[4..].first_chunk().expect("the directory's place");
        let entries = u32::from_le_bytes(*place) as usize + 2;
        for entry in claims[entries..].as_chunks_mut::<12>().0 {
            // Width, height, and rows of a strip.
            if matches!(entry, [0 | 1, 1, ..] | [0x16, 1, ..]) {
                entry[8..].copy_from_slice(&side.to_le_bytes());
            }
        }
        let found = problem(decode(&claims));
        assert!(found.contains(wanted), "{found}");
    }
    // A strip becomes a tile of these many pixels across: its place, its width, its length, its height.
    for (across, wanted) in [
        (65_536_u32, "a side beyond the limit"),
        (1 << 31, "more than the limit of 178956970"),
    ] {
        let mut claims = tiff("rgb_lzw_predicted.tiff");
        let place = claims[4..].first_chunk().expect("the directory's place");
        let entries = u32::from_le_bytes(*place) as usize + 2;
        for entry in claims[entries..].as_chunks_mut::<12>().0 {
            let (tag, value) = match u16::from_le_bytes([entry[0], entry[1]]) {
                273 => (324_u16, None),
                278 => (322, Some(across)),
                279 => (325, None),
                284 => (323, Some(16)),
                _ => continue,
            };
            entry[..2].copy_from_slice(&tag.to_le_bytes());
            if let Some(value) = value {
                entry[2..4].copy_from_slice(&4_u16.to_le_bytes()); // a number of 32 bits
                entry[8..].copy_from_slice(&value.to_le_bytes());
            }
        }
        let found = problem(decode(&claims));
        assert!(found.contains(wanted), "{found}");
    }
}

fn small_jpegs() {
    for width in 1..=17 {
        for height in 1..=17 {
            let image = decode(&jpeg_of(&smooth(width, height))).expect("a JPEG");
            assert_eq!((image.width, image.height), (width, height));
        }
    }
}

fn odd_jpegs() {
    let file = jpeg_of(&smooth(40, 30));
    let wanted = decode(&file).expect("a JPEG");
    let with = |at: usize, more: &[u8], what: &str| {
        let found = decode(&[&file[..at], more, &file[at..]].concat());
        assert!(found.as_ref() == Ok(&wanted), "{what}: {:?}", found.err());
    };
    let tables = file
        .windows(2)
        .position(|m| m == [0xff, 0xdb])
        .expect("a quantisation table");
    let end = file.len() - 2;
    let comment = [0xff, 0xfe, 0, 4, 0xff, 0xd9];
    with(2, &comment, "a comment that holds an end marker");
    with(tables, &[7; 9], "stray bytes between segments");
    with(end, &[0; 99], "stray bytes before the end");
    with(end, &[0xff; 5], "fill bytes");
    with(end, &comment, "a late comment that holds an end marker");
    with(file.len(), &file, "another image behind it");
}

fn broken_jpegs() {
    let file = jpeg_of(&smooth(40, 30));
    let end = file.len() - 2;
    let with_end = |more: &[u8]| problem(decode(&[&file[..end], more, &file[end..]].concat()));
    for length in [2, 3, 20, 100, 400, end - 20] {
        problem(decode(&file[..length]));
    }
    assert!(with_end(&[0xff, 0x42]).contains("marker FF42 within the data does not exist"));
    assert!(with_end(&[0xff, 0xc0, 0, 2]).contains("a second frame header"));
    assert!(with_end(&[0xff, 0xd8]).contains("a second image starts"));
}

/// A PNG whose header says it is `width` × `height`, with no data to speak of.
pub fn png_claiming(width: u32, height: u32) -> Vec<u8> {
    let mut file = png(&[1, 2, 3], 1, 1, ExtendedColorType::Rgb8);
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc32(&file[12..29]);
    file[29..33].copy_from_slice(&crc.to_be_bytes());
    file
}

fn lying_headers() {
    let over = problem(decode(&png_claiming(13_378, 13_378)));
    assert!(over.contains("more than the limit of 178956970"), "{over}");
    let long = problem(decode(&png_claiming(65_536, 1)));
    assert!(long.contains("a side beyond the limit of 65535"), "{long}");
    // Just within the limits: half a gigabyte is asked for and never touched.
    let within = problem(decode(&png_claiming(13_377, 13_377)));
    assert!(!within.contains("limit"), "{within}");

    let mut file = jpeg_of(&smooth(40, 30));
    let frame = file
        .windows(2)
        .position(|m| m == [0xff, 0xc0])
        .expect("a frame header");
    file[frame + 5..frame + 9].copy_from_slice(&[0x30, 0, 0x30, 0]);
    let lie = problem(decode(&file));
    assert!(
        lie.contains("are too few for the 12288 × 12288 pixels"),
        "{lie}"
    );
}

/// Bytes overwritten, cut and doubled at places from a generator; whatever comes of it, it comes
/// as a result.
fn damaged() {
    let mut state = 1_u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    for file in written_in_all_formats(40, 30) {
        for _ in 0..400 {
            let mut file = file.clone();
            for _ in 0..=random(6) {
                // Mostly headers, where it hurts most.
                let reach = if random(3) > 0 {
                    file.len().min(700)
                } else {
                    file.len()
                };
                let at = random(reach);
                match random(8) {
                    0 => file.truncate(at + 1),
                    1 => file.insert(at, random(256) as u8),
                    _ => file[at] = random(256) as u8,
                }
            }
            if let Ok(image) = decode(&file) {
                assert_eq!(image.pixels.len(), 3 * image.width * image.height);
            }
        }
    }
}
