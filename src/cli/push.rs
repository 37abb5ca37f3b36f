//! `vitcuda push`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Global;
use super::hub::{Transfers, hub};
use super::license::LicenseArgs;
use super::model::PREPROCESSOR;
use super::output::{self, Outcome};
use vitcuda::hub::{Id, LocalFile, MAIN, Push, Visibility};
use vitcuda::report::model_card::with_license;
use vitcuda::{Error, Result, files};

/// Push a model to the Hugging Face hub
#[derive(Debug, Args)]
#[command(after_help = "\
Sends config.json, preprocessor_config.json and the weights, and README.md where there is one: no
optimiser states, no logs, no report. Needs a token that may write, in HF_TOKEN.")]
pub struct PushArgs {
    /// Folder of a run, a checkpoint or a model
    #[arg(value_name = "RUN|MODEL")]
    pub folder: PathBuf,
    /// Where to: OWNER/NAME; created where it is not there
    #[arg(value_name = "OWNER/NAME", value_parser = repository)]
    pub repository: Id,
    /// Create the repository for nobody else to see
    #[arg(long)]
    pub private: bool,
    /// Branch to commit to, created where it is not there
    #[arg(long, value_name = "BRANCH", default_value = MAIN)]
    pub revision: String,
    /// First line of the commit's message
    #[arg(long, short, value_name = "TEXT", default_value = "Upload model")]
    #[arg(alias = "commit-message")]
    pub message: String,
    #[command(flatten)]
    pub license: LicenseArgs,
}

/// Files that are pushed where they are there.
const ALONGSIDE: [&str; 2] = [PREPROCESSOR, CARD];
const CARD: &str = "README.md";

fn repository(text: &str) -> Result<Id, String> {
    let id = Id::parse(text).filter(|id| id.revision.is_none());
    id.ok_or_else(|| "expected OWNER/NAME, as on the hub; --revision names a branch".into())
}

pub fn run(args: &PushArgs, global: &Global) -> Outcome {
    let mut files = files_of(&args.folder)?;
    if let Some(license) = &args.license.license {
        license_card(&args.folder.join(CARD), license)?;
        files = files_of(&args.folder)?; // with a card that was not there before
    }
    let push = Push {
        repository: &args.repository.name,
        branch: &args.revision,
        visibility: if args.private {
            Visibility::Private
        } else {
            Visibility::Public
        },
        message: &args.message,
        files: &files,
    };
    let pushed = hub()?.push(&push, &mut Transfers::new(global))?;
    if global.json {
        output::json(&json!({
            "repository": args.repository.name,
            "revision": args.revision,
            "commit": pushed.commit,
            "url": pushed.url,
            "files": files.iter().map(|file| &file.name).collect::<Vec<_>>(),
        }))
    } else {
        output::result(pushed.url)
    }
}

/// Writes the licence into the front matter of the card `file`; there may be none yet.
fn license_card(file: &Path, license: &str) -> Result<()> {
    let text = match files::read_regular(file) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| {
            Error::model(
                file,
                "is no text",
                "write it in UTF-8, or leave out --license",
            )
        })?,
        Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
        Err(e) => return Err(Error::io(file, "read it", e)),
    };
    files::write_atomically(file, with_license(&text, license).as_bytes())
}

/// The files of the model in `folder`.
fn files_of(folder: &Path) -> Result<Vec<LocalFile>> {
    let file = |name: &str| LocalFile {
        name: name.to_owned(),
        path: folder.join(name),
    };
    let required = ["config.json", "model.safetensors"].map(file);
    if let Some(absent) = required.iter().find(|file| !file.path.is_file()) {
        return Err(Error::model(
            folder,
            format!("found no {}", absent.name),
            "wanted the folder of a run that has ended, a checkpoint-N/ in it, or a model's",
        ));
    }
    let alongside = ALONGSIDE.map(file).into_iter();
    Ok(required
        .into_iter()
        .chain(alongside.filter(|file| file.path.is_file()))
        .collect())
}
