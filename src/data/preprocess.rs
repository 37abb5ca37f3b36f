//! What happens to a picture between its file and the model: resize, crop, and the table that
//! turns each u8 into the f32 the model was trained on.

mod json;

use std::path::Path;

use super::resize::{Axis, Filter, resize};
use crate::error::{Error, Result};
use vitcuda_picture::Rgb;

/// Height and width in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub height: usize,
    pub width: usize,
}

impl Size {
    /// A square.
    pub fn square(side: usize) -> Self {
        Self {
            height: side,
            width: side,
        }
    }
}

/// What size a picture is resized to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To exactly this, whatever its aspect.
    Squash(Size),
    /// Until the shorter side is this long, keeping the aspect.
    ShortestEdge(usize),
}

/// A `preprocessor_config.json`: resize, then an optional center crop, rescale and normalise.
///
/// `apply` is the part that works on u8, `lookup` the part that gives f32.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocessor {
    pub target: Target,
    pub filter: Filter,
    /// The middle of this size is cut out after the resize.
    pub crop: Option<Size>,
    /// What u8 values are multiplied by; `None` leaves them at 0…255.
    pub rescale_factor: Option<f64>,
    /// Mean and standard deviation of each channel after rescaling; `None` leaves values alone.
    pub normalize: Option<Normalize>,
    /// transformers' name of the class that would do the same.
    pub image_processor_type: String,
}

/// Mean and standard deviation of red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalize {
    pub mean: [f64; 3],
    pub std: [f64; 3],
}

impl Preprocessor {
    /// What a model trained from scratch on square images uses: squashed bilinearly, values −1…1.
    pub fn new(image_size: usize) -> Self {
        Self {
            target: Target::Squash(Size::square(image_size)),
            filter: Filter::Bilinear,
            crop: None,
            rescale_factor: Some(json::RESCALE_FACTOR),
            normalize: Some(Normalize {
                mean: [0.5; 3],
                std: [0.5; 3],
            }),
            image_processor_type: json::VIT.into(),
        }
    }

    /// Reads a `preprocessor_config.json`, in the form of any version of transformers.
    ///
    /// Missing keys take the defaults of the class that the file names, or else those of
    /// `ViTImageProcessor`: bilinear, rescaled by 1/255, mean and standard deviation 0.5. A file that says something else than a usable preprocessor is
    /// an [`Error::Model`] which names the key.
    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::files::read_text(path).map_err(|e| {
            let help = "a model folder needs config.json, model.safetensors and this file";
            Error::model(path, format!("cannot be read: {e}"), help)
        })?;
        json::parse(&text).map_err(|problem| {
            let help = "compare with the preprocessor_config.json of a published ViT";
            Error::model(path, problem, help)
        })
    }

    /// The text of a `preprocessor_config.json` of current transformers.
    pub fn to_json(&self) -> String {
        json::write(self)
    }

    /// Size of the images that [`apply`](Self::apply) gives.
    pub fn output_size(&self) -> Size {
        match (self.crop, self.target) {
            (Some(crop), _) => crop,
            (None, Target::Squash(size)) => size,
            (None, Target::ShortestEdge(side)) => Size::square(side),
        }
    }

    /// The same for square images of another size; what a crop leaves out stays in proportion.
    #[must_use]
    pub fn with_image_size(&self, side: usize) -> Self {
        let before = self.output_size();
        let scaled = |n: usize, of: usize| (n * side + of / 2) / of;
        let target = match self.target {
            Target::Squash(size) => Target::Squash(Size {
                height: scaled(size.height, before.height),
                width: scaled(size.width, before.width),
            }),
            Target::ShortestEdge(n) => {
                Target::ShortestEdge(scaled(n, before.height.max(before.width)))
            }
        };
        Self {
            target,
            crop: self.crop.map(|_| Size::square(side)),
            ..self.clone()
        }
    }

    /// Resizes and crops; (3, H, W) of [`output_size`](Self::output_size).
    pub fn apply(&self, image: &Rgb) -> Vec<u8> {
        let size = match self.target {
            Target::Squash(size) => size,
            // transformers' `get_resize_output_image_size`: the longer side is cut to an integer.
            Target::ShortestEdge(n) if image.width <= image.height => Size {
                height: n * image.height / image.width,
                width: n,
            },
            Target::ShortestEdge(n) => Size {
                height: n,
                width: n * image.width / image.height,
            },
        };
        let crop = self.crop.unwrap_or(size);
        let columns = Axis::middle(size.width, crop.width);
        let rows = Axis::middle(size.height, crop.height);
        resize(image, &columns, &rows, self.filter)
    }

    /// The model's input for each u8 value, by channel.
    ///
    /// To the bit what transformers computes: rescaled in f64 and rounded to f32, then
    /// `(x − mean) / std` in f32.
    pub fn lookup(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|channel| {
            std::array::from_fn(|value| {
                let x = (value as f64 * self.rescale_factor.unwrap_or(1.0)) as f32;
                match self.normalize {
                    Some(n) => (x - n.mean[channel] as f32) / n.std[channel] as f32,
                    None => x,
                }
            })
        })
    }
}
