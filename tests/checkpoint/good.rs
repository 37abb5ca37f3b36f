//! Sound checkpoints in every form they come in.

use std::fs;

use half::{bf16, f16};
use libtest_mimic::Trial;
use safetensors::tensor::Dtype;
use serde_json::json;
use vitcuda::model::checkpoint::{self, LoadOptions};
use vitcuda::model::interpolate;
use vitcuda::model::tensor_file::TensorFile;
use vitcuda::model::{arena_file, init};

use super::support::{Folder, Raw, assert_says, read_raw, tiny, trial, write_raw};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a saved model loads bit for bit", round_trip),
        trial("every spelling of the names loads", spellings),
        trial("f16, bf16 and f64 become f32", types),
        trial("several files with an index load", shards),
        trial("a pooler is dropped, and said so", pooler),
        trial("unknown tensors are named", unknown_tensors),
        trial("another image size interpolates the positions", image_size),
        trial(
            "an image size the patches do not fill is refused",
            odd_image_size,
        ),
        trial("moments and step come back bit for bit", moments),
        trial(
            "a tensor's first values depend on seed and place only",
            init_by_place,
        ),
        trial("dropout and other problem types are noticed", notices),
    ]
}

fn round_trip() {
    let folder = Folder::new();
    let loaded = folder.load();
    assert_eq!(loaded.config, tiny());
    assert_eq!(loaded.params, folder.params);
    assert_eq!(loaded.notices, Vec::<String>::new());

    let again = tempfile::tempdir().unwrap();
    checkpoint::save(again.path(), &loaded.config, &loaded.params).unwrap();
    for file in ["config.json", "model.safetensors"] {
        let [old, new] = [folder.path(), again.path()].map(|f| fs::read(f.join(file)).unwrap());
        assert!(old == new, "{file}");
    }
    let names: Vec<String> = read_raw(&folder.weights())
        .into_iter()
        .map(|t| t.name)
        .collect();
    assert_eq!(names.len(), 5 + 16 + 2 + 1); // 4 embeddings, a layer's 16, 2 norms, 2 head
}

fn spellings() {
    let renamed = |name: &str| {
        let mut name = name.replace("encoder.layer.", "layers.");
        for (old, new) in [
            ("attention.attention.query", "attention.q_proj"),
            ("attention.attention.key", "attention.k_proj"),
            ("attention.attention.value", "attention.v_proj"),
            ("attention.output.dense", "attention.o_proj"),
            ("intermediate.dense", "mlp.fc1"),
            ("output.dense", "mlp.fc2"),
        ] {
            name = name.replace(old, new);
        }
        name
    };
    let bare = |name: &str| name.trim_start_matches("vit.").to_owned();
    let ways: [&dyn Fn(&str) -> String; 3] = [&bare, &renamed, &|n| bare(&renamed(n))];
    for way in ways {
        let folder = Folder::new();
        folder.change_tensors(|tensors| {
            for tensor in tensors {
                tensor.name = way(&tensor.name);
            }
        });
        let loaded = folder.load();
        assert_eq!(loaded.params, folder.params);
        assert_eq!(loaded.notices, Vec::<String>::new());
    }
}

fn types() {
    let check = |change: &dyn Fn(&mut Raw), rounded: &dyn Fn(f32) -> f32| {
        let folder = Folder::new();
        folder.change_tensors(|tensors| tensors.iter_mut().for_each(change));
        let wanted: Vec<f32> = folder.params.iter().map(|&v| rounded(v)).collect();
        assert_eq!(folder.load().params, wanted);
    };
    check(
        &|t| t.convert(Dtype::F16, |v| f16::from_f32(v).to_le_bytes()),
        &|v| f16::from_f32(v).to_f32(),
    );
    check(
        &|t| t.convert(Dtype::BF16, |v| bf16::from_f32(v).to_le_bytes()),
        &|v| bf16::from_f32(v).to_f32(),
    );
    check(
        &|t| t.convert(Dtype::F64, |v| f64::from(v).to_le_bytes()),
        &|v| v,
    );
}

fn shards() {
    let folder = Folder::new();
    let tensors = read_raw(&folder.weights());
    fs::remove_file(folder.weights()).unwrap();
    let mut map = serde_json::Map::new();
    for (part, name) in tensors
        .chunks(10)
        .zip(["a.safetensors", "b.safetensors", "c.safetensors"])
    {
        write_raw(&folder.path().join(name), part);
        map.extend(part.iter().map(|t| (t.name.clone(), json!(name))));
    }
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, json!({ "weight_map": map }).to_string()).unwrap();
    assert_eq!(folder.load().params, folder.params);

    for bad in [
        json!({"x": "../a.safetensors"}),
        json!({"x": 3}),
        json!({}),
        json!(null),
    ] {
        fs::write(&index, json!({ "weight_map": bad }).to_string()).unwrap();
        assert_says(
            &folder.refusal(),
            &["index.json", "weight_map", "same folder"],
        );
    }
}

