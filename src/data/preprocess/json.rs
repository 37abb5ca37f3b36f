//! `preprocessor_config.json`, read in every form that was ever written, written in today's.

use serde_json::{Map, Value, json};

use super::{Normalize, Preprocessor, Size, Target};
use crate::data::resize::Filter;

/// 1/255 as Python prints it.
pub const RESCALE_FACTOR: f64 = 1.0 / 255.0;

pub const VIT: &str = "ViTImageProcessor";

/// Largest side taken seriously; beyond it a few images fill the memory.
const MAX_SIDE: u64 = 16_384;

/// A problem, as the end of a sentence that starts with the file's name.
type Parsed<T> = Result<T, String>;

/// What a processor class takes for what its file leaves out: the class attributes in
/// `image_processing_pil_*.py` of transformers 5.
struct Family {
    size: Found,
    /// A plain number as `size` means the shorter side (elsewhere a square).
    int_is_shortest_edge: bool,
    crops: bool,
    filter: Filter,
    normalize: Normalize,
}

const HALF: Normalize = Normalize {
    mean: [0.5; 3],
    std: [0.5; 3],
};

/// `OPENAI_CLIP_MEAN` and `OPENAI_CLIP_STD`.
const CLIP: Normalize = Normalize {
    mean: [0.48145466, 0.4578275, 0.40821073],
    std: [0.26862954, 0.26130258, 0.27577711],
};

fn family(processor: &str) -> Family {
    let is = |name: &str| processor.starts_with(name);
    if is("CLIP") || is("Bit") {
        return Family {
            size: Found::ShortestEdge(224),
            int_is_shortest_edge: true,
            crops: true,
            filter: Filter::Bicubic,
            normalize: CLIP,
        };
    }
    let deit = is("DeiT");
    Family {
        size: Found::Square(if deit { 256 } else { 224 }),
        int_is_shortest_edge: false,
        crops: deit,
        filter: if deit {
            Filter::Bicubic
        } else {
            Filter::Bilinear
        },
        normalize: HALF,
    }
}

/// The preprocessor that the text describes.
pub fn parse(text: &str) -> Parsed<Preprocessor> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("is not JSON: {e}"))?;
    let config = value
        .as_object()
        .ok_or_else(|| format!("holds {}, wanted an object", kind(&value)))?;
    let processor = ["image_processor_type", "feature_extractor_type"]
        .iter()
        .find_map(|key| config.get(*key)?.as_str())
        .map_or(VIT.into(), |name| {
            // `…Fast`, `…Pil` and `…FeatureExtractor` are other backends and times of the same.
            let base = name.trim_end_matches("Fast").trim_end_matches("Pil");
            base.replace("FeatureExtractor", "ImageProcessor")
        });
    let family = family(&processor);
    if !flag(config, "do_resize", true)? {
        return Err(
            "key `do_resize` is false, wanted true: images of all sizes make no batch".into(),
        );
    }
    let crop = if flag(config, "do_center_crop", family.crops)? {
        Some(
            size(config, "crop_size", Found::Square(224)).and_then(|target| match target {
                Found::Square(n) => Ok(Size::square(n)),
                Found::Exact(size) => Ok(size),
                Found::ShortestEdge(_) => {
                    Err("key `crop_size` is a shortest_edge, wanted a height and a width".into())
                }
            })?,
        )
    } else {
        None
    };
    let target = match size(config, "size", family.size)? {
        Found::Square(n) if family.int_is_shortest_edge => Target::ShortestEdge(n),
        Found::Square(n) => Target::Squash(Size::square(n)),
        Found::Exact(size) => Target::Squash(size),
        Found::ShortestEdge(n) => Target::ShortestEdge(n),
    };
    check_crop(target, crop)?;
    let rescale_factor = if flag(config, "do_rescale", true)? {
        Some(number(config, "rescale_factor", RESCALE_FACTOR)?)
    } else {
        None
    };
    let normalize = if flag(config, "do_normalize", true)? {
        Some(Normalize {
            mean: channels(config, "image_mean", family.normalize.mean)?,
            std: channels(config, "image_std", family.normalize.std)?,
        })
    } else {
        None
    };
    if normalize.is_some_and(|n| n.std.iter().any(|&std| std <= 0.0)) {
        return Err("key `image_std` holds a number that is not above 0".into());
    }
    Ok(Preprocessor {
        target,
        filter: filter(config, family.filter)?,
        crop,
        rescale_factor,
        normalize,
        image_processor_type: processor,
    })
}

fn check_crop(target: Target, crop: Option<Size>) -> Parsed<()> {
    let fits = match (target, crop) {
        (Target::ShortestEdge(_), None) => {
            let found = "key `size` is a shortest_edge and nothing is cropped";
            return Err(format!(
                "{found}, wanted a height and a width, or do_center_crop: images of all shapes make no batch"
            ));
        }
        (_, None) => true,
        (Target::ShortestEdge(n), Some(crop)) => crop.height.max(crop.width) <= n,
        (Target::Squash(size), Some(crop)) => {
            crop.height <= size.height && crop.width <= size.width
        }
    };
    if fits {
        Ok(())
    } else {
        Err("key `crop_size` is larger than `size`, wanted at most that".into())
    }
}

