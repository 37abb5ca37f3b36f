//! Training, evaluating and predicting, on pictures made here.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;

#[cfg(unix)]
use super::support::{red_and_blue, run_in, vitcuda};

/// A folder with `photos/{blue,red}` and a model trained on them in `model`.
pub static TRAINED: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    red_and_blue(&folder.path().join("photos"), 20);
    let line = "train photos --model vit_digits_patch2_8 --lr 2e-3 --epochs 20 --batch-size 8 \
                --eval-steps 20 --save-steps 20 --logging-steps 20 --save-total-limit 1 \
                --load_best_model_at_end True -o model";
    words_in(folder.path(), line).well();
    folder
});

pub fn words_in(folder: &Path, line: &str) -> super::support::Said {
    run_in(folder, &line.split_whitespace().collect::<Vec<_>>())
}

/// A command on the trained model.
pub fn trained(line: &str) -> super::support::Said {
    words_in(TRAINED.path(), line)
}

fn json_file(path: impl AsRef<Path>) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_run_leaves_what_the_reference_leaves() {
    let model = TRAINED.path().join("model");
    for file in [
        "model.safetensors",
        "preprocessor_config.json",
        "trainer_state.json",
        "train_results.json",
        "eval_results.json",
        "metrics.jsonl",
        "metrics.csv",
        "report.json",
        "report.html",
        "README.md",
        "best/model.safetensors",
        "last/model.safetensors",
    ] {
        assert!(model.join(file).is_file(), "{file}");
    }
    let config = json_file(model.join("config.json"));
    assert_eq!(config["id2label"]["0"], "blue");
    assert_eq!(config["label2id"]["red"], 1);
    let results = json_file(model.join("all_results.json"));
    // Two colours that share no shade: anything less than all right is a fault.
    assert_eq!(results["eval_accuracy"], 1.0);
    // 34 training photos (15 % of each class validate), 5 steps an epoch.
    assert_eq!(
        json_file(model.join("trainer_state.json"))["global_step"],
        100
    );
}

#[test]
fn best_and_last_are_models() {
    for model in ["model/best", "model/last"] {
        let json = trained(&format!("eval {model} photos --json")).well();
        assert_eq!(json.json_lines()[0]["eval_accuracy"], 1.0, "{model}");
    }
    let file = |name: &str| fs::read(TRAINED.path().join("model").join(name)).unwrap();
    let best =
        json_file(TRAINED.path().join("model/trainer_state.json"))["best_global_step"].clone();
    let checkpoint = format!("checkpoint-{best}/model.safetensors");
    assert!(file("best/model.safetensors") == file(&checkpoint));
}

