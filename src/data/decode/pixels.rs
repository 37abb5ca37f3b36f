//! Samples of any colour type to RGB of 8 bits.

use image::ColorType;

use super::{Rgb, Undecodable};
use crate::memory;

/// Brings the samples of a decoder, which are native-endian where they have 16 bits, to RGB.
pub fn to_rgb(
    samples: Vec<u8>,
    color: ColorType,
    width: usize,
    height: usize,
) -> Result<Rgb, Undecodable> {
    if color == ColorType::Rgb8 {
        return Ok(Rgb::new(width, height, samples));
    }
    let mut pixels = memory::zeroed::<u8>(3 * width * height)?;
    let output = pixels.as_chunks_mut::<3>().0;
    match color {
        ColorType::L8 => each(output, &samples, |[grey]| [grey; 3]),
        ColorType::La8 => each(output, &samples, |[grey, alpha]| on_white([grey; 3], alpha)),
        ColorType::Rgba8 => each(output, &samples, |[r, g, b, alpha]| {
            on_white([r, g, b], alpha)
        }),
        ColorType::L16 => each(output, &samples, |[a, b]| [high(a, b); 3]),
        ColorType::La16 => each(output, &samples, |[a, b, c, d]| {
            on_white([high(a, b); 3], high(c, d))
        }),
        ColorType::Rgb16 => each(output, &samples, |[a, b, c, d, e, f]| {
            [high(a, b), high(c, d), high(e, f)]
        }),
        ColorType::Rgba16 => each(output, &samples, |[a, b, c, d, e, f, g, h]| {
            on_white([high(a, b), high(c, d), high(e, f)], high(g, h))
        }),
        other => {
            return Err(Undecodable::Bad(format!(
                "{other:?} is no colour type that is read"
            )));
        }
    }
    Ok(Rgb::new(width, height, pixels))
}

fn each<const N: usize>(
    output: &mut [[u8; 3]],
    samples: &[u8],
    pixel: impl Fn([u8; N]) -> [u8; 3],
) {
    for (output, &samples) in output.iter_mut().zip(samples.as_chunks().0) {
        *output = pixel(samples);
    }
}

/// The high byte of a native-endian number.
fn high(first: u8, second: u8) -> u8 {
    (u16::from_ne_bytes([first, second]) >> 8) as u8
}

/// Pillow's `alpha_composite` over opaque white, whose integer arithmetic keeps 7 extra bits.
fn on_white(color: [u8; 3], alpha: u8) -> [u8; 3] {
    let alpha = u32::from(alpha);
    color.map(|v| {
        let blend = (u32::from(v) * alpha + 255 * (255 - alpha)) * 128 + (128 << 7);
        ((((blend >> 8) + blend) >> 8) >> 7) as u8
    })
}
