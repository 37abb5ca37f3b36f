//! The head that a checkpoint offers, and what becomes of it under the labels that are wanted.

use std::collections::{HashMap, HashSet};

use super::checkpoint::{LoadOptions, list};
use super::config::VitConfig;
use super::init::HeadInit;
use super::model_type::ModelType;
use super::tensor_file::TensorFile;
use super::weights::Weights;

/// The head that the files offer.
pub enum Offer {
    Nothing,
    /// Of so many classes.
    Classes(usize),
    /// A DINOv2's, which reads the class token and the mean of the patches together, 2C values.
    TokenAndMean,
}

impl Offer {
    /// What `head_file` offers, or else `weights`, a checkpoint of type `from`.
    pub fn find(weights: &Weights, head_file: Option<&TensorFile>, from: ModelType) -> Self {
        let shape = match head_file {
            Some(file) => file.shape(HEAD_WEIGHT),
            None => weights.shape(HEAD_WEIGHT),
        };
        match shape.and_then(<[usize]>::first) {
            None => Self::Nothing,
            Some(_) if from == ModelType::Dinov2 && head_file.is_none() => Self::TokenAndMean,
            Some(&classes) => Self::Classes(classes),
        }
    }
}

const HEAD_WEIGHT: &str = "classifier.weight";

/// Where the head's values come from.
pub enum Head {
    /// Row `i` is the offered head's row `rows[i]`.
    Rows(Vec<usize>),
    New,
}

/// A refusal: the problem, and what to do.
type Refused = (&'static str, &'static str);

/// Gives `config` its final labels, and says where the values of their head come from.
///
/// # Errors
/// A head of [`Offer::TokenAndMean`] and no labels to make a new one for.
pub fn settle(
    config: &mut VitConfig,
    offer: &Offer,
    options: &LoadOptions,
    notices: &mut Vec<String>,
) -> Result<Head, Refused> {
    let rows = match offer {
        Offer::Classes(rows) => Some(*rows),
        Offer::TokenAndMean if options.labels.is_none() => {
            return Err((
                "its classifier reads the class token and the mean of the patches together, \
                 wanted one on the class token",
                "fine-tune it (`vitcuda train PHOTOS --model …`), which gives it a new head",
            ));
        }
        Offer::TokenAndMean | Offer::Nothing => None,
    };
    // transformers leaves out id2label where it is the default one.
    let unnamed: Vec<String> = (0..rows.unwrap_or(0))
        .map(|i| format!("LABEL_{i}"))
        .collect();
    let stored = match (rows, config.num_labels()) {
        (None, _) | (_, 0) => unnamed.clone(),
        (Some(_), _) => config.labels(),
    };
    let wanted = options.labels.as_ref().unwrap_or(&stored);
    config.set_labels(wanted);
    let in_order = Head::Rows((0..wanted.len()).collect());
    if matches!(options.head, HeadInit::File(_)) {
        return Ok(in_order);
    }
    let count = wanted.len();
    Ok(match rows {
        None if wanted.is_empty() => {
            notices.push("the checkpoint has no classification head".to_owned());
            in_order
        }
        None => {
            let why = match offer {
                Offer::TokenAndMean => "the checkpoint's reads the mean of the patches too",
                Offer::Nothing | Offer::Classes(_) => "the checkpoint has none",
            };
            notices.push(format!("new head for {count} classes: {why}"));
            Head::New
        }
        // Where the labels are the checkpoint's own, a head of another size is a fault to report.
        Some(found) if found != count && options.labels.is_some() => {
            notices.push(format!(
                "new head for {count} classes: the checkpoint's is for {found}"
            ));
            Head::New
        }
        Some(_) if *wanted == stored => in_order,
        Some(_) if stored == unnamed => {
            notices.push(format!(
                "the checkpoint does not name its {count} classes; taken as {}",
                list(wanted)
            ));
            in_order
        }
        Some(_) => match places(wanted, &stored) {
            Some(rows) => {
                notices.push(format!(
                    "the checkpoint's classes come in another order ({}); its head was reordered",
                    list(&stored)
                ));
                Head::Rows(rows)
            }
            None => {
                notices.push(format!(
                    "the checkpoint's classes are {}, the data's {}; its head was kept, class by \
                     class in this order",
                    list(&stored),
                    list(wanted)
                ));
                in_order
            }
        },
    })
}

/// Where each of `wanted` stands in `stored`, if both hold the same different names.
fn places(wanted: &[String], stored: &[String]) -> Option<Vec<usize>> {
    let known: HashMap<&String, usize> = stored.iter().zip(0..).collect();
    let place = |name| known.get(name).copied();
    let places: Vec<usize> = wanted.iter().map(place).collect::<Option<_>>()?;
    let different: HashSet<usize> = places.iter().copied().collect();
    (different.len() == stored.len()).then_some(places)
}

/// Moves row `rows[i]` to place `i`.
pub fn reorder(values: &mut [f32], rows: &[usize]) {
    if rows.is_empty() || rows.is_sorted() {
        return;
    }
    let old = values.to_vec();
    let width = values.len() / rows.len();
    for (new, &row) in values.chunks_exact_mut(width).zip(rows) {
        new.copy_from_slice(&old[row * width..][..width]);
    }
}
