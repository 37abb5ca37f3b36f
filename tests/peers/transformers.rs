//! transformers loads what is saved and computes the same; the scripts say within what.

use std::path::Path;

use libtest_mimic::{Failed, Trial};
use vitcuda::model::activations::{Activations, Keep, LastBlock};
use vitcuda::model::checkpoint::{self, LoadOptions, Loaded};
use vitcuda::model::tensor_file::{self, Tensor, TensorFile};
use vitcuda::model::vit::Vit;
use vitcuda::ops::patch_embed::Images;

use super::common::dinov2::Dinov2;
use super::{python, script, vitcuda, with_both, with_python};

const TINY: &str = "golden/tiny_vit";
const DINOV2: &str = "models/dinov2-small";
const PHOTOS: &str = "golden/real_steps/four_photos.safetensors";

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        with_both(
            "transformers: the same logits as of its own file",
            TINY,
            its_own,
        ),
        with_python("transformers: a small DINOv2's hidden states", small_dinov2),
        with_both(
            "transformers: the real DINOv2's hidden states at its own size",
            DINOV2,
            |folder| as_backbone(folder, &classifier(None)),
        ),
    ];
    for model in ["vit-small-patch14-224", "dinov2-small"] {
        let name = format!("transformers: our logits of a fine-tuned {model}");
        trials.push(with_both(&name, ".", move |shared| {
            fine_tuned(shared, model)
        }));
    }
    // JAX's classes do not resample positions as PyTorch's do.
    let has_pytorch = python().is_ok_and(|mut python| {
        let import = python.args(["-c", "import torch"]).output();
        import.is_ok_and(|said| said.status.success())
    });
    let name = |what: &str| {
        if has_pytorch {
            format!("transformers: {what}")
        } else {
            format!("transformers: {what} [needs PyTorch]")
        }
    };
    let resampled = [
        with_both(&name("its own file at another image size"), TINY, resized),
        with_both(
            &name("the real DINOv2's hidden states at 224"),
            DINOV2,
            |folder| as_backbone(folder, &classifier(Some(224))),
        ),
    ];
    let resumed = with_python(&name("Trainer goes on with our run"), resumed);
    let of_pytorch = resampled.into_iter().chain([resumed]);
    trials.extend(of_pytorch.map(|trial| {
        if has_pytorch {
            trial
        } else {
            trial.with_ignored_flag(true)
        }
    }));
    trials
}

/// Trainer finds what it looks up in the state of a checkpoint, and saves its own at the end.
fn resumed() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let run = folder.path().join("run");
    vitcuda([
        "train",
        "--output-dir",
        &run.to_string_lossy(),
        "--train-samples=100",
        "--eval-samples=40",
        "--batch-size=10",
        "--max-steps=12",
        "--eval-steps=3",
        "--save-steps=3",
        "--logging-steps=3",
        "--early-stopping-patience=9",
    ])?;
    script("check_resume.py", [run.join("checkpoint-6")])
}

fn classifier(image_size: Option<usize>) -> LoadOptions {
    LoadOptions {
        labels: Some(vec!["cat".into(), "dog".into()]),
        image_size,
        ..LoadOptions::default()
    }
}

/// Has `check_transformers.py` look at `loaded` as we save it.
fn check(loaded: &Loaded, flags: &[(&str, &Path)]) -> Result<(), Failed> {
    let ours = tempfile::tempdir()?;
    checkpoint::save(ours.path(), &loaded.config, &loaded.params)?;
    check_folder(ours.path(), flags)
}

fn check_folder(folder: &Path, flags: &[(&str, &Path)]) -> Result<(), Failed> {
    let flags = flags
        .iter()
        .flat_map(|&(flag, path)| [Path::new(flag), path]);
    script("check_transformers.py", [folder].into_iter().chain(flags))
}

fn its_own(theirs: &Path) -> Result<(), Failed> {
    let loaded = checkpoint::load(theirs, &LoadOptions::default())?;
    let golden = theirs.join("forward.safetensors");
    check(&loaded, &[("--same-as", theirs), ("--golden", &golden)])
}

fn resized(theirs: &Path) -> Result<(), Failed> {
    let options = LoadOptions {
        image_size: Some(48),
        ..LoadOptions::default()
    };
    check(
        &checkpoint::load(theirs, &options)?,
        &[("--same-as", theirs)],
    )
}

fn small_dinov2() -> Result<(), Failed> {
    let theirs = tempfile::tempdir()?;
    Dinov2::new().write(theirs.path());
    as_backbone(theirs.path(), &classifier(None))
}

/// The model of `folder`, as a classifier with a new head, has the hidden states of `folder`.
fn as_backbone(folder: &Path, options: &LoadOptions) -> Result<(), Failed> {
    check(
        &checkpoint::load(folder, options)?,
        &[("--backbone", folder)],
    )
}

/// What a step of training leaves gives transformers our logits for four photos.
fn fine_tuned(shared: &Path, model: &str) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let run = folder.path().join("run");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (data, model) = (
        shared.join("golden/parquet"),
        shared.join("models").join(model),
    );
    vitcuda([
        "train",
        &text(&data),
        "--model",
        &text(&model),
        "--output-dir",
        &text(&run),
        "--max-steps=1",
        "--batch-size=4",
        "--learning-rate=2e-5",
        "--train-samples=4",
        "--eval-samples=2",
    ])?;
    let golden = folder.path().join("ours.safetensors");
    write_logits(&run, &shared.join(PHOTOS), &golden)?;
    check_folder(&run, &[("--golden", &golden)])
}

/// Writes the `pixel_values` of `photos`, and what the classifier in `folder` says of them here.
fn write_logits(folder: &Path, photos: &Path, to: &Path) -> Result<(), Failed> {
    let loaded = checkpoint::load(folder, &LoadOptions::default())?;
    let vit = Vit::new(loaded.config);
    let pixels = TensorFile::open(photos)?.read_vec("pixel_values", &[4, 3, 224, 224])?;
    let mut a = Activations::new(&vit.config, 4, Keep::Nothing, LastBlock::ClassToken);
    vit.forward(&mut a, &loaded.params, Images::Values(&pixels), 4);
    let mut tensors = [
        Tensor {
            name: "pixel_values".into(),
            shape: &[4, 3, 224, 224],
            values: &pixels,
        },
        Tensor {
            name: "logits".into(),
            shape: &[4, 2],
            values: &a.logits,
        },
    ];
    Ok(tensor_file::write(to, &mut tensors, &[])?)
}
