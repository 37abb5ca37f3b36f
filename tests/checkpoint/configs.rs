//! `config.json`: what is taken, what is refused and how.

use std::fs;
use std::path::PathBuf;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tempfile::TempDir;
use vitcuda::model::config::VitConfig;
use vitcuda::model::cost::Parameters;
use vitcuda::model::presets;

use super::support::{assert_says, told, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("missing and null keys take ViTConfig's defaults", defaults),
        trial("sides may be lists", lists),
        trial("numbers come back bit for bit", numbers),
        trial("refusals name file, line, key, found and wanted", refusals),
        trial("text that is no JSON object is refused", not_json),
        trial("other kinds of model are called by name", other_models),
        trial(
            "a config with every key refuses nonsense under each",
            nonsense,
        ),
        trial("presets have timm's sizes", preset_sizes),
    ]
}

fn written(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    fs::write(&path, text).unwrap();
    (dir, path)
}

fn read(value: &Value) -> VitConfig {
    let (_dir, path) = written(&value.to_string());
    VitConfig::read(path).unwrap()
}

fn refusal(text: &str) -> String {
    let (_dir, path) = written(text);
    match VitConfig::read(path) {
        Ok(_) => panic!("taken: {text}"),
        Err(e) => {
            assert_eq!(e.exit_code(), 4);
            told(&e)
        }
    }
}

fn defaults() {
    let wanted = VitConfig {
        architectures: vec![],
        ..VitConfig::default()
    };
    assert_eq!(read(&json!({"model_type": "vit"})), wanted);
    let nulls = json!({"model_type": "vit", "problem_type": null, "id2label": null,
        "hidden_size": null, "torch_dtype": "float16", "pooler_act": "tanh", "use_cache": false});
    assert_eq!(read(&nulls), wanted);
}

fn lists() {
    let config =
        read(&json!({"model_type": "vit", "image_size": [384, 384], "patch_size": [32, 32]}));
    assert_eq!((config.image_size, config.patch_size), (384, 32));
    let text = json!({"model_type": "vit", "image_size": [384, 224]}).to_string();
    assert_says(
        &refusal(&text),
        &["`image_size` is [384,224]", "two equal ones"],
    );
}

fn numbers() {
    let config = VitConfig {
        layer_norm_eps: 1e-6,
        initializer_range: 0.00392156862745098,
        ..VitConfig::default()
    };
    let (_dir, path) = written("");
    config.write(&path).unwrap();
    assert_eq!(VitConfig::read(path).unwrap(), config);
}

fn refusals() {
    let says = refusal("{\n  \"model_type\": \"vit\",\n  \"hidden_size\": \"wide\"\n}");
    assert_says(
        &says,
        &[
            "config.json",
            "line 3",
            "`hidden_size` is \"wide\"",
            "wanted a whole number",
        ],
    );
    let cases = [
        (
            json!({"hidden_size": 100}),
            "multiple of num_attention_heads (12)",
        ),
        (
            json!({"image_size": 225}),
            "multiple of the patch size (16)",
        ),
        (json!({"image_size": 225}), "the nearest are 224 and 240"),
        (json!({"hidden_act": "quick_gelu"}), "wanted \"gelu\""),
        (json!({"num_channels": 1}), "wanted 3"),
        (json!({"hidden_size": 0}), "wanted 1 to"),
        (json!({"patch_size": 0}), "wanted 1 to"),
        (
            json!({"num_hidden_layers": 4_000_000_000_u64}),
            "wanted 1 to",
        ),
        (json!({"hidden_size": 1e30}), "whole number"),
        (
            json!({"hidden_size": 65_520, "num_hidden_layers": 1000}),
            "2^34 parameters",
        ),
        (
            json!({"image_size": 16_384, "patch_size": 1, "hidden_size": 12}),
            "at most 512 patches of side 1 across",
        ),
        (json!({"hidden_size": 7.5}), "whole number"),
        (json!({"hidden_size": -768}), "whole number"),
        (json!({"layer_norm_eps": -1e-6}), "0 to 1"),
        (json!({"id2label": {"0": "a", "2": "b"}}), "without a gap"),
        (json!({"id2label": {"a": 0}}), "without a gap"),
    ];
    for (mut config, wanted) in cases {
        let key = config.as_object().unwrap().keys().next().unwrap().clone();
        config["model_type"] = json!("vit");
        assert_says(
            &refusal(&config.to_string()),
            &[&format!("`{key}` is"), wanted],
        );
    }
    read(&json!({"model_type": "vit", "hidden_act": "gelu_python"}));
}

fn not_json() {
    assert_says(
        &refusal("{\n\"model_type\": \"vit\",\n"),
        &["not valid JSON", "line"],
    );
    assert_says(&refusal("[1, 2]"), &["found [1,2]", "wanted a JSON object"]);
    assert_says(&refusal("<html>"), &["an HTML page"]);
    assert_says(&refusal(""), &["an empty file"]);
    assert_says(&refusal(&"[".repeat(100_000)), &["not valid JSON"]);
}

fn other_models() {
    for (kind, name) in [
        ("dinov2_with_registers", "DINOv2"),
        ("clip", "CLIP"),
        ("beit", "BEiT"),
        ("x", ""),
    ] {
        let says = refusal(&json!({ "model_type": kind }).to_string());
        assert_says(
            &says,
            &[
                "`model_type` is",
                kind,
                name,
                "wanted \"vit\"",
                "not supported yet",
            ],
        );
    }
    assert_says(&refusal("{}"), &["no `model_type`", "wanted \"vit\""]);
    let timm = json!({"architecture": "vit_base_patch16_224", "pretrained_cfg": {}});
    assert_says(&refusal(&timm.to_string()), &["timm"]);
}

/// No value of any type under any key may do worse than an error.
fn nonsense() {
    let mut config = VitConfig::default();
    config.set_labels(&["a", "b"]);
    let whole = serde_json::to_value(&config).unwrap();
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(1e308),
        json!("x"),
        json!([]),
        json!([1, 2, 3]),
        json!({"0": 0}),
        json!({}),
    ];
    for key in whole.as_object().unwrap().keys() {
        for value in &values {
            let mut changed = whole.clone();
            changed[key] = value.clone();
            let (_dir, path) = written(&changed.to_string());
            if let Err(e) = VitConfig::read(path) {
                assert_says(&e.to_string(), &[key]);
            }
        }
    }
}

/// Parameters with 1000 classes, as timm counts them.
fn preset_sizes() {
    for (name, parameters) in [
        ("vit_tiny_patch16_224", 5_717_416),
        ("vit_small_patch16_224", 22_050_664),
        ("vit_base_patch16_224", 86_567_656),
        ("vit_base_patch32_224", 88_224_232),
        ("vit_base_patch16_384", 86_859_496),
        ("vit_large_patch16_224", 304_326_632),
    ] {
        let mut config = presets::preset(name).unwrap();
        let names: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
        config.set_labels(&names);
        assert_eq!(Parameters::of(&config).total(), parameters, "{name}");
    }
    for name in presets::names() {
        let config = presets::preset(name).unwrap();
        let (_dir, path) = written("");
        config.write(&path).unwrap();
        assert_eq!(VitConfig::read(path).unwrap(), config, "{name}");
        let patch = format!("patch{}_{}", config.patch_size, config.image_size);
        assert!(name.ends_with(&patch), "{name}");
    }
    assert_eq!(presets::preset("vit_huge_patch14_224"), None);
}
