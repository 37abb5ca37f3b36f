//! The head: whose classes it has, and where its values come from.

use libtest_mimic::Trial;
use serde_json::json;
use vitcuda::model::checkpoint::{LoadOptions, Loaded};
use vitcuda::model::init::HeadInit;

use super::support::{Folder, Raw, assert_says, trial, write_raw};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("labels without names are counted by the head", unnamed),
        trial("a checkpoint without a head has no labels", no_head),
        trial("the same classes keep the head", same),
        trial("the same classes in another order move its rows", reordered),
        trial(
            "other classes of the same number keep it, and are noticed",
            others,
        ),
        trial("another number of classes makes a new head", resized),
        trial("a new head starts from the seed, or at zero", starts),
        trial("a head file wins over the checkpoint", head_file),
        trial("a head file of another size is refused", wrong_head_file),
        trial("labels that contradict the head are refused", contradiction),
    ]
}

fn with_labels(labels: &[&str], head: HeadInit) -> LoadOptions {
    LoadOptions {
        labels: Some(labels.iter().map(|&l| l.to_owned()).collect()),
        head,
        ..LoadOptions::default()
    }
}

/// Weight and bias.
fn head(loaded: &Loaded) -> (&[f32], &[f32]) {
    let t = &loaded.table;
    (
        &loaded.params[t.head_weight.clone()],
        &loaded.params[t.head_bias.clone()],
    )
}

fn drop_head(folder: &Folder) {
    folder.change_tensors(|tensors| tensors.retain(|t| !t.name.starts_with("classifier.")));
}

fn unnamed() {
    let folder = Folder::new();
    folder.change_config(|config| {
        config.remove("id2label");
    });
    let loaded = folder.load();
    assert_eq!(loaded.config.labels(), ["LABEL_0", "LABEL_1"]);
    assert_eq!(loaded.params, folder.params);

    let named = folder.load_with(&with_labels(&["cat", "dog"], HeadInit::Random));
    assert_eq!(named.config.labels(), ["cat", "dog"]);
    assert_eq!(named.params, folder.params);
    assert_says(&named.notices.join("\n"), &["does not name", "cat, dog"]);
}

fn no_head() {
    let folder = Folder::new();
    drop_head(&folder);
    let loaded = folder.load();
    assert_eq!(loaded.config.num_labels(), 0);
    assert_eq!(loaded.params[..], folder.params[..loaded.table.len]);
    assert_says(&loaded.notices.join("\n"), &["no classification head"]);

    let new = folder.load_with(&with_labels(&["a", "b", "c"], HeadInit::Random));
    assert_eq!(head(&new).0.len(), 3 * 8);
    assert_says(&new.notices.join("\n"), &["new head for 3 classes"]);
}

fn same() {
    let folder = Folder::new();
    let loaded = folder.load_with(&with_labels(&["cat", "dog"], HeadInit::Random));
    assert_eq!(loaded.params, folder.params);
    assert_eq!(loaded.notices, Vec::<String>::new());
}

fn reordered() {
    let folder = Folder::new();
    let before = folder.load();
    let after = folder.load_with(&with_labels(&["dog", "cat"], HeadInit::Random));
    assert_eq!(after.config.labels(), ["dog", "cat"]);
    let ((w, b), (new_w, new_b)) = (head(&before), head(&after));
    assert_eq!(new_w, [&w[8..], &w[..8]].concat());
    assert_eq!(new_b, [b[1], b[0]]);
    assert_says(&after.notices.join("\n"), &["another order", "cat, dog"]);
}

fn others() {
    let folder = Folder::new();
    let loaded = folder.load_with(&with_labels(&["cat", "horse"], HeadInit::Zero));
    assert_eq!(loaded.config.labels(), ["cat", "horse"]);
    assert_eq!(loaded.params, folder.params);
    assert_says(
        &loaded.notices.join("\n"),
        &["cat, dog", "cat, horse", "kept"],
    );
}

fn resized() {
    let folder = Folder::new();
    let loaded = folder.load_with(&with_labels(&["a", "b", "c"], HeadInit::Random));
    assert_eq!(loaded.config.num_labels(), 3);
    let backbone = loaded.table.head_weight.start;
    assert_eq!(loaded.params[..backbone], folder.params[..backbone]);
    assert_says(&loaded.notices.join("\n"), &["new head for 3", "is for 2"]);
    assert_eq!(
        loaded.notices.len(),
        1,
        "the old head is not an unused tensor"
    );
}

fn starts() {
    let folder = Folder::new();
    drop_head(&folder);
    let with_seed = |seed| {
        folder.load_with(&LoadOptions {
            seed,
            ..with_labels(&["a", "b", "c"], HeadInit::Random)
        })
    };
    let (one, again, two) = (with_seed(1), with_seed(1), with_seed(2));
    assert_eq!(head(&one), head(&again));
    assert_ne!(head(&one), head(&two));
    assert!(head(&one).0.iter().all(|w| *w != 0.0 && w.abs() <= 0.04));
    assert_eq!(head(&one).1, [0.0; 3]);

    let zero = folder.load_with(&with_labels(&["a", "b", "c"], HeadInit::Zero));
    assert_eq!(head(&zero), (&[0.0; 24][..], &[0.0; 3][..]));
}

fn head_file() {
    let folder = Folder::new();
    let path = folder.path().join("head.safetensors");
    let weight: Vec<f32> = (0..16).map(|i| i as f32).collect();
    write_raw(
        &path,
        &[
            Raw::f32("classifier.weight", &[2, 8], &weight),
            Raw::f32("classifier.bias", &[2], &[0.25, -0.25]),
        ],
    );
    let file = HeadInit::File(path);
    let loaded = folder.load_with(&with_labels(&["x", "y"], file.clone()));
    assert_eq!(head(&loaded), (&weight[..], &[0.25, -0.25][..]));
    assert_eq!(loaded.config.labels(), ["x", "y"]);

    // A backbone takes its number of classes from the file.
    drop_head(&folder);
    let loaded = folder.load_with(&LoadOptions {
        head: file,
        ..LoadOptions::default()
    });
    assert_eq!(head(&loaded), (&weight[..], &[0.25, -0.25][..]));
}

fn wrong_head_file() {
    let folder = Folder::new();
    let path = folder.path().join("head.safetensors");
    write_raw(&path, &[Raw::f32("classifier.weight", &[2, 8], &[0.0; 16])]);
    let file = HeadInit::File(path);
    let says = folder.refusal_with(&with_labels(&["a", "b", "c"], file.clone()));
    assert_says(
        &says,
        &["head.safetensors", "classifier.weight", "[2, 8]", "[3, 8]"],
    );
    let says = folder.refusal_with(&with_labels(&["a", "b"], file));
    assert_says(
        &says,
        &["head.safetensors", "no tensor `classifier.bias`", "[2]"],
    );
}

fn contradiction() {
    let folder = Folder::new();
    folder.change_config(|config| config["id2label"] = json!({"0": "a", "1": "b", "2": "c"}));
    let says = folder.refusal();
    assert_says(&says, &["classifier.weight", "[2, 8]", "[3, 8]"]);
}
