//! Files that claim more than they hold, or say what they are in other places than most.

use libtest_mimic::Trial;
use vitcuda::data::decode::decode;

use crate::decode::{png_claiming, problem, with_segment, written_in_all_formats};
use crate::pictures::{crc32, jpeg_of, noise, png_of};
use crate::plain;

pub fn trials() -> Vec<Trial> {
    vec![
        plain("a few bytes take no gigabytes", few_bytes),
        plain(
            "a thousand scans of a large image are refused soon",
            many_scans,
        ),
        plain(
            "orientation is found where Pillow finds it",
            orientation_elsewhere,
        ),
        plain("formats that are not read are named", other_formats),
    ]
}

/// Files that claim more than they can hold; each took a gigabyte or more before it was refused.
fn few_bytes() {
    // A screen of one pixel, a frame of 65,280 × 4,351.
    let gif = b"GIF87a\x01\0\x01\0\x81\0\0\x05\x0e\0\xff\0\0\0\0\0\0\0\0,\0\0\0\0\0\xff\xff\x10\0\x08\x04\0\x01\x04\x02\0;";
    // Within the limit of pixels.
    let small = [&gif[..30], &[0, 0x40, 0, 0x20], &gif[34..]].concat();
    let wide_png = {
        let mut file = png_claiming(13_377, 13_377);
        file[24..26].copy_from_slice(&[16, 6]);
        let crc = crc32(&file[12..29]);
        file[29..33].copy_from_slice(&crc.to_be_bytes());
        file
    };
    let [.., bmp, webp] = written_in_all_formats(40, 30);
    // Metadata of four gigabytes, of which nothing is there.
    let chunk = [&b"EXIF"[..], &[0xfe, 0xff, 0xff, 0xff]].concat();
    let mut endless = [&webp[..], &chunk].concat();
    endless[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut tall_bmp = bmp;
    tall_bmp[18..22].copy_from_slice(&12_000_u32.to_le_bytes());
    tall_bmp[22..26].copy_from_slice(&12_000_u32.to_le_bytes());
    for (what, file, wanted) in [
        ("GIF", &gif[..], "more than the limit"),
        ("smaller GIF", &small, "too few for the 16384 × 8192 pixels"),
        ("PNG", &wide_png, "too few for the 13377 × 13377 pixels"),
        ("WebP", &endless, "the file is truncated"),
        ("BMP", &tall_bmp, "the file is truncated"),
    ] {
        let found = problem(decode(file));
        assert!(found.contains(wanted), "{what}: {found}");
    }
}

/// A grey progressive JPEG of 12,000 × 12,000 with `scans` scans that bring next to nothing.
fn scan_bomb(scans: usize) -> Vec<u8> {
    const BLOCKS: usize = 1500 * 1500;
    let segment = |marker: u8, content: &[u8]| {
        let length = (2 + content.len() as u16).to_be_bytes();
        [&[0xff, marker][..], &length, content].concat()
    };
    let table = |class: u8, symbol: u8| {
        let counts = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        segment(0xc4, &[&[class][..], &counts, &[symbol]].concat())
    };
    let side = 12_000_u16.to_be_bytes();
    let frame = [&[8][..], &side, &side, &[1, 1, 0x11, 0]].concat();
    let mut file = vec![0xff, 0xd8];
    file.extend(segment(0xdb, &[&[0][..], &[1; 64]].concat()));
    file.extend(segment(0xc2, &frame));
    file.extend(table(0, 0));
    // Runs of blocks without coefficients: their length has 14 bits.
    file.extend(table(0x10, 0xe0));
    file.extend(segment(0xda, &[1, 1, 0, 0, 0, 0]));
    file.extend(vec![0; BLOCKS / 8]);
    for _ in 0..scans {
        file.extend(segment(0xda, &[1, 1, 0, 1, 63, 0]));
        file.extend(vec![0; 300]);
    }
    file.extend([0xff, 0xd9]);
    file
}

fn many_scans() {
    let found = problem(decode(&scan_bomb(1000)));
    assert!(
        found.contains("its scans go over the image too often"),
        "{found}"
    );
    decode(&scan_bomb(9)).expect("ten scans are usual");
}

/// A TIFF structure with one orientation, in a type of so many bytes.
fn tiff(kind: u8, orientation: u8) -> Vec<u8> {
    let entry = [0x12, 0x01, kind, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
    [&b"II*\0\x08\0\0\0\x01\0"[..], &entry, &[0; 4]].concat()
}

fn app1(content: &[u8]) -> Vec<u8> {
    let length = (2 + content.len() as u16).to_be_bytes();
    [&[0xff, 0xe1][..], &length, content].concat()
}

fn png_chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let named = [&name[..], content].concat();
    let length = (content.len() as u32).to_be_bytes();
    [&length[..], &named, &crc32(&named).to_be_bytes()].concat()
}

fn orientation_elsewhere() {
    const XMP: &str = "<x:xmpmeta><rdf:Description tiff:Orientation=\"6\"/></x:xmpmeta>";
    let xmp = [&b"http://ns.adobe.com/xap/1.0/\0"[..], XMP.as_bytes()].concat();
    let jpeg = jpeg_of(&noise(32, 16));
    let exif = |kind| app1(&[&b"Exif\0\0"[..], &tiff(kind, 6)].concat());
    let upright = app1(&[&b"Exif\0\0"[..], &tiff(3, 1)].concat());
    let (short, long, xmp) = (exif(3), exif(4), app1(&xmp));
    let mut files = vec![
        ("SHORT", with_segment(&jpeg, &short), true),
        ("LONG", with_segment(&jpeg, &long), true),
        ("XMP", with_segment(&jpeg, &xmp), true),
        ("ASCII", with_segment(&jpeg, &exif(2)), false),
        (
            "EXIF before XMP",
            with_segment(&jpeg, &[&upright[..], &xmp].concat()),
            false,
        ),
    ];
    let png = png_of(&noise(32, 16));
    let end = png.len() - 12;
    let text = [&b"XML:com.adobe.xmp\0\0\0\0\0"[..], XMP.as_bytes()].concat();
    let hex: String = tiff(3, 6)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let raw = format!("Raw profile type exif\0\nexif\n      26\n{hex}\n");
    for (what, at, chunk) in [
        ("eXIf", 33, png_chunk(b"eXIf", &tiff(3, 6))),
        ("eXIf at the end", end, png_chunk(b"eXIf", &tiff(4, 6))),
        ("iTXt", 33, png_chunk(b"iTXt", &text)),
        ("ImageMagick's text", 33, png_chunk(b"tEXt", raw.as_bytes())),
    ] {
        files.push((what, [&png[..at], &chunk, &png[at..]].concat(), true));
    }
    for (what, file, is_turned) in files {
        let image = decode(&file).expect(what);
        assert_eq!((image.width, image.height) == (16, 32), is_turned, "{what}");
    }
}

fn other_formats() {
    for (start, name) in [
        (&b"\0\0\0\x20ftypavif\0\0\0\0"[..], "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\xff\x0a\0\0", "JPEG XL"),
        (b"8BPS\0\x01", "PSD"),
        (b"P6\n1 1\n255\n", "PNM"),
    ] {
        let found = problem(decode(start));
        let wanted = format!("{name} is not among the formats that are read");
        assert!(found.contains(&wanted), "{found}");
    }
}
