//! Flags, help, suggestions, exit codes.

use super::support::run;

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
    run("train photos --bf16 --push_to_hub True --report_to none")
        .failed(2)
        .mentions(&[
            "--bf16, --push-to-hub",
            "help: --bf16: give --precision bf16",
        ]);
}

#[test]
fn what_is_misspelled_is_guessed() {
    run("train --lerning-rate 1")
        .failed(2)
        .mentions(&["--learning-rate"]);
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
