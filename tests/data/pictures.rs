//! Made-up pictures, and the formats they are written in.
#![allow(dead_code)] // each test binary uses its own part

use image::{ExtendedColorType, ImageEncoder};
use vitcuda::data::Rgb;

/// Noise from a linear congruential generator, the same in every language.
pub fn noise(width: usize, height: usize) -> Rgb {
    let mut state = 12_345_u32;
    let pixels = (0..3 * width * height).map(|_| {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345) & 0x7fff_ffff;
        (state >> 16) as u8
    });
    Rgb::new(width, height, pixels.collect())
}

/// A smooth picture, which JPEG keeps well.
pub fn smooth(width: usize, height: usize) -> Rgb {
    let value = |x: usize, y: usize, c: usize| (40 * c + 100 * x / width + 60 * y / height) as u8;
    let rows =
        (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| value(x, y, c))));
    Rgb::new(width, height, rows.collect())
}

/// A PNG of raw samples.
pub fn png(samples: &[u8], width: usize, height: usize, color: ExtendedColorType) -> Vec<u8> {
    let mut file = Vec::new();
    image::codecs::png::PngEncoder::new(&mut file)
        .write_image(samples, width as u32, height as u32, color)
        .expect("an encoder");
    file
}

/// A PNG of a picture.
pub fn png_of(picture: &Rgb) -> Vec<u8> {
    png(
        &picture.pixels,
        picture.width,
        picture.height,
        ExtendedColorType::Rgb8,
    )
}

/// A JPEG of a picture.
pub fn jpeg_of(picture: &Rgb) -> Vec<u8> {
    let mut file = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 95)
        .write_image(
            &picture.pixels,
            picture.width as u32,
            picture.height as u32,
            ExtendedColorType::Rgb8,
        )
        .expect("an encoder");
    file
}

/// The checksum of PNG and zlib (CRC-32).
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    })
}
