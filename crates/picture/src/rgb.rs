use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use jpeg_encoder::{ColorType, Encoder};

/// A decoded picture, 8 bits a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    pub width: usize,
    pub height: usize,
    /// (H, W, 3): red, green, blue, row by row.
    pub pixels: Vec<u8>,
}

impl Rgb {
    /// The picture of these pixels; panics unless there are `3 · width · height` bytes and both
    /// sides are at least 1.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Self {
        assert!(width > 0 && height > 0, "a picture of {width} × {height}");
        assert_eq!(pixels.len(), 3 * width * height, "pixels of the picture");
        Self {
            width,
            height,
            pixels,
        }
    }

    /// The picture as a PNG file.
    pub fn to_png(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let (width, height) = (self.width as u32, self.height as u32);
        PngEncoder::new_with_quality(&mut file, CompressionType::Best, FilterType::Adaptive)
            .write_image(&self.pixels, width, height, ExtendedColorType::Rgb8)
            .expect("the buffer has this size, and memory takes what is written");
        file
    }

    /// The picture as a JPEG file of quality 90; panics if a side is longer than 65,535.
    pub fn to_jpeg(&self) -> Vec<u8> {
        let side = |pixels: usize| u16::try_from(pixels).expect("a side that JPEG can have");
        let mut file = Vec::new();
        Encoder::new(&mut file, 90)
            .encode(
                &self.pixels,
                side(self.width),
                side(self.height),
                ColorType::Rgb,
            )
            .expect("the buffer has this size, and memory takes what is written");
        file
    }
}