fn pooler() {
    let folder = Folder::new();
    folder.change_tensors(|tensors| {
        tensors.push(Raw::f32("vit.pooler.dense.weight", &[8, 8], &[0.5; 64]));
        tensors.push(Raw::f32("vit.pooler.dense.bias", &[8], &[0.5; 8]));
    });
    let loaded = folder.load();
    assert_eq!(loaded.params, folder.params);
    assert_eq!(loaded.notices.len(), 1);
    assert_says(&loaded.notices[0], &["pooler", "dropped"]);
}

fn unknown_tensors() {
    let folder = Folder::new();
    folder.change_tensors(|tensors| {
        tensors.push(Raw::f32("vit.embeddings.mask_token", &[1, 1, 8], &[0.5; 8]));
    });
    let loaded = folder.load();
    assert_eq!(loaded.notices.len(), 1);
    assert_says(
        &loaded.notices[0],
        &["does not use", "vit.embeddings.mask_token"],
    );
}

fn image_size() {
    let folder = Folder::new();
    let before = folder.load();
    let after = folder.load_with(&LoadOptions {
        image_size: Some(12),
        ..LoadOptions::default()
    });
    assert_eq!(after.config.image_size, 12);
    assert_eq!(after.params.len(), after.table.len);
    for (old, new) in before.table.params.iter().zip(&after.table.params) {
        assert_eq!(old.name, new.name);
        let old_values = &before.params[old.range.clone()];
        let new_values = &after.params[new.range.clone()];
        if old.name.ends_with("position_embeddings") {
            assert_eq!(new_values, interpolate::positions(old_values, 2, 3, 8))
        } else {
            assert_eq!(new_values, old_values, "{}", old.name)
        }
    }
    assert_says(
        &after.notices.join("\n"),
        &["12 instead of 8", "2 × 2", "3 × 3"],
    );
}

fn odd_image_size() {
    let folder = Folder::new();
    for size in [0, 9, 1 << 20] {
        let options = LoadOptions {
            image_size: Some(size),
            ..LoadOptions::default()
        };
        let error = checkpoint::load(folder.path(), &options).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_says(&error.to_string(), &[&size.to_string(), "wanted"]);
    }
}

fn moments() {
    let folder = Folder::new();
    let table = folder.load().table;
    let path = folder.path().join("optimizer.safetensors");
    let first: Vec<f32> = folder.params.iter().map(|v| v * 1e-9).collect();
    let second: Vec<f32> = folder.params.iter().map(|v| v * v * 1e-38).collect(); // subnormals too
    let arenas = [("exp_avg.", &first[..]), ("exp_avg_sq.", &second[..])];
    arena_file::save(&path, &table.params, &arenas, &[("step", "63")]).unwrap();

    let file = TensorFile::open(&path).unwrap();
    assert_eq!(file.metadata("step"), Some("63"));
    assert_eq!(file.metadata("epoch"), None);
    assert_eq!(
        arena_file::load(&file, &table.params, "exp_avg.").unwrap(),
        first
    );
    assert_eq!(
        arena_file::load(&file, &table.params, "exp_avg_sq.").unwrap(),
        second
    );
    let error = arena_file::load(&file, &table.params, "momentum.").unwrap_err();
    assert_says(
        &error.to_string(),
        &["momentum.vit.embeddings.cls_token", "[1, 1, 8]"],
    );
}

fn init_by_place() {
    let small = vitcuda::model::params::ParamTable::new(&tiny());
    let mut config = tiny();
    config.set_image_size(16).unwrap();
    let large = vitcuda::model::params::ParamTable::new(&config);
    let (a, b) = (init::params(&small, 1), init::params(&large, 1));
    for (p, q) in small.params.iter().zip(&large.params) {
        let n = p.range.len();
        assert_eq!(a[p.range.clone()], b[q.range.clone()][..n], "{}", p.name);
    }
    let other_seed = init::params(&small, 2);
    assert_ne!(
        a[small.cls_token.clone()],
        other_seed[small.cls_token.clone()]
    );
    let query = &a[small.layers[0].qkv_weight.clone()];
    assert_ne!(query[..64], query[64..128]);
    assert!(
        query.iter().all(|v| v.abs() <= 2.0 * 0.02),
        "cut at two deviations"
    );
    assert!(a[small.norm_weight.clone()].iter().all(|&v| v == 1.0));
    assert!(a[small.head_bias.clone()].iter().all(|&v| v == 0.0));
}

fn notices() {
    let folder = Folder::new();
    folder.change_config(|config| {
        config["hidden_dropout_prob"] = json!(0.1);
        config["problem_type"] = json!("multi_label_classification");
    });
    assert_says(
        &folder.load().notices.join("\n"),
        &["dropout", "multi_label_classification"],
    );
}
