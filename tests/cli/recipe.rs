//! Flags of the training recipe, end to end.

use std::f64::consts::PI;
use std::fs;
use std::path::Path;

use vitcuda::model::tensor_file::TensorFile;
use vitcuda::train::config::{Resumed, Setting, TrainConfig};

use super::support::{Said, red_and_blue, run, run_in};

/// A few steps on the digits; an epoch has 32 of them.
const RUN: &str = "train --max-steps 8 --batch-size 48 --save-steps 4 --logging-steps 1 --seed 7";

fn train(folder: &Path, more: &str) -> Said {
    let line = format!("{RUN} {more}");
    run_in(folder, &line.split_whitespace().collect::<Vec<_>>())
}

fn model(folder: &Path, run: &str) -> Vec<u8> {
    fs::read(folder.join(run).join("model.safetensors")).unwrap()
}

/// What a run logged under `key`.
fn logged(folder: &Path, run: &str, key: &str) -> Vec<f64> {
    let text = fs::read_to_string(folder.join(run).join("metrics.jsonl")).unwrap();
    let rows = text.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        row[key].as_f64()
    });
    rows.flatten().collect()
}

#[test]
fn a_frozen_backbone_keeps_its_bits_and_has_no_moments() {
    let folder = tempfile::tempdir().unwrap();
    let more = "--freeze backbone --weight-decay 0.1 --output-dir run";
    // A head of 64 values and a bias for each of ten digits.
    let said = train(folder.path(), more).well();
    said.mentions(&["650 parameters trained (freeze backbone)"]);
    let open = |file: &str| TensorFile::open(folder.path().join("run").join(file)).unwrap();
    let checkpoints = [4, 8].map(|step| open(&format!("checkpoint-{step}/model.safetensors")));
    for name in checkpoints[0].names() {
        let shape = checkpoints[0].shape(&name).unwrap().to_vec();
        let [then, now] = [0, 1].map(|i| checkpoints[i].read_vec(&name, &shape).unwrap());
        assert_eq!(then != now, name.starts_with("classifier."), "{name}");
    }
    let mut moments = open("checkpoint-8/optimizer.safetensors").names();
    moments.sort();
    let wanted = [
        "exp_avg.classifier.bias",
        "exp_avg.classifier.weight",
        "exp_avg_sq.classifier.bias",
        "exp_avg_sq.classifier.weight",
    ];
    assert_eq!(moments, wanted);
}

#[test]
fn a_recipe_resumes_with_the_same_bits_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let more = "--augment crop-flip --freeze 1 --gradient-accumulation-steps 2 --output-dir run";
    train(folder.path(), &format!("{more} --threads 2")).well();
    let whole = model(folder.path(), "run");
    let checkpoint = "--resume-from-checkpoint run/checkpoint-4";
    train(folder.path(), &format!("{more} --threads 1 {checkpoint}"))
        .well()
        .mentions(&["after step 4 of 8"]);
    assert!(model(folder.path(), "run") == whole);

    train(
        folder.path(),
        "--freeze 1 --gradient-accumulation-steps 2 --output-dir run --resume",
    )
    .failed(2)
    .mentions(&["--augment: \"crop-flip\" then, \"none\" now"]);
    let other = more.replace("--freeze 1", "--freeze 2");
    train(folder.path(), &format!("{other} --resume"))
        .failed(2)
        .mentions(&["--freeze: \"1\" then, \"2\" now"]);
    train(
        folder.path(),
        &format!("{other} --resume --resume-with-changes"),
    )
    .failed(2)
    .mentions(&[
        "`--freeze` cannot change within a run",
        "--model run/checkpoint-8",
    ]);
}

#[test]
fn augmentation_changes_the_training_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &str, name: &str| {
        let more = format!("--learning-rate 0 {more} --output-dir {name}");
        train(folder.path(), &more).well();
        let of = |key| logged(folder.path(), name, key);
        (of("loss"), of("eval_loss"))
    };
    let (plain, plain_score) = run("", "plain");
    let (augmented, score) = run("--augment crop-flip", "augmented");
    assert_eq!((plain.len(), score.len()), (8, 1));
    assert!(plain.iter().zip(&augmented).all(|(a, b)| a != b));
    assert_eq!(plain_score, score);
}