/// A `size` as found: what a plain number means depends on the family.
#[derive(Clone, Copy)]
enum Found {
    Square(usize),
    Exact(Size),
    ShortestEdge(usize),
}

fn size(config: &Map<String, Value>, key: &str, default: Found) -> Parsed<Found> {
    let Some(value) = present(config, key) else {
        return Ok(default);
    };
    let wrong = || {
        format!(
            "key `{key}` is {value}, wanted a side in pixels (1…{MAX_SIDE}), [width, height], \
             {{\"height\", \"width\"}} or {{\"shortest_edge\"}}"
        )
    };
    let side = |value: Option<&Value>| match value.and_then(Value::as_u64) {
        Some(n @ 1..=MAX_SIDE) => Ok(n as usize),
        _ => Err(wrong()),
    };
    match value {
        Value::Number(_) => side(Some(value)).map(Found::Square),
        Value::Array(sides) if sides.len() == 2 => Ok(Found::Exact(Size {
            width: side(sides.first())?,
            height: side(sides.last())?,
        })),
        Value::Object(sides) if sides.contains_key("shortest_edge") && sides.len() == 1 => {
            side(sides.get("shortest_edge")).map(Found::ShortestEdge)
        }
        Value::Object(sides) => Ok(Found::Exact(Size {
            height: side(sides.get("height"))?,
            width: side(sides.get("width"))?,
        })),
        _ => Err(wrong()),
    }
}

fn filter(config: &Map<String, Value>, default: Filter) -> Parsed<Filter> {
    let Some(value) = present(config, "resample") else {
        return Ok(default);
    };
    Filter::ALL
        .into_iter()
        .find(|&filter| value.as_u64() == Some(filter as u64))
        .ok_or_else(|| {
            format!(
                "key `resample` is {value}, wanted 1 (Lanczos), 2 (bilinear), 3 (bicubic), 4 (box) or 5 (Hamming)"
            )
        })
}

fn flag(config: &Map<String, Value>, key: &str, default: bool) -> Parsed<bool> {
    present(config, key).map_or(Ok(default), |value| {
        let wrong = || format!("key `{key}` is {value}, wanted true or false");
        value.as_bool().ok_or_else(wrong)
    })
}

fn number(config: &Map<String, Value>, key: &str, default: f64) -> Parsed<f64> {
    present(config, key).map_or(Ok(default), |value| {
        let wrong = || format!("key `{key}` is {value}, wanted a number");
        value.as_f64().ok_or_else(wrong)
    })
}

fn channels(config: &Map<String, Value>, key: &str, default: [f64; 3]) -> Parsed<[f64; 3]> {
    present(config, key).map_or(Ok(default), |value| {
        let wrong = || format!("key `{key}` is {value}, wanted three numbers (red, green, blue)");
        let numbers: Option<Vec<f64>> = match value {
            Value::Array(values) => values.iter().map(Value::as_f64).collect(),
            // One number for all channels, as transformers allows.
            _ => value.as_f64().map(|n| vec![n; 3]),
        };
        numbers
            .and_then(|numbers| numbers.try_into().ok())
            .ok_or_else(wrong)
    })
}

/// A key whose value is `null` counts as missing, as in transformers.
fn present<'a>(config: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    config.get(key).filter(|value| !value.is_null())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Keys in the order of transformers' files, which is alphabetical.
pub fn write(preprocessor: &Preprocessor) -> String {
    let both = |size: Size| json!({ "height": size.height, "width": size.width });
    let mut config = Map::new();
    if let Some(crop) = preprocessor.crop {
        config.insert("crop_size".into(), both(crop));
    }
    // Left out where that says the same, as transformers does.
    let crops = preprocessor.crop.is_some();
    if crops || family(&preprocessor.image_processor_type).crops {
        config.insert("do_center_crop".into(), crops.into());
    }
    config.insert("do_convert_rgb".into(), true.into());
    let (rescales, normalizes) = (preprocessor.rescale_factor, preprocessor.normalize);
    config.insert("do_normalize".into(), normalizes.is_some().into());
    config.insert("do_rescale".into(), rescales.is_some().into());
    config.insert("do_resize".into(), true.into());
    if let Some(n) = normalizes {
        config.insert("image_mean".into(), n.mean.as_slice().into());
    }
    let processor = preprocessor.image_processor_type.as_str();
    config.insert("image_processor_type".into(), processor.into());
    if let Some(n) = normalizes {
        config.insert("image_std".into(), n.std.as_slice().into());
    }
    config.insert("resample".into(), (preprocessor.filter as u8).into());
    if let Some(factor) = rescales {
        config.insert("rescale_factor".into(), factor.into());
    }
    let size = match preprocessor.target {
        Target::Squash(size) => both(size),
        Target::ShortestEdge(n) => json!({ "shortest_edge": n }),
    };
    config.insert("size".into(), size);
    let text = serde_json::to_string_pretty(&config).expect("plain values become JSON");
    format!("{text}\n")
}
