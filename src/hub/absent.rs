//! The hub where it was left out of the build (`--no-default-features`): whoever names a model or a data
//! set of it hears how to have it.

mod asked;
mod id;
mod settings;
mod transfer;

use std::path::PathBuf;

pub use asked::{DatasetFiles, LocalFile, ModelPart, Push, Pushed, Visibility};
pub use id::{Id, MAIN};
pub use settings::{Network, Settings};
pub use transfer::{Direction, Listener, Transfer};

use crate::error::{Error, Result};

/// A hub that refuses everything.
pub struct Hub;

impl Hub {
    /// Never fails.
    pub fn new(_: Settings) -> Result<Self> {
        Ok(Self)
    }

    /// [`Error::Hub`], always.
    pub fn model(&self, id: &Id, _: ModelPart, _: &mut dyn Listener) -> Result<PathBuf> {
        Err(left_out(format!("there is no folder {id}")))
    }

    /// [`Error::Hub`], always.
    pub fn dataset(
        &self,
        id: &Id,
        _: impl FnOnce(Vec<String>) -> Result<Vec<String>>,
        _: &mut dyn Listener,
    ) -> Result<DatasetFiles> {
        Err(left_out(format!("there is no folder {id}")))
    }

    /// [`Error::Hub`], always.
    pub fn push(&self, push: &Push<'_>, _: &mut dyn Listener) -> Result<Pushed> {
        Err(left_out(format!("{} is on the hub", push.repository)))
    }

    /// An error in words, always.
    pub fn bytes(&self, url: &str, _: u64) -> Result<Vec<u8>, String> {
        Err(left_out(format!("{url} lies on the web")).to_string())
    }
}

fn left_out(what: String) -> Error {
    Error::hub(
        format!("{what}, and this vitcuda was built without the Hugging Face hub"),
        "build it again without --no-default-features (or with --features hub)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_names_the_hub_hears_how_to_have_it() {
        let settings = Settings::of(|name| (name == "HF_HOME").then(|| "/shared".into()));
        let settings = settings.unwrap();
        let hub = Hub::new(settings).unwrap();
        let id = Id::parse("them/pets@v2").unwrap();
        let push = Push {
            repository: "them/pets",
            branch: MAIN,
            visibility: Visibility::Private,
            message: "",
            files: &[],
        };
        let refused = [
            hub.model(&id, ModelPart::Whole, &mut |_| {}).err(),
            hub.dataset(&id, Ok, &mut |_| {}).err(),
            hub.push(&push, &mut |_| {}).err(),
        ];
        for error in refused {
            let error = error.expect("it is refused");
            assert_eq!(error.exit_code(), 8);
            let said = format!("{error}: {}", error.help().unwrap());
            for part in [
                "them/pets",
                "without the Hugging Face hub",
                "--features hub",
            ] {
                assert!(said.contains(part), "`{part}` is not in: {said}");
            }
        }
    }
}
