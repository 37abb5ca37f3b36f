//! Small pictures for the report.

use vitcuda::data::resize::{Axis, Filter, resize};
use vitcuda::data::{Dataset, Rgb};
use vitcuda::metrics::worst_mistakes;
use vitcuda::report::record::{Judged, Mistake, Thumbnail};
use vitcuda::train::Evaluation;

/// Longest side of a thumbnail in pixels.
const SIDE: usize = 136;

/// Mistakes on the contact sheet.
const MISTAKES: usize = 24;

/// `evaluation` of the images `dataset`, in detail, the worst mistakes with their pictures. `what`
/// was evaluated.
pub fn judged(
    what: String,
    evaluation: &Evaluation,
    dataset: &Dataset,
    classes: &[String],
) -> Judged {
    let places = worst_mistakes(&evaluation.predictions, MISTAKES);
    let mistakes = places.into_iter().map(|i| {
        let prediction = &evaluation.predictions[i];
        let finite = |p: f64| p.is_finite().then_some(p);
        Mistake {
            name: dataset.name(i),
            label: prediction.label as usize,
            predicted: prediction.predicted.map(|class| class as usize),
            confidence: finite(prediction.confidence),
            label_probability: finite((-prediction.loss).exp()),
            // The image was good when it was evaluated; if it has gone since, its name must do.
            thumbnail: dataset.image(i).ok().map(|image| thumbnail(&image)),
        }
    });
    Judged {
        what,
        classes: classes.to_vec(),
        summary: evaluation.summary(),
        mistakes: mistakes.collect(),
    }
}

/// `image`, made smaller if its longer side is above [`SIDE`].
fn thumbnail(image: &Rgb) -> Thumbnail {
    let longest = image.width.max(image.height);
    let fitted = |side: usize| match longest > SIDE {
        true => (side * SIDE / longest).max(1),
        false => side,
    };
    let (width, height) = (fitted(image.width), fitted(image.height));
    let columns = Axis::whole(width);
    let planes = resize(image, &columns, &Axis::whole(height), Filter::Bilinear);
    let pixel = |i| [0, 1, 2].map(|channel| planes[channel * width * height + i]);
    let pixels = (0..width * height).flat_map(pixel).collect();
    let picture = Rgb::new(width, height, pixels);
    Thumbnail {
        width,
        height,
        url: format!("data:image/png;base64,{}", base64(&picture.to_png())),
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            match digit <= group.len() {
                true => text.push(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63] as char),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 4648, section 10.
    #[test]
    fn base64_is_the_standards() {
        let vectors = [
            "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy",
        ];
        for (length, expected) in vectors.iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..length]), *expected);
        }
    }

    #[test]
    fn thumbnails_keep_shape_and_small_pictures_their_pixels() {
        let large = thumbnail(&Rgb::new(272, 100, vec![7; 3 * 272 * 100]));
        assert_eq!((large.width, large.height), (136, 50));
        let small = thumbnail(&Rgb::new(8, 8, (0..192).collect()));
        assert_eq!((small.width, small.height), (8, 8));
        assert!(small.url.starts_with("data:image/png;base64,iVBORw0KGgo"));
    }
}
