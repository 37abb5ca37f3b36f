//! Small pictures for the report.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

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
    let fitted = |side: usize| {
        if longest > SIDE {
            (side * SIDE / longest).max(1)
        } else {
            side
        }
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
        url: format!(
            "data:image/png;base64,{}",
            BASE64_STANDARD.encode(picture.to_png())
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbnails_keep_shape_and_small_pictures_their_pixels() {
        let large = thumbnail(&Rgb::new(272, 100, vec![7; 3 * 272 * 100]));
        assert_eq!((large.width, large.height), (136, 50));
        let small = thumbnail(&Rgb::new(8, 8, (0..192).collect()));
        assert_eq!((small.width, small.height), (8, 8));
        assert!(small.url.starts_with("data:image/png;base64,iVBORw0KGgo"));
    }
}