#[test]
fn learning_rates_follow_the_flags() {
    let folder = tempfile::tempdir().unwrap();
    let more = "--learning-rate 1e-3 --warmup-ratio 0.2 --lr-scheduler-type";
    // Of eight steps ⌈1.6⌉ rise. The log shows the rate of the step after.
    let factor = |shape: &str, done: f64| match shape {
        _ if done < 2.0 => done / 2.0,
        "linear" => (8.0 - done) / 6.0,
        "cosine" => 0.5 * (1.0 + (PI * (done - 2.0) / 6.0).cos()),
        _ => 1.0,
    };
    for shape in ["linear", "cosine", "constant_with_warmup"] {
        train(
            folder.path(),
            &format!("{more} {shape} --output-dir {shape}"),
        )
        .well();
        let rates = logged(folder.path(), shape, "learning_rate");
        assert_eq!(rates.len(), 8);
        for (rate, done) in rates.into_iter().zip(1..) {
            let wanted = 1e-3 * factor(shape, f64::from(done));
            assert!((rate - wanted).abs() < 1e-15, "{shape} {done}: {rate}");
        }
    }
}

/// A run far below the 500 steps that the reference logs after: each evaluation has the training
/// loss beside it, and there are ten losses for the curve.
#[test]
fn a_short_run_has_its_losses_in_the_table() {
    let folder = tempfile::tempdir().unwrap();
    red_and_blue(&folder.path().join("photos"), 20);
    run_in(
        folder.path(),
        &"train photos --model vit_digits_patch2_8 --batch-size 8 --epochs 5 -o run"
            .split_whitespace()
            .collect::<Vec<_>>(),
    )
    .well();
    let run = |key| logged(folder.path(), "run", key).len();
    assert_eq!(run("eval_loss"), 5);
    // Every second of 25 steps, and the end of each odd epoch.
    assert_eq!(run("loss"), 12 + 3);
    let text = fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    let rows: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for evaluated in rows.iter().filter(|row| row.get("eval_loss").is_some()) {
        let beside = |row: &&serde_json::Value| {
            row.get("loss").is_some() && row["step"] == evaluated["step"]
        };
        assert!(rows.iter().any(|row| beside(&row)), "{evaluated}");
    }
}

/// In the header, the model card, TensorBoard's text and the state that a resumed run is compared
/// with.
#[test]
fn no_setting_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let line = "train --max-steps 4 --batch-size 48 --save-steps 2 --eval-steps 2 --seed 7 \
                --label-smoothing-factor 0.1 --warmup-ratio 0.5 --class-weights balanced \
                --freeze backbone --early-stopping-patience 9 --adam-beta2 0.99 -o run";
    let words: Vec<&str> = line.split_whitespace().collect();
    run_in(folder.path(), &words).well().mentions(&[
        "--label-smoothing-factor 0.1",
        "--warmup-ratio 0.5",
        "--class-weights [",
        "freeze backbone",
        "--early-stopping-patience 9",
        "--adam-beta2 0.99",
    ]);
    let run = folder.path().join("run");
    let read =
        |name: &str| String::from_utf8_lossy(&fs::read(run.join(name)).unwrap()).into_owned();
    let only = |folder: &Path| fs::read_dir(folder).unwrap().next().unwrap().unwrap();
    let events = only(&only(&run.join("runs")).path());
    let events = String::from_utf8_lossy(&fs::read(events.path()).unwrap()).into_owned();
    let (card, state) = (read("README.md"), read("checkpoint-2/trainer_state.json"));
    for setting in TrainConfig::default().settings() {
        let Setting { flag, name, .. } = setting;
        assert!(card.contains(&format!("- {name}: ")), "{name}: {card}");
        assert!(events.contains(&format!("\"{name}\": ")), "{name}");
        let told = state.contains(&format!("\"{flag}\": "));
        assert_eq!(told, setting.resumed == Resumed::Same, "{flag}");
    }
}

/// At a learning rate of 0 no evaluation is better than the first.
#[test]
fn a_run_that_no_longer_improves_stops_early() {
    let folder = tempfile::tempdir().unwrap();
    let line = "train --max-steps 20 --batch-size 16 --eval-steps 2 --save-strategy no \
                --early-stopping-patience 3 --learning-rate 0 --output-dir run";
    run_in(folder.path(), &line.split_whitespace().collect::<Vec<_>>())
        .well()
        .mentions(&["no better eval_loss", "best    step 2", "the final model"]);
    assert_eq!(logged(folder.path(), "run", "eval_loss").len(), 4);
}

#[test]
fn what_cannot_be_frozen_or_augmented_is_refused() {
    run("train --freeze 0").failed(2).mentions(&["at least 1"]);
    run("train --freeze head").failed(2).mentions(&["backbone"]);
    run("train --freeze 99")
        .failed(2)
        .mentions(&["the model has", "give at most"]);
    run("train --augment strong")
        .failed(2)
        .mentions(&["crop-flip"]);
}
