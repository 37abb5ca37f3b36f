//! Flags, help, suggestions, exit codes.

use std::path::Path;

use super::support::{red_and_blue, run, run_in};

#[test]
fn version_and_help() {
    let version = run("--version").well().stdout;
    assert_eq!(version, format!("vitcuda {}\n", env!("CARGO_PKG_VERSION")));
    let help = run("--help").well().stdout;
    for command in ["train", "eval", "predict", "info", "bench"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
}

#[test]
fn help_is_grouped_and_shows_defaults() {
    let help = run("train --help").well().stdout;
    for group in [
        "Model:",
        "Data:",
        "Optimisation:",
        "Evaluation, logging and saving:",
        "Global options:",
    ] {
        assert!(help.contains(&format!("\n{group}\n")), "{group}: {help}");
    }
    // Words, for lines are wrapped to the width of the terminal.
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for default in [
        "[default: 5e-5; digits: 2e-3]",
        "[default: 3; digits: 20]",
        "[default: 8; digits: 32]",
        "[default: 42]",
        "[default: eval_loss]",
    ] {
        assert!(words.contains(default), "{default}: {help}");
    }
}

/// A value that no flag takes shows, in the complaint, which flag a name led to.
#[test]
fn hugging_face_names_lead_to_flags_in_either_spelling() {
    for (theirs, ours) in [
        ("--num_train_epochs", "--epochs"),
        ("--num-train-epochs", "--epochs"),
        ("--per_device_train_batch_size", "--batch-size"),
        ("--per_device_eval_batch_size", "--eval-batch-size"),
        ("--learning_rate", "--learning-rate"),
        ("--lr", "--learning-rate"),
        ("--bs", "--batch-size"),
        ("--batch", "--batch-size"),
        ("--imgsz", "--image-size"),
        ("--patience", "--early-stopping-patience"),
        ("--wd", "--weight-decay"),
        ("--evaluation_strategy", "--eval-strategy"),
        ("--eval_strategy", "--eval-strategy"),
        ("--save_strategy", "--save-strategy"),
        ("--eval_steps", "--eval-steps"),
        ("--logging_steps", "--logging-steps"),
        ("--save_steps", "--save-steps"),
        ("--save_total_limit", "--save-total-limit"),
        ("--lr_scheduler_type", "--lr-scheduler-type"),
        ("--warmup_ratio", "--warmup-ratio"),
        ("--label_smoothing_factor", "--label-smoothing-factor"),
        ("--metric_for_best_model", "--metric-for-best-model"),
        (
            "--gradient_accumulation_steps",
            "--gradient-accumulation-steps",
        ),
        ("--max_steps", "--max-steps"),
        ("--adam_beta1", "--adam-beta1"),
        ("--max_grad_norm", "--max-grad-norm"),
    ] {
        run(&format!("train {theirs} nonsense"))
            .failed(2)
            .mentions(&["nonsense", &format!("{ours} <")]);
    }
}

#[test]
fn switches_refuse_what_is_no_truth() {
    run("train --load_best_model_at_end=perhaps").failed(2);
}

#[test]
fn flags_that_cannot_be_honoured_are_refused_together() {
    run("train photos --tf32 --push_to_hub True --report_to none")
        .failed(2)
        .mentions(&["--tf32, --push-to-hub", "help: --tf32: leave it out"]);
}

/// The best loss is the lowest one, whatever is asked for.
#[test]
fn the_direction_of_a_metric_has_to_be_its_own() {
    run("train --metric_for_best_model eval_loss --greater_is_better True")
        .failed(2)
        .mentions(&["--greater-is-better true", "eval_accuracy"]);
}

fn state(folder: &Path) -> serde_json::Value {
    let file = folder.join("run/trainer_state.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[test]
fn command_lines_of_the_trainer_work_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let line = "train --train-samples 100 --eval-samples 40 --use_cpu True --bf16 --max_steps 8 \
                --eval_strategy steps --eval_steps 0.25 --eval_delay 3 --eval_on_start True \
                --save_strategy best --save_only_model True --metric_for_best_model accuracy \
                --greater_is_better True --logging_strategy steps --logging_steps 0.5 \
                --logging_first_step True --warmup_steps 0.5 --learning_rate 1e-3 --data_seed 7 \
                --output_dir run";
    let words: Vec<&str> = line.split_whitespace().collect();
    run_in(folder.path(), &words)
        .well()
        .mentions(&["the CPU computes in f32, not in bf16"]);
    let state = state(folder.path());
    let history = state["log_history"].as_array().unwrap();
    let steps = |key: &str| -> Vec<u64> {
        let rows = history.iter().filter(|row| row.get(key).is_some());
        rows.map(|row| row["step"].as_u64().unwrap()).collect()
    };
    assert_eq!(steps("loss"), [1, 4, 8]);
    assert_eq!(steps("eval_loss"), [0, 4, 6, 8]);
    // Four of the eight steps warm up: the rate that is logged at the first step is the second's.
    let rate = |step: u64| {
        let row = history
            .iter()
            .find(|r| r["step"] == step && r.get("loss").is_some());
        row.unwrap()["learning_rate"].as_f64().unwrap()
    };
    assert_eq!((rate(1), rate(4)), (0.25e-3, 1e-3));
    let best = state["best_model_checkpoint"].as_str().unwrap();
    assert!(folder.path().join(best).join("model.safetensors").exists());
    assert!(
        !folder
            .path()
            .join(best)
            .join("optimizer.safetensors")
            .exists()
    );
}

#[test]
fn command_lines_of_run_image_classification_work_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    red_and_blue(&folder.path().join("a"), 9);
    red_and_blue(&folder.path().join("b"), 5);
    let common = "--model_name_or_path vit_digits_patch2_8 --max_steps 2 --eval_strategy epoch \
                  --overwrite_output_dir --output_dir run --max_train_samples 12 --max_eval_samples 4 \
                  --trust_remote_code True";
    let run = |data: &str| {
        let line = format!("train {data} {common}");
        let words: Vec<&str> = line.split_whitespace().collect();
        run_in(folder.path(), &words).well()
    };
    run("--train_dir a --validation_dir b").mentions(&[
        "a: train 12, validation 4, 2 classes: blue, red",
        "--max-train-samples is taken as --train-samples",
    ]);
    run("--dataset_name a").mentions(&["a: train 12, validation 4"]);
}

#[test]
fn command_lines_of_timm_and_ultralytics_work_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    red_and_blue(&folder.path().join("photos"), 9);
    let line = "train --data photos --model vit_digits_patch2_8 --imgsz 8 --bs 4 --wd 0.1 --epochs 1 \
                --patience 5 --workers 8 -o run";
    let words: Vec<&str> = line.split_whitespace().collect();
    run_in(folder.path(), &words).well().mentions(&[
        "photos: train 16",
        "batch 4, weight decay 0.1",
        "--workers has no effect",
    ]);
}