#[test]
fn eval_prints_a_table_or_one_object() {
    let table = trained("eval model photos").well().stdout;
    for part in ["accuracy %", "95 % interval", "images/s", "recall %", "red"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let json = trained("eval model photos --json").well().json_lines();
    let [scores] = &json[..] else {
        panic!("one object")
    };
    assert_eq!(scores["eval_accuracy"], 1.0);
    assert_eq!(
        scores["confusion_matrix"],
        serde_json::json!([[20, 0], [0, 20]])
    );
    assert_eq!(scores["classes"][1]["class"], "red");
    assert_eq!(scores["classes"][1]["f1"], 1.0);
    assert_eq!(scores["eval_accuracy_interval"][1], 1.0);
    for key in [
        "eval_loss",
        "eval_runtime",
        "eval_samples_per_second",
        "eval_steps_per_second",
        "eval_top5_accuracy",
        "eval_macro_precision",
        "eval_macro_recall",
        "eval_macro_f1",
        "eval_calibration_error",
        "eval_mean_confidence",
    ] {
        assert!(scores[key].is_number(), "{key}: {scores}");
    }
}

/// A folder that lacks a class moves the other one to another index; only names tell them apart.
#[test]
fn eval_matches_classes_by_name() {
    let folder = tempfile::tempdir().unwrap();
    red_and_blue(folder.path(), 4);
    fs::remove_dir_all(folder.path().join("blue")).unwrap();
    let red = folder.path().to_str().unwrap();
    let json = run_in(TRAINED.path(), &["eval", "model", red, "--json"]).well();
    assert_eq!(json.json_lines()[0]["eval_accuracy"], 1.0);

    fs::rename(folder.path().join("red"), folder.path().join("crimson")).unwrap();
    run_in(TRAINED.path(), &["eval", "model", red])
        .failed(3)
        .mentions(&["`crimson`", "blue, red"]);
}

#[test]
fn eval_takes_a_model_without_class_names_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path();
    for file in ["model.safetensors", "preprocessor_config.json"] {
        fs::copy(TRAINED.path().join("model").join(file), model.join(file)).unwrap();
    }
    let mut config = json_file(TRAINED.path().join("model/config.json"));
    config["id2label"] = serde_json::json!({ "0": "LABEL_0", "1": "LABEL_1" });
    config["label2id"] = serde_json::json!({ "LABEL_0": 0, "LABEL_1": 1 });
    fs::write(model.join("config.json"), config.to_string()).unwrap();
    let words = ["eval", model.to_str().unwrap(), "photos", "--json"];
    let said = run_in(TRAINED.path(), &words).well();
    assert_eq!(said.json_lines()[0]["eval_accuracy"], 1.0);
    said.mentions(&["does not name its 2 classes; taken as blue, red"]);
}

#[test]
fn predict_names_classes_of_files_and_folders() {
    let said = trained("predict model photos/red/03.png photos/blue --json --batch-size 7").well();
    let lines = said.json_lines();
    assert_eq!(lines.len(), 21);
    for line in &lines {
        let top = &line["predictions"][0];
        let image = line["image"].as_str().unwrap();
        assert!(image.contains(top["label"].as_str().unwrap()), "{line}");
        let scores: f64 = line["predictions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["score"].as_f64().unwrap())
            .sum();
        assert!((scores - 1.0).abs() < 1e-12, "{line}");
    }
    let table = trained("predict model photos/red/03.png -k 1")
        .well()
        .stdout;
    assert!(table.starts_with("photos/red/03.png  red "), "{table}");
    assert!(!table.contains("blue"), "{table}");
}

#[test]
fn predict_goes_on_past_bad_images() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.png");
    fs::write(&bad, "no picture").unwrap();
    let bad = bad.to_str().unwrap();
    let words = ["predict", "model", bad, "photos/red/00.png", "--json"];
    let said = run_in(TRAINED.path(), &words).well();
    let rows = said.json_lines();
    assert_eq!(rows.len(), 2);
    let error = rows[0]["error"].as_str().unwrap();
    assert!(error.starts_with("not an image"), "{error}");
    said.mentions(&["1 of 2 inputs could not be used"]);
    // Where nothing is left there are rows all the same.
    for nothing in [bad, "photos/absent.png"] {
        let said = run_in(TRAINED.path(), &["predict", "model", nothing]);
        assert_eq!(said.code, Some(3), "{}", said.stderr);
        assert!(
            said.stdout.starts_with(&format!("{nothing}  error: ")),
            "{}",
            said.stdout
        );
        said.mentions(&["error: ", "none of the 1 images can be used"]);
    }
}

