//! Models that are no ViT, on the command line.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::dinov2::{self, Dinov2};
use super::support::{red_and_blue, run_in};

/// A DINOv2 in `model/` that is fed images of 28 × 28, and photos in `photos/`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    Dinov2::new().write(&model);
    let processing = json!({
        "image_processor_type": "BitImageProcessor", "resample": 3, "do_center_crop": true,
        "size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28},
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    });
    let path = model.join("preprocessor_config.json");
    std::fs::write(path, processing.to_string()).unwrap();
    red_and_blue(&folder.path().join("photos"), 20);
    folder
}

fn json_file(folder: &TempDir, path: &str) -> Value {
    let text = std::fs::read_to_string(folder.path().join(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_dinov2_is_fine_tuned_at_the_size_of_its_processing() {
    let folder = folder();
    let train = "train photos --model model --output-dir run --epochs 4 --batch-size 8 \
                 --learning-rate 1e-3";
    let words: Vec<&str> = train.split_whitespace().collect();
    run_in(folder.path(), &words).well().mentions(&[
        "DINOv2, taken as a plain ViT",
        "image size 28 instead of 42: positions interpolated from 3 × 3 to 2 × 2",
        "new head for 2 classes",
    ]);
    let config = json_file(&folder, "run/config.json");
    assert_eq!(config["model_type"], "vit");
    assert_eq!(config["image_size"], 28);
    let processing = json_file(&folder, "run/preprocessor_config.json");
    assert_eq!(processing["image_processor_type"], "BitImageProcessor");
    assert_eq!(processing["size"], json!({"shortest_edge": 32}));

    let said = run_in(folder.path(), &["eval", "run", "photos", "--json"]).well();
    let evaluation = &said.json_lines()[0];
    assert!(
        evaluation["eval_accuracy"].as_f64() > Some(0.9),
        "{evaluation}"
    );
}

#[test]
fn info_shows_a_dinov2_as_it_would_be_trained() {
    let folder = folder();
    let said = run_in(folder.path(), &["info", "model"]).well();
    for words in [
        "DINOv2, taken as a plain ViT",
        "28 × 28 pixels, 5 tokens",
        "MLP 128",
    ] {
        assert!(said.stdout.contains(words), "{}", said.stdout);
    }
    let said = run_in(folder.path(), &["info", "model", "--image-size", "42"]).well();
    assert!(said.stdout.contains("10 tokens"), "{}", said.stdout);
}

#[test]
fn a_dinov2_backbone_predicts_nothing() {
    let folder = folder();
    let words = ["has no classification head", "vitcuda train PHOTOS --model"];
    let image = "photos/red/00.png";
    run_in(folder.path(), &["predict", "model", image])
        .failed(4)
        .mentions(&words);
}

#[test]
fn what_is_no_plain_vit_is_refused_with_a_way_out() {
    let folder = folder();
    let model = Dinov2::new();
    for (key, value, words) in [
        (
            "model_type",
            json!("dinov2_with_registers"),
            "facebook/dinov2-small",
        ),
        ("use_swiglu_ffn", json!(true), "facebook/dinov2-small"),
        ("model_type", json!("dinov3_vit"), "facebook/dinov2-base"),
        (
            "architectures",
            json!(["DeiTForImageClassificationWithTeacher"]),
            "facebook/deit-small-patch16-224",
        ),
    ] {
        let mut config = model.config_json();
        config[key] = value;
        dinov2::write(&folder.path().join("model"), &config, &mut model.tensors());
        for command in ["info model", "train photos --model model"] {
            let command: Vec<&str> = command.split(' ').collect();
            let mentioned = ["config.json", key, "help: ", words];
            run_in(folder.path(), &command)
                .failed(4)
                .mentions(&mentioned);
        }
    }
}

/// Whatever keeps a model from being trained is told by `info`, too: what is wrong with its weights,
/// and what is not there.
#[test]
fn info_refuses_what_train_refuses() {
    let damages: [fn(&std::path::Path); 4] = [
        |model| std::fs::remove_file(model.join("preprocessor_config.json")).unwrap(),
        |model| std::fs::remove_file(model.join("model.safetensors")).unwrap(),
        |model| std::fs::write(model.join("model.safetensors"), "no tensors").unwrap(),
        |model| {
            let file = model.join("config.json");
            let text = std::fs::read_to_string(&file).unwrap();
            let mut config: Value = serde_json::from_str(&text).unwrap();
            config["num_hidden_layers"] = json!(7); // more than the weights have
            std::fs::write(file, config.to_string()).unwrap();
        },
    ];
    for (place, damage) in damages.iter().enumerate() {
        let folder = folder();
        damage(&folder.path().join("model"));
        let said = ["info model", "train photos --model model"].map(|command| {
            let words: Vec<&str> = command.split(' ').collect();
            let said = run_in(folder.path(), &words).failed(4);
            let mut lines = said
                .stderr
                .lines()
                .filter(|line| line.starts_with("error: "));
            lines.next().unwrap().to_owned()
        });
        assert_eq!(said[0], said[1], "damage {place}");
    }
}
