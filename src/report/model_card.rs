//! `README.md` beside a model: what it is and how it came about, with the front matter that the
//! Hugging Face hub reads (keys of its model card specification).

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::line::escaped;
use super::run_log::RunLog;
use crate::metrics::Summary;

/// The line by which a card of ours is known: what does not hold it is a person's.
pub const MARK: &str = "<!-- Written by vitcuda, which writes it again when the run goes on; without this line it \
     leaves your text alone. -->";

/// Classes beyond which a card names none: `config.json` names them all.
const LISTED_CLASSES: usize = 100;

/// The licences that the hub knows by a name, from its documentation of model cards.
pub const LICENSES: [&str; 81] = [
    "afl-3.0",
    "agpl-3.0",
    "apache-2.0",
    "apple-amlr",
    "apple-ascl",
    "artistic-2.0",
    "bigcode-openrail-m",
    "bigscience-bloom-rail-1.0",
    "bigscience-openrail-m",
    "bsd",
    "bsd-2-clause",
    "bsd-3-clause",
    "bsd-3-clause-clear",
    "bsl-1.0",
    "c-uda",
    "cc",
    "cc-by-2.0",
    "cc-by-2.5",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-nc-2.0",
    "cc-by-nc-3.0",
    "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "cdla-permissive-1.0",
    "cdla-permissive-2.0",
    "cdla-sharing-1.0",
    "creativeml-openrail-m",
    "deepfloyd-if-license",
    "ecl-2.0",
    "epl-1.0",
    "epl-2.0",
    "etalab-2.0",
    "eupl-1.1",
    "eupl-1.2",
    "fair-noncommercial-research-license",
    "gemma",
    "gfdl",
    "gpl",
    "gpl-2.0",
    "gpl-3.0",
    "h-research",
    "intel-research",
    "isc",
    "lgpl",
    "lgpl-2.1",
    "lgpl-3.0",
    "lgpl-lr",
    "llama2",
    "llama3",
    "llama3.1",
    "llama3.2",
    "llama3.3",
    "llama4",
    "lppl-1.3c",
    "mit",
    "mpl-2.0",
    "ms-pl",
    "ncsa",
    "odbl",
    "odc-by",
    "ofl-1.1",
    "open-mdw",
    "openrail",
    "openrail++",
    "osl-3.0",
    "other",
    "pddl",
    "postgresql",
    "unknown",
    "unlicense",
    "wtfpl",
    "zlib",
];

/// The card `text` with this licence in its front matter, in place of another.
pub fn with_license(text: &str, license: &str) -> String {
    let line = format!("license: {license}\n");
    let Some(front) = text.strip_prefix("---\n") else {
        return format!("---\n{line}---\n\n{text}");
    };
    let (front, rest) = front.split_at(front.find("\n---").map_or(0, |end| end + 1));
    let others = front.split_inclusive('\n');
    let others: String = others
        .filter(|line| !line.starts_with("license:"))
        .collect();
    format!("---\n{line}{others}{rest}")
}

/// What a card says.
#[derive(Debug, Clone)]
pub struct ModelCard<'a> {
    /// Of the run.
    pub name: String,
    /// In words: a folder, a model of the hub, a preset from scratch.
    pub model: String,
    /// The model of the hub that was fine-tuned, if it was one.
    pub base_model: Option<String>,
    /// In words: a folder, a data set of the hub.
    pub data: String,
    /// The data set of the hub, if it was one.
    pub dataset: Option<String>,
    /// By the hub's name, where it is known.
    pub license: Option<String>,
    /// By index.
    pub classes: &'a [String],
    /// Under the names of `TrainingArguments`.
    pub arguments: Map<String, Value>,
    pub log: &'a RunLog,
    /// Of the model beside the card, if there were images to evaluate it on.
    pub summary: Option<Summary>,
    /// As it was typed.
    pub command: String,
}

