//! Models as people name them, and the files a model is kept in.

use std::path::{Path, PathBuf};

use vitcuda::data::Preprocessor;
use vitcuda::files;
use vitcuda::model::checkpoint::{self, LoadOptions, Loaded};
use vitcuda::model::config::VitConfig;
use vitcuda::model::model_type::ModelType;
use vitcuda::model::presets;
use vitcuda::train::trainer::ModelFiles;
use vitcuda::{Error, Result};

/// Name of the file with the image processing in a model's folder.
pub const PREPROCESSOR: &str = "preprocessor_config.json";

/// What a MODEL argument means.
pub enum Named {
    Folder(PathBuf),
    /// A preset's name and architecture, without labels.
    Preset(String, Box<VitConfig>),
}

/// Finds the folder or the preset called `name`.
///
/// [`Error::Usage`], with the nearest preset, for a name that is neither; a path that leads nowhere
/// is left to the reader of folders, who says so.
pub fn find(name: &str) -> Result<Named> {
    let path = Path::new(name);
    if path.exists() {
        return Ok(Named::Folder(path.to_owned()));
    }
    if let Some(config) = presets::preset(name) {
        return Ok(Named::Preset(name.to_owned(), Box::new(config)));
    }
    if path.is_absolute() || name.starts_with('.') || path.components().count() > 2 {
        return Ok(Named::Folder(path.to_owned()));
    }
    Err(Error::usage(
        format!("there is no folder and no preset called `{name}`"),
        help_with_name(name),
    ))
}

impl Named {
    /// The architecture alone, for the images that it is fed; no weights are read.
    pub fn config(self) -> Result<VitConfig> {
        match self {
            Self::Folder(folder) => {
                let mut config = checkpoint::read_config(&folder)?;
                if let Some(size) = processed_size(&folder, &config)? {
                    config.set_image_size(size)?;
                }
                Ok(config)
            }
            Self::Preset(_, config) => Ok(*config),
        }
    }
}

/// The side of the images that the processing kept in `folder` makes for a model that takes them of
/// any size: a DINOv2, whose `image_size` says how many positions are stored. None for other
/// models, and where there is no processing or its images are no squares.
pub fn processed_size(folder: &Path, config: &VitConfig) -> Result<Option<usize>> {
    let file = folder.join(PREPROCESSOR);
    if config.model_type != ModelType::Dinov2 || !file.exists() {
        return Ok(None);
    }
    let size = Preprocessor::read(&file)?.output_size();
    Ok((size.height == size.width).then_some(size.width))
}

fn help_with_name(name: &str) -> String {
    if let Some(nearest) = nearest_preset(name) {
        return format!("did you mean the preset `{nearest}`?");
    }
    if name.split('/').count() == 2 {
        return format!(
            "models of the Hugging Face hub are not downloaded in this version; do it once with\n\
             git clone https://huggingface.co/{name}\n\
             and give the folder"
        );
    }
    let names: Vec<&str> = presets::names().collect();
    format!("the presets are {}", names.join(", "))
}

/// The preset whose name is most like `name`, if one is like it at all.
fn nearest_preset(name: &str) -> Option<&'static str> {
    let spelled = name.to_lowercase().replace('-', "_");
    presets::names()
        .map(|preset| (strsim::jaro_winkler(&spelled, preset), preset))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, preset)| preset)
}

/// Reads a classifier and the processing its images need.
///
/// What [`checkpoint::load`] and [`Preprocessor::read`] report, and [`Error::Model`] for a model
/// without a head.
pub fn load_classifier(folder: &Path) -> Result<(Loaded, Preprocessor)> {
    let loaded = checkpoint::load(folder, &LoadOptions::default())?;
    if loaded.config.num_labels() == 0 {
        let help = format!(
            "fine-tune it on labelled photos first: vitcuda train PHOTOS --model {}",
            folder.display()
        );
        return Err(Error::model(folder, "has no classification head", help));
    }
    let preprocessor = load_preprocessor(folder, &loaded.config)?;
    Ok((loaded, preprocessor))
}

/// The processing kept in `folder`, for images of the size that `config` takes.
pub fn load_preprocessor(folder: &Path, config: &VitConfig) -> Result<Preprocessor> {
    let preprocessor = Preprocessor::read(&folder.join(PREPROCESSOR))?;
    Ok(preprocessor.with_image_size(config.image_size))
}

/// How checkpoints of a run are written and read back.
pub struct RunFiles {
    pub config: VitConfig,
    pub preprocessor: Preprocessor,
}

impl ModelFiles for RunFiles {
    fn save(&self, folder: &Path, params: &[f32]) -> Result<()> {
        checkpoint::save(folder, &self.config, params)?;
        let text = self.preprocessor.to_json();
        files::write_atomically(folder.join(PREPROCESSOR), text.as_bytes())
    }

    fn load(&self, folder: &Path) -> Result<Vec<f32>> {
        Ok(checkpoint::load(folder, &LoadOptions::default())?.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(name: &str) -> String {
        match find(name) {
            Err(error) => error.help().unwrap_or_default().to_owned(),
            Ok(_) => panic!("`{name}` is known"),
        }
    }

    #[test]
    fn a_misspelled_preset_is_guessed() {
        for name in [
            "vit_smal_patch14_224",
            "vit-small-patch14-224",
            "ViT_Small_Patch14_224",
        ] {
            assert_eq!(
                help(name),
                "did you mean the preset `vit_small_patch14_224`?",
                "{name}"
            );
        }
    }

    #[test]
    fn a_name_like_no_preset_gets_the_list() {
        assert!(help("resnet50").contains("vit_small_patch16_224"));
    }

    #[test]
    fn a_hub_name_gets_the_way_to_download_it() {
        assert!(help("facebook/dino-vits16").contains("huggingface.co/facebook/dino-vits16"));
    }

    #[test]
    fn a_path_is_a_path() {
        for path in ["./absent", "/absent", "a/b/c"] {
            assert!(matches!(find(path), Ok(Named::Folder(_))), "{path}");
        }
    }
}