#[test]
fn what_is_misspelled_is_guessed() {
    run("train --lerning-rate 1")
        .failed(2)
        .mentions(&["--learning-rate"]);
    for (line, meant) in [
        ("train --weights vit", "did you mean --model?"),
        ("train --epoch 3", "did you mean --epochs?"),
        (
            "train --smoothing 0.1",
            "did you mean --label-smoothing-factor?",
        ),
        ("predict m i --top-kk 3", "did you mean --top-k?"),
        ("eval m --zzz", "`vitcuda eval --help` lists its flags"),
    ] {
        run(line).failed(2).mentions(&[meant]);
    }
    run("trian").failed(2).mentions(&["train"]);
    run("train --eval-strategy step")
        .failed(2)
        .mentions(&["steps"]);
    for command in ["info", "bench --model", "train photos --model"] {
        run(&format!("{command} vit-smal-patch16-224"))
            .failed(2)
            .mentions(&["help: did you mean the preset `vit_small_patch16_224`?"]);
    }
}

#[test]
fn numbers_out_of_range_are_usage_errors() {
    for line in [
        "train --batch-size 0",
        "train --learning-rate -1",
        "train --learning-rate NaN",
        "train --epochs 0",
        "train --warmup-ratio 1.5",
        "train --validation-fraction 1",
        "info vit_tiny_patch16_224 --threads 0",
        "info vit_tiny_patch16_224 --device gpu",
        "info vit_tiny_patch16_224 --image-size 225",
    ] {
        run(line).failed(2);
    }
}

#[test]
fn a_model_is_asked_for_where_photos_are_given() {
    run("train photos").failed(2).mentions(&["--model FOLDER"]);
}

#[test]
fn missing_data_is_3_and_a_missing_model_is_4() {
    run("train no/photos/here --model vit_tiny_patch16_224").failed(3);
    for command in ["eval", "predict"] {
        run(&format!("{command} no/model/here .")).failed(4);
    }
    run("info no/model/here").failed(4);
}

#[test]
fn info_shows_a_preset_to_people_and_programs() {
    let text = run("info vit_small_patch16_224").well().stdout;
    for part in ["21,665,664", "197 tokens", "training MiB"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = run("info vit_small_patch16_224 --json").well().json_lines();
    let [info] = &json[..] else {
        panic!("one object")
    };
    assert_eq!(info["parameters"]["total"], 21_665_664);
    assert_eq!(info["config"]["hidden_size"], 384);
    let memory = info["memory_bytes"].as_array().unwrap();
    assert!(
        memory
            .iter()
            .all(|row| { row["training"].as_u64().unwrap() > row["inference"].as_u64().unwrap() })
    );
}

#[test]
fn pipes_get_no_colours() {
    let said = run("info nothing_like_a_model").failed(2);
    assert!(!said.stderr.contains('\x1b'), "{}", said.stderr);
    let said = run("train --help").well();
    assert!(!said.stdout.contains('\x1b'));
}
