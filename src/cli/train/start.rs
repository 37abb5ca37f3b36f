//! Where a run starts from: a checkpoint, or a preset with new weights.

use super::args::TrainArgs;
use crate::cli::Global;
use crate::cli::model::{self, Named};
use vitcuda::data::Preprocessor;
use vitcuda::hub::ModelPart;
use vitcuda::model::checkpoint::{self, LoadOptions};
use vitcuda::model::config::VitConfig;
use vitcuda::model::init::{self, HeadInit};
use vitcuda::model::params::ParamTable;
use vitcuda::model::presets::{DIGITS_PRESET, names};
use vitcuda::report::record::Origin;
use vitcuda::{Error, Result};

/// A model ready to be trained.
pub struct Start {
    pub config: VitConfig,
    pub params: Vec<f32>,
    pub preprocessor: Preprocessor,
    pub origin: Origin,
    /// The folder or the hub's id, or the preset and that it is new.
    pub name: String,
    pub notices: Vec<String>,
}

/// The model that `args` name, before any of it or of the data is read.
pub fn find(args: &TrainArgs, global: &Global) -> Result<Named> {
    match (&args.model.model, &args.data) {
        (Some(name), _) => model::find(name, ModelPart::Whole, global),
        (None, None) => model::find(DIGITS_PRESET, ModelPart::Whole, global),
        (None, Some(_)) => Err(no_model()),
    }
}

impl Start {
    /// Reads or makes the model, with a head for `classes`.
    pub fn new(named: Named, args: &TrainArgs, classes: &[String]) -> Result<Self> {
        match named {
            Named::Folder { path, name } => {
                let image_size = match args.model.image_size {
                    Some(size) => Some(size),
                    None => model::processed_size(&path, &checkpoint::read_config(&path)?)?,
                };
                let options = LoadOptions {
                    labels: Some(classes.to_vec()),
                    image_size,
                    head: args.model.head_init.clone(),
                    seed: args.split.seed,
                };
                let loaded = checkpoint::load(&path, &options)?;
                let preprocessor = model::load_preprocessor(&path, &loaded.config)?;
                Ok(Self {
                    config: loaded.config,
                    params: loaded.params,
                    preprocessor,
                    origin: Origin::Pretrained,
                    name,
                    notices: loaded.notices,
                })
            }
            Named::Preset(name, config) => Self::from_scratch(&name, *config, args, classes),
        }
    }

    fn from_scratch(
        name: &str,
        mut config: VitConfig,
        args: &TrainArgs,
        classes: &[String],
    ) -> Result<Self> {
        config.set_labels(classes);
        if let Some(size) = args.model.image_size {
            config.set_image_size(size)?;
        }
        let table = ParamTable::new(&config);
        let mut params = init::params(&table, args.split.seed);
        match &args.model.head_init {
            HeadInit::Random => {}
            HeadInit::Zero => params[table.head_weight].fill(0.0),
            HeadInit::File(file) => {
                return Err(Error::usage(
                    format!(
                        "--head-init {}: {name} has no folder to start from",
                        file.display()
                    ),
                    "a head from a file goes with --model FOLDER; a preset takes random or zero",
                ));
            }
        }
        Ok(Self {
            preprocessor: Preprocessor::new(config.image_size),
            config,
            params,
            origin: Origin::Scratch,
            name: format!("{name} from scratch"),
            notices: Vec::new(),
        })
    }
}

fn no_model() -> Error {
    let presets: Vec<&str> = names().filter(|&name| name != DIGITS_PRESET).collect();
    Error::usage(
        "which model? --model is missing",
        format!(
            "to fine-tune, give a pretrained model: --model FOLDER, or --model OWNER/NAME of the hub\n\
             to start from scratch, a preset: {}",
            presets.join(", ")
        ),
    )
}