impl ModelCard<'_> {
    /// The card, in Markdown.
    pub fn text(&self) -> String {
        let mut text = self.front_matter();
        let _ = write!(
            text,
            "\n{MARK}\n\n# {}\n\nAn image classifier: a Vision Transformer ({}), trained on {} to \
             tell {} classes apart.\n",
            self.name,
            self.model,
            self.data,
            self.classes.len()
        );
        if let Some(summary) = &self.summary {
            let (low, high) = summary.interval();
            let loss = summary
                .loss
                .map_or("not finite".into(), |l| format!("{l:.4}"));
            let _ = write!(
                text,
                "On the {} images of the evaluation set:\n\n- Loss: {loss}\n- Accuracy: {:.4} (95 % \
                 interval {low:.4} to {high:.4})\n",
                summary.samples,
                summary.accuracy()
            );
        }
        if self.classes.len() <= LISTED_CLASSES {
            let classes = self.classes.join(", ").replace('\n', " ");
            let _ = write!(text, "\nClasses: {classes}.\n");
        }
        let _ = write!(
            text,
            "\n## Use\n\n```\nvitcuda predict FOLDER PHOTO…\n```\n\n```python\nfrom transformers \
             import pipeline\npipeline(\"image-classification\", model=\"FOLDER\")(\"photo.jpg\")\n\
             ```\n\n## Training\n\n```\n{}\n```\n\n",
            self.command
        );
        for (name, value) in &self.arguments {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let _ = writeln!(text, "- {name}: {value}");
        }
        self.results(&mut text);
        let _ = write!(
            text,
            "\n### Framework versions\n\n- vitcuda {}\n",
            env!("CARGO_PKG_VERSION")
        );
        escaped(&text)
    }

    /// YAML, every text of which is a JSON string: that is YAML too, whatever is in it.
    fn front_matter(&self) -> String {
        let quoted = |text: &str| json!(text).to_string();
        let mut yaml =
            String::from("---\nlibrary_name: transformers\npipeline_tag: image-classification\n");
        if let Some(license) = &self.license {
            let _ = writeln!(yaml, "license: {license}");
        }
        if let Some(base) = &self.base_model {
            let _ = writeln!(yaml, "base_model: {}", quoted(base));
        }
        yaml += "tags:\n- image-classification\n- vision\n- vitcuda\n";
        if let Some(dataset) = &self.dataset {
            let _ = writeln!(yaml, "datasets:\n- {}", quoted(dataset));
        }
        if let Some(summary) = &self.summary {
            let kind = self.dataset.as_deref().unwrap_or("imagefolder");
            let _ = write!(
                yaml,
                "metrics:\n- accuracy\nmodel-index:\n- name: {}\n  results:\n  - task:\n      type: \
                 image-classification\n      name: Image Classification\n    dataset:\n      type: \
                 {}\n      name: {}\n    metrics:\n    - type: accuracy\n      name: Accuracy\n      \
                 value: {}\n",
                quoted(&self.name),
                quoted(kind),
                quoted(&self.data),
                json!(summary.accuracy())
            );
            if let Some(loss) = summary.loss {
                let loss = json!(loss);
                let _ = write!(
                    yaml,
                    "    - type: loss\n      name: Loss\n      value: {loss}\n"
                );
            }
        }
        yaml + "---\n"
    }

    /// The table of `create_model_card`: each evaluation beside the last log up to it.
    fn results(&self, text: &mut String) {
        if self.log.scored.is_empty() {
            return;
        }
        *text += "\n### Results\n\n| Training Loss | Epoch | Step | Validation Loss | Accuracy |\n\
                  |:---:|:---:|:---:|:---:|:---:|\n";
        for scored in &self.log.scored {
            let logs = self.log.trained.iter().rev();
            let logged = logs.into_iter().find(|logged| logged.step <= scored.step);
            let _ = writeln!(
                text,
                "| {} | {:.4} | {} | {:.4} | {} |",
                logged.map_or("No log".into(), |l| format!("{:.4}", l.loss)),
                scored.epoch,
                scored.step,
                scored.loss,
                scored.accuracy.map_or("-".into(), |a| format!("{a:.4}"))
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_goes_into_the_front_matter() {
        assert!(LICENSES.is_sorted());
        for (text, expected) in [
            ("mine", "---\nlicense: mit\n---\n\nmine"),
            (
                "---\ntags: a\n---\nmine",
                "---\nlicense: mit\ntags: a\n---\nmine",
            ),
            (
                "---\nlicense: gpl\ntags: a\n---\n# m\n",
                "---\nlicense: mit\ntags: a\n---\n# m\n",
            ),
        ] {
            assert_eq!(with_license(text, "mit"), expected);
        }
    }
}
