//! Digits and patterns as image files.

use image::codecs::bmp::BmpEncoder;
use image::codecs::gif::GifEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, ExtendedColorType, Frame, ImageEncoder, RgbImage, RgbaImage};
use vitcuda::data::digits;

use super::{Made, made};
use crate::rng::Rng;

/// A digit, repeated to this size.
fn digit(index: usize, width: u32, height: u32) -> DynamicImage {
    let digit = digits::image(index);
    let pixel = |x: u32, y: u32| {
        let (x, y) = (x as usize % digit.width, y as usize % digit.height);
        let grey = digit.pixels[3 * (y * digit.width + x)];
        image::Rgb([grey, grey.wrapping_mul(3), 255 - grey])
    };
    RgbImage::from_fn(width, height, pixel).into()
}

pub fn jpegs() -> Vec<Made> {
    let sizes = [(8, 8), (17, 9), (33, 34), (1, 40), (64, 48)];
    let mut files = Vec::new();
    for (index, (width, height)) in sizes.into_iter().enumerate() {
        for quality in [10, 90] {
            let image = digit(index, width, height);
            for (kind, image) in [("grey", image.to_luma8().into()), ("colour", image)] {
                let image: DynamicImage = image;
                let mut file = Vec::new();
                let mut encoder = JpegEncoder::new_with_quality(&mut file, quality);
                if kind == "colour" && quality == 90 {
                    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
                    encoder
                        .set_exif_metadata(exif.to_vec())
                        .expect("EXIF is taken");
                }
                encoder.encode_image(&image).expect("memory takes it");
                let name = format!("{kind}_{width}x{height}_{quality}.jpg");
                files.push(made("jpeg", name, file));
            }
        }
    }
    files
}

pub fn others() -> Vec<Made> {
    let mut files = pngs();
    files.extend(gifs());
    files.extend(bitmaps());
    files.extend(webps());
    files
}

fn pngs() -> Vec<Made> {
    let image = digit(3, 19, 13);
    let kinds: [(&str, DynamicImage); 8] = [
        ("rgb8", image.clone()),
        ("rgba8", image.to_rgba8().into()),
        ("grey8", image.to_luma8().into()),
        ("grey_alpha8", image.to_luma_alpha8().into()),
        ("rgb16", image.to_rgb16().into()),
        ("rgba16", image.to_rgba16().into()),
        ("grey16", image.to_luma16().into()),
        ("grey_alpha16", image.to_luma_alpha16().into()),
    ];
    let mut files = Vec::new();
    for (kind, image) in kinds {
        for (how, compression) in [
            ("stored", CompressionType::Uncompressed),
            ("best", CompressionType::Best),
        ] {
            let mut file = Vec::new();
            let encoder =
                PngEncoder::new_with_quality(&mut file, compression, FilterType::Adaptive);
            image.write_with_encoder(encoder).expect("memory takes it");
            files.push(made("image", format!("{kind}_{how}.png"), file));
        }
    }
    for (depth, color) in [(1, 0), (2, 0), (4, 0), (1, 3), (4, 3), (8, 3)] {
        let name = format!("depth{depth}_colour{color}.png");
        files.push(made("image", name, low_depth_png(depth, color)));
    }
    files
}

/// A PNG of 9 × 5 pixels of `depth` bits, which the encoders at hand do not write.
fn low_depth_png(depth: u8, color: u8) -> Vec<u8> {
    let row = (9 * usize::from(depth)).div_ceil(8);
    let mut pixels = Vec::new();
    for y in 0..5_u8 {
        pixels.push(y % 5); // the filter
        pixels.extend((0..row as u8).map(|x| x.wrapping_mul(37) ^ y));
    }
    let mut idat = b"\x78\x01\x01".to_vec(); // zlib, one stored block
    idat.extend((pixels.len() as u16).to_le_bytes());
    idat.extend((!(pixels.len() as u16)).to_le_bytes());
    idat.extend(&pixels);
    let (mut a, mut b) = (1_u32, 0_u32); // Adler-32
    for &byte in &pixels {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    idat.extend((b << 16 | a).to_be_bytes());
    let header = [0, 0, 0, 9, 0, 0, 0, 5, depth, color, 0, 0, 0];
    let palette: Vec<u8> = (0..3 << depth).map(|i| (i * 5) as u8).collect();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8; 4], content: &[u8]| {
        file.extend((content.len() as u32).to_be_bytes());
        let named = [name, content].concat();
        file.extend(&named);
        file.extend(crc32fast::hash(&named).to_be_bytes());
    };
    chunk(b"IHDR", &header);
    if color == 3 {
        chunk(b"PLTE", &palette);
        chunk(b"tRNS", &[0, 128]);
    }
    chunk(b"IDAT", &idat);
    chunk(b"IEND", &[]);
    file
}

fn gifs() -> Vec<Made> {
    let frame = |index| digit(index, 16, 11).to_rgba8();
    let clear = RgbaImage::from_fn(16, 11, |x, y| {
        image::Rgba([9, 8, 7, ((x + y) % 2 * 255) as u8])
    });
    [
        ("one", vec![frame(1)]),
        ("two", vec![frame(1), frame(2)]),
        ("clear", vec![clear]),
    ]
    .into_iter()
    .map(|(name, frames)| {
        let mut file = Vec::new();
        let mut encoder = GifEncoder::new(&mut file);
        let frames = frames.into_iter().map(Frame::new);
        encoder.encode_frames(frames).expect("memory takes it");
        drop(encoder);
        made("image", format!("{name}.gif"), file)
    })
    .collect()
}

