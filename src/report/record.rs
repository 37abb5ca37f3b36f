//! `report.json`: what the report shows besides the curves, so that it can be written again.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::event::Fact;
use crate::error::{Error, Result};
use crate::files::{self, Indent};
use crate::metrics::{Paired, Summary};

/// Name of the file in a run's folder.
pub const RECORD: &str = "report.json";

/// What is known of a run besides its curves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Lines of the header: device, data, model, recipe, plan.
    pub facts: Vec<Fact>,
    pub notices: Vec<String>,
    /// The peak of the run.
    pub learning_rate: Option<f64>,
    /// Why the run ended in an error, if it did.
    pub failure: Option<String>,
    /// Where somebody stopped the run, if somebody did.
    #[serde(default)]
    pub interruption: Option<String>,
    pub judged: Option<Judged>,
    pub comparison: Option<Comparison>,
}

/// An evaluation in detail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// What was evaluated: `the model of step 63`.
    pub what: String,
    /// Names by class index.
    pub classes: Vec<String>,
    pub summary: Summary,
    /// The worst ones first.
    pub mistakes: Vec<Mistake>,
}

impl Judged {
    fn contradiction(&self) -> Option<String> {
        let classes = self.classes.len();
        let of_classes = self.summary.confusion.classes();
        if classes != of_classes {
            return Some(format!("{classes} names of {of_classes} classes"));
        }
        let is_known = |mistake: &Mistake| {
            mistake.label < classes && mistake.predicted.is_none_or(|class| class < classes)
        };
        if let Some(mistake) = self.mistakes.iter().find(|mistake| !is_known(mistake)) {
            let name = &mistake.name;
            return Some(format!(
                "`{name}` is of a class beyond the {classes} there are"
            ));
        }
        self.summary.contradiction()
    }
}

/// An image that was put into a wrong class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    pub name: String,
    /// Class index.
    pub label: usize,
    /// Class index; none if the logits held a NaN.
    pub predicted: Option<usize>,
    /// Probability of the predicted class; none if it is not finite.
    pub confidence: Option<f64>,
    /// Probability of the label; none if it is not finite.
    pub label_probability: Option<f64>,
    pub thumbnail: Option<Thumbnail>,
}

/// A small picture, its pixels inside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Thumbnail {
    pub width: usize,
    pub height: usize,
    /// `data:image/png;base64,…`
    pub url: String,
}

/// The best evaluation of a run beside its last one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub best_step: u64,
    pub last_step: u64,
    /// The best one is the first, the last one the second.
    pub paired: Paired,
}

impl Record {
    /// Reads the record of the folder `run`; none where it has none.
    ///
    /// # Errors
    /// [`Error::Data`] for a file that is none of ours, or whose parts do not fit together.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join(RECORD);
        let bytes = match files::read_regular(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|e| Error::io(&path, "read it", e))?,
        };
        let read = serde_json::from_slice(&bytes).map_err(|e| e.to_string());
        let checked = read.and_then(|record: Self| match record.contradiction() {
            Some(what) => Err(format!("it contradicts itself: {what}")),
            None => Ok(record),
        });
        let help = "delete it: the curves need it not";
        checked
            .map(Some)
            .map_err(|problem| Error::data(path, problem, help))
    }

    /// What does not fit together, if anything does not.
    fn contradiction(&self) -> Option<String> {
        let judged = self.judged.as_ref().and_then(Judged::contradiction);
        let paired = self.comparison.as_ref().map(|comparison| comparison.paired);
        judged.or_else(|| paired?.contradiction())
    }

    /// Writes it into the folder `run`, atomically.
    pub fn write(&self, run: &Path) -> Result<()> {
        files::write_json(run.join(RECORD), self, Indent::Two)
    }
}
