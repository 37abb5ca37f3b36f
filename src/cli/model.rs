//! Models as people name them, and the files a model is kept in.

use std::path::{Path, PathBuf};

use super::{Global, hub};
use vitcuda::data::Preprocessor;
use vitcuda::files;
use vitcuda::hub::{Id, ModelPart};
use vitcuda::model::checkpoint::{self, LoadOptions, Loaded};
use vitcuda::model::config::VitConfig;
use vitcuda::model::model_type::ModelType;
use vitcuda::model::params::ParamTable;
use vitcuda::model::presets;
use vitcuda::train::trainer::ModelFiles;
use vitcuda::{Error, Result};

/// Name of the file with the image processing in a model's folder.
pub const PREPROCESSOR: &str = "preprocessor_config.json";

/// What a MODEL argument means.
pub enum Named {
    Folder {
        path: PathBuf,
        /// What the person called it: the path, or the id on the hub.
        name: String,
    },
    /// A preset's name and architecture, without labels.
    Preset(String, Box<VitConfig>),
}

/// Finds the folder, the preset or the model of the hub called `name`.
///
/// [`Error::Usage`], with the nearest preset, for a name that is none; a path that leads nowhere is
/// left to the reader of folders, who says so.
pub fn find(name: &str, part: ModelPart, global: &Global) -> Result<Named> {
    find_or_fetch(name, |id| hub::model(id, part, global))
}

/// The folder of the checkpoint or of the model of the hub at `path`.
pub fn folder(path: &Path, global: &Global) -> Result<PathBuf> {
    match hub::id(path) {
        Some(id) => hub::model(&id, ModelPart::Whole, global),
        None => Ok(path.to_owned()),
    }
}

fn find_or_fetch(name: &str, fetch: impl FnOnce(&Id) -> Result<PathBuf>) -> Result<Named> {
    let path = Path::new(name);
    let folder = |path: &Path| Named::Folder {
        path: path.to_owned(),
        name: name.to_owned(),
    };
    if path.exists() {
        return Ok(folder(path));
    }
    if let Some(config) = presets::preset(name) {
        return Ok(Named::Preset(name.to_owned(), Box::new(config)));
    }
    if let Some(id) = hub::id(path) {
        return Ok(folder(&fetch(&id)?));
    }
    if path.is_absolute() || name.starts_with('.') || path.components().count() > 1 {
        return Ok(folder(path));
    }
    Err(Error::usage(
        format!("there is no folder and no preset called `{name}`"),
        help_with_name(name),
    ))
}

/// The architecture of the model called `name` alone, for the images that it is fed; no weights are
/// read or loaded.
pub fn config(name: &str, global: &Global) -> Result<VitConfig> {
    match find(name, ModelPart::Settings, global)? {
        Named::Folder { path, .. } => {
            let mut config = checkpoint::read_config(&path)?;
            if let Some(size) = processed_size(&path, &config)? {
                config.set_image_size(size)?;
            }
            Ok(config)
        }
        Named::Preset(_, config) => Ok(*config),
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
    let names: Vec<&str> = presets::names().collect();
    format!(
        "the presets are {}; models of the Hugging Face hub are named OWNER/NAME",
        names.join(", ")
    )
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
        let loaded = checkpoint::load(folder, &LoadOptions::default())?;
        match difference(&loaded.table, &ParamTable::new(&self.config)) {
            None => Ok(loaded.params),
            Some(difference) => Err(Error::model(
                folder,
                format!("holds another model than this run trains: {difference}"),
                "resume from another checkpoint with `--resume-from-checkpoint`",
            )),
        }
    }
}

/// The first parameter of `wanted` that `found` does not have as it is wanted, in words.
fn difference(found: &ParamTable, wanted: &ParamTable) -> Option<String> {
    let named = |name: &str| found.params.iter().find(|param| param.name == name);
    let differing = wanted.params.iter().find_map(|param| {
        let (name, shape) = (&param.name, &param.shape);
        match named(name) {
            None => Some(format!("it has no `{name}`")),
            Some(other) if other.shape != *shape => Some(format!(
                "its `{name}` has shape {:?}, wanted {shape:?}",
                other.shape
            )),
            Some(_) => None,
        }
    });
    let (count, of) = (found.len, wanted.len);
    differing.or_else(|| (count != of).then(|| format!("{count} parameters, wanted {of}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(name: &str) -> String {
        match find_or_fetch(name, |id| panic!("{id} is asked for")) {
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
    fn a_hub_name_is_fetched_and_keeps_its_name() {
        let named = find_or_fetch("facebook/dino-vits16@v1", |id| {
            assert_eq!(
                (id.name.as_str(), id.revision()),
                ("facebook/dino-vits16", "v1")
            );
            Ok("/cache".into())
        });
        let Ok(Named::Folder { path, name }) = named else {
            panic!("a folder");
        };
        assert_eq!(
            (path, name.as_str()),
            ("/cache".into(), "facebook/dino-vits16@v1")
        );
    }

    #[test]
    fn a_path_is_a_path() {
        for path in ["./absent", "/absent", "a/b/c"] {
            let found = find_or_fetch(path, |id| panic!("{id} is asked for"));
            assert!(matches!(found, Ok(Named::Folder { .. })), "{path}");
        }
    }
}