fn bitmaps() -> Vec<Made> {
    let image = digit(5, 7, 6);
    let mut files = Vec::new();
    for (kind, image) in [
        ("rgb", image.clone()),
        ("rgba", image.to_rgba8().into()),
        ("grey", image.to_luma8().into()),
    ] {
        let mut file = Vec::new();
        let encoder = BmpEncoder::new(&mut file);
        image.write_with_encoder(encoder).expect("memory takes it");
        files.push(made("image", format!("{kind}.bmp"), file));
    }
    let runs8 = b"\x05\x01\x00\x03\x02\x03\x04\x00\x00\x00\x00\x02\x01\x01\x04\x02\x00\x01";
    let runs4 = b"\x05\x12\x00\x03\x12\x30\x00\x00\x00\x02\x01\x01\x04\x21\x00\x01";
    files.push(made("image", "rle8.bmp", run_length_bitmap(8, 1, runs8)));
    files.push(made("image", "rle4.bmp", run_length_bitmap(4, 2, runs4)));
    let plain: Vec<u8> = (0..5 * 4).map(|i| i * 11).collect();
    files.push(made("image", "bits1.bmp", run_length_bitmap(1, 0, &plain)));
    files.push(made("image", "bits4.bmp", run_length_bitmap(4, 0, &plain)));
    files
}

/// A bitmap of 8 × 5 pixels with a palette.
fn run_length_bitmap(bits: u16, compression: u32, data: &[u8]) -> Vec<u8> {
    let colors = 1_u32 << bits;
    let start = 14 + 40 + 4 * colors;
    let mut file = b"BM".to_vec();
    file.extend((start + data.len() as u32).to_le_bytes());
    file.extend([0; 4]);
    for number in [start, 40, 8, 5] {
        file.extend(number.to_le_bytes());
    }
    file.extend(1_u16.to_le_bytes());
    file.extend(bits.to_le_bytes());
    for number in [compression, data.len() as u32, 2835, 2835, colors, 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend((0..colors).flat_map(|c| [c as u8, (c * 7) as u8, (c * 31) as u8, 0]));
    file.extend(data);
    file
}

fn webps() -> Vec<Made> {
    let mut files = Vec::new();
    for (kind, image) in [
        ("rgb", digit(7, 23, 9)),
        ("rgba", digit(7, 5, 31).to_rgba8().into()),
        ("grey", digit(8, 12, 12).to_luma8().into()),
    ] {
        let mut file = Vec::new();
        let encoder = WebPEncoder::new_lossless(&mut file);
        image.write_with_encoder(encoder).expect("memory takes it");
        files.push(made("image", format!("lossless_{kind}.webp"), file));
    }
    let mut random = Vec::new();
    let encoder = WebPEncoder::new_lossless(&mut random);
    let mut rng = Rng::new(1, 0);
    let noise: Vec<u8> = (0..16 * 16 * 4).map(|_| rng.word() as u8).collect();
    let encoded = encoder.write_image(&noise, 16, 16, ExtendedColorType::Rgba8);
    encoded.expect("memory takes it");
    files.push(made("image", "lossless_noise.webp", random));
    for seed in 0..4 {
        let frame = lossy_frame(seed);
        files.push(made(
            "image",
            format!("lossy_{seed}.webp"),
            riff(&[(b"VP8 ", &frame)]),
        ));
    }
    // Alpha, a frame, and animation (RIFF container of WebP).
    let extended = b"\x10\0\0\0\x10\0\0\x10\0\0";
    let alpha = [&[0_u8][..], &[200; 17 * 17]].concat();
    let frame = lossy_frame(9);
    let chunks: [(&[u8; 4], &[u8]); 3] =
        [(b"VP8X", extended), (b"ALPH", &alpha), (b"VP8 ", &frame)];
    files.push(made("image", "lossy_alpha.webp", riff(&chunks)));
    let mut inner = b"\0\0\0\0\0\0\x10\0\0\x10\0\0\x64\0\0\0".to_vec();
    inner.extend(b"VP8 ");
    inner.extend((frame.len() as u32).to_le_bytes());
    inner.extend(&frame);
    let animated: [(&[u8; 4], &[u8]); 4] = [
        (b"VP8X", b"\x02\0\0\0\x10\0\0\x10\0\0"),
        (b"ANIM", b"\0\0\0\0\0\0"),
        (b"ANMF", &inner),
        (b"ANMF", &inner),
    ];
    files.push(made("image", "animated.webp", riff(&animated)));
    files
}

/// A VP8 key frame of 17 × 17 pixels, whose partitions are noise: any bits mean something there.
fn lossy_frame(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed, 1);
    let first = 60 + 20 * seed as u32;
    let tag = 1 << 4 | first << 5; // a key frame that is shown
    let mut frame = tag.to_le_bytes()[..3].to_vec();
    frame.extend(b"\x9d\x01\x2a\x11\0\x11\0");
    // Noise that starts with zeros: no segments, no filter adjustments, one partition.
    frame.extend([0; 4]);
    frame.extend((4..first + 300).map(|_| rng.word() as u8));
    frame.resize(frame.len().next_multiple_of(2), 0);
    frame
}

fn riff(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (name, content) in chunks {
        body.extend(*name);
        body.extend((content.len() as u32).to_le_bytes());
        body.extend(*content);
        body.resize(body.len().next_multiple_of(2), 0);
    }
    [&b"RIFF"[..], &(body.len() as u32).to_le_bytes(), &body].concat()
}