/// As in `vitcuda predict … | head -1`.
#[test]
fn a_reader_that_leaves_ends_the_run_quietly() {
    let mut child = vitcuda()
        .current_dir(TRAINED.path())
        .args([
            "predict",
            "model",
            "photos",
            "--device",
            "cpu",
            "--batch-size",
            "1",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
}

#[test]
fn json_goes_to_stdout_and_words_to_stderr() {
    let line = "train photos --model model --max-steps 2 --json --output-dir again";
    let said = trained(line).well();
    let events: Vec<String> = said
        .json_lines()
        .iter()
        .map(|event| event["event"].as_str().unwrap().to_owned())
        .collect();
    assert!(events.contains(&"run_started".to_owned()), "{events:?}");
    assert_eq!(events.last().unwrap(), "finished");
    said.mentions(&["***** train metrics *****", "next"]);
}

/// What nobody can read was not done, whoever reads it; the model is there all the same.
#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_written_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for more in ["--json", "--json --quiet", "--quiet"] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let line = format!("train --max-steps 2 --overwrite-output-dir -o out {more}");
        let output = vitcuda()
            .env("VITCUDA_DEVICE", "cpu")
            .current_dir(folder.path())
            .args(line.split_whitespace())
            .stdout(full.unwrap())
            .output();
        super::support::Said::from(output.unwrap())
            .failed(1)
            .mentions(&["stdout: cannot write to it: No space left on device"]);
        assert!(folder.path().join("out/model.safetensors").is_file());
    }
}

#[test]
fn quiet_leaves_only_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let said = words_in(folder.path(), "train --max-steps 2 --quiet").well();
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(
        (lines[0], lines.len(), said.stderr.as_str()),
        ("runs/digits", 2, "")
    );
    let results = json_file(folder.path().join("runs/digits/eval_results.json"));
    let accuracy = 100.0 * results["eval_accuracy"].as_f64().unwrap();
    let expected = format!("accuracy {accuracy:.1}% [");
    assert!(
        lines[1].starts_with(&expected),
        "{} is not {expected}",
        lines[1]
    );
    // A second run without a folder of its own takes the next number.
    let said = words_in(folder.path(), "train --max-steps 2 --quiet").well();
    assert!(
        said.stdout.starts_with("runs/digits-2\n"),
        "{}",
        said.stdout
    );
}

/// As in `vitcuda train > file`.
#[test]
fn the_table_is_a_result_and_all_else_is_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let line = "train --max-steps 4 --logging-steps 2 --eval-steps 2 --output-dir run";
    let said = words_in(folder.path(), line).well();
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", said.stdout);
    assert!(
        lines[0].contains("step  epoch  train loss  val loss"),
        "{}",
        lines[0]
    );
    let steps = lines[1..].iter().map(|row| row.split_whitespace().next());
    assert_eq!(steps.collect::<Vec<_>>(), [Some("2"), Some("4")]);
    assert!(!said.stderr.contains("train loss"), "{}", said.stderr);
    said.mentions(&["plan    4 steps", "***** train metrics *****", "next "]);
}

#[test]
fn a_folder_with_another_run_is_left_alone() {
    trained("train photos --model model --max-steps 2 -o model").failed(2);
    assert!(TRAINED.path().join("model/model.safetensors").exists());
}

#[test]
fn a_learning_rate_that_diverges_is_7() {
    let folder = tempfile::tempdir().unwrap();
    words_in(folder.path(), "train --learning-rate 1e30").ended_early(7);
}

#[test]
fn bench_prints_a_line_for_each_pass() {
    let folder = tempfile::tempdir().unwrap();
    let line = "bench --step --model vit_digits_patch2_8 --batch-size 3 --repeats 2";
    let json = words_in(folder.path(), &format!("{line} --json")).well();
    let lines = json.json_lines();
    let passes: Vec<&str> = lines.iter().map(|l| l["pass"].as_str().unwrap()).collect();
    assert_eq!(passes, ["train", "inference"]);
    for line in &lines {
        assert_eq!(line["what"], "step");
        assert_eq!(line["device"], "cpu");
        assert_eq!(line["batch_size"], 3);
        let [ms, min, rate] = ["ms", "ms_min", "images_per_s"].map(|k| line[k].as_f64().unwrap());
        assert!(0.0 < min && min <= ms, "{line}");
        assert!((rate * ms / 3000.0 - 1.0).abs() < 1e-9, "{line}");
    }
    let table = words_in(folder.path(), line).well().stdout;
    assert!(
        table.contains("training") && table.contains("inference"),
        "{table}"
    );
}
