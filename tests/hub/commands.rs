//! The binary with names of the hub in place of folders.

use std::fs;
use std::path::Path;
use std::process::Command;
#[cfg(unix)]
use std::time::{Duration, Instant};

#[cfg(unix)]
use crate::ctrl_c::{hears_ctrl_c, press_ctrl_c};
use crate::server::{Fault, Server};
use crate::site::TOKEN;
use crate::support::noise;
use crate::tables::{Column, PLAIN, pictures, write};

/// A person's machine: an empty cache, a working folder, a hub.
struct Desk {
    server: Server,
    folder: tempfile::TempDir,
}

/// What a command said and how it ended.
struct Said {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Desk {
    /// The hub has `them/pets`: 24 pictures to train on, 8 to validate on, two classes; large enough
    /// to lie behind a redirect.
    fn new() -> Self {
        let desk = Self {
            server: Server::start(),
            folder: tempfile::tempdir().unwrap(),
        };
        let shard = |count: usize| {
            let path = desk.folder.path().join("made.parquet");
            let labels = (0..count).map(|i| Some(i as i64 % 2)).collect();
            let columns = [
                ("image", pictures(count)),
                ("labels", Column::Longs(labels)),
            ];
            let features = r#"{"image": {"_type": "Image"}, "labels": {"names": ["cat", "dog"], "_type": "ClassLabel"}}"#;
            write(&path, &columns, Some(features), PLAIN);
            let bytes = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            bytes
        };
        let (train, validation) = (shard(24), shard(8));
        let files: [(&str, &[u8]); 2] = [
            ("data/train-00000-of-00001.parquet", &train),
            ("data/validation-00000-of-00001.parquet", &validation),
        ];
        desk.server.add("datasets/them/pets", "main", &files);
        desk
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitcuda"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().to_lowercase();
            if text.starts_with("hf_") || text.ends_with("_proxy") || text == "no_color" {
                command.env_remove(name);
            }
        }
        command
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .env("VITCUDA_DEVICE", "cpu")
            .env("HF_ENDPOINT", &self.server.endpoint)
            .env("HF_HOME", self.folder.path().join("home"));
        command
    }

    fn run(&self, line: &str) -> Said {
        said(&mut self.command(line))
    }

    fn offline(&self, line: &str) -> Said {
        said(self.command(line).env("HF_HUB_OFFLINE", "1"))
    }
}

fn said(command: &mut Command) -> Said {
    let output = command.output().expect("the binary starts");
    Said {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

impl Said {
    #[track_caller]
    fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "stderr: {}", self.stderr);
        self
    }

    #[track_caller]
    fn failed(self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, Some(code), "stderr: {}", self.stderr);
        for text in texts {
            assert!(
                self.stderr.contains(text),
                "`{text}` is not in: {}",
                self.stderr
            );
        }
    }
}

const TINY: &str = "--model vit_digits_patch2_8 --max-steps 3 --batch-size 8 --seed 1";

fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("model.safetensors")).unwrap()
}

#[test]
fn a_model_learns_from_the_hub_and_goes_there() {
    let desk = Desk::new();
    let at = |path: &str| desk.folder.path().join(path);

    // From the hub; then from the cache, to the same bits.
    let said = desk.run(&format!("train them/pets {TINY}")).well();
    for text in [
        "loading them/pets: 2 files",
        "them/pets: train 24, validation 8, 2 classes: cat, dog",
    ] {
        assert!(
            said.stderr.contains(text),
            "`{text}` is not in: {}",
            said.stderr
        );
    }
    desk.server.forget();
    let said = desk.offline(&format!("train them/pets {TINY}")).well();
    assert!(!said.stderr.contains("loading"), "{}", said.stderr);
    assert_eq!(desk.server.state().log.len(), 0);
    assert_eq!(weights(&at("runs/pets")), weights(&at("runs/pets-2")));

    // To the hub.
    fs::write(at("runs/pets/README.md"), "# Pets").unwrap();
    desk.run("push runs/pets me/pets")
        .failed(2, &["needs a token", "HF_TOKEN"]);
    let push = "push runs/pets me/pets --private --license MIT --json";
    let said = said_with_token(&desk, push).well();
    let pushed: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let names = [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "README.md",
    ];
    assert_eq!(pushed["files"], serde_json::json!(names));
    let url = pushed["url"].as_str().unwrap();
    assert!(
        url.starts_with(&format!("{}/me/pets/commit/", desk.server.endpoint)),
        "{url}"
    );
    {
        let state = desk.server.state();
        let commit = pushed["commit"].as_str().unwrap();
        let files = &state.repositories["models/me/pets"].commits[commit];
        assert_eq!(files["model.safetensors"], weights(&at("runs/pets")));
        let card = String::from_utf8(files["README.md"].clone()).unwrap();
        assert_eq!(card, "---\nlicense: mit\n---\n\n# Pets");
        assert_eq!(files.len(), names.len()); // no optimiser, no logs, no report
    }

    // And from there to everything that takes a model.
    let info = said_with_token(&desk, "info me/pets --json").well();
    let info: serde_json::Value = serde_json::from_str(&info.stdout).unwrap();
    assert_eq!(info["config"]["id2label"]["1"], "dog");
    assert_eq!(
        desk.server.asked("GET", "/models/me/pets/resolve/").len(),
        0
    );
    let local = desk.run("eval runs/pets them/pets --json").well().stdout;
    let remote = said_with_token(&desk, "eval me/pets them/pets --json")
        .well()
        .stdout;
    let score = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        (value["eval_loss"].clone(), value["eval_accuracy"].clone())
    };
    assert_eq!(score(&local), score(&remote));
    let said = desk.offline("predict me/pets them/pets --top-k 1").well();
    assert_eq!(said.stdout.lines().count(), 32);
    let line = "train them/pets --model me/pets --max-steps 1 -o runs/more";
    let said = desk.offline(line).well();
    assert!(said.stderr.contains("me/pets: "), "{}", said.stderr);
}

fn said_with_token(desk: &Desk, line: &str) -> Said {
    said(desk.command(line).env("HF_TOKEN", TOKEN))
}

#[test]
fn a_data_set_of_the_hub_can_be_looked_at() {
    let desk = Desk::new();
    let stats = desk.run("data stats them/pets --json").well();
    let stats: serde_json::Value = serde_json::from_str(&stats.stdout).unwrap();
    assert_eq!(stats["data"], "them/pets");
    assert_eq!(
        stats["splits"][0]["classes"],
        serde_json::json!({ "cat": 12, "dog": 12 })
    );
    desk.run("data show them/pets --grid 2x2 -o grid.png")
        .well();
    desk.run("data split them/pets -o split.jsonl").well();
    desk.offline(&format!("train split.jsonl {TINY}")).well();
}

#[test]
fn a_repository_with_several_data_sets_asks_which() {
    let desk = Desk::new();
    let (fine, coarse) = {
        let state = desk.server.state();
        let pets = &state.repositories["datasets/them/pets"];
        let files = &pets.commits[&pets.revisions["main"]];
        let mut files = files.values();
        (files.next().unwrap().clone(), files.next().unwrap().clone())
    };
    let files: [(&str, &[u8]); 2] = [
        ("fine/train.parquet", &fine),
        ("coarse/train.parquet", &coarse),
    ];
    desk.server.add("datasets/them/many", "main", &files);
    desk.run("data stats them/many")
        .failed(3, &["2 data sets", "--dataset-config: coarse, fine"]);
    desk.run("data stats them/many --dataset-config rough")
        .failed(3, &["no data set `rough`"]);
    desk.run("data stats them/many --dataset_config_name fine")
        .well();
    assert_eq!(desk.server.asked("GET", "/resolve/").len(), 1);
    fs::create_dir(desk.folder.path().join("photos")).unwrap();
    desk.run("data stats photos --dataset-config fine")
        .failed(2, &["not on the hub"]);
}

#[test]
fn what_is_not_there_is_told_apart() {
    let desk = Desk::new();
    desk.run("train them/pest").failed(2, &["--model"]);
    desk.run("data stats them/pest").failed(
        8,
        &[
            "error: data set them/pest",
            "no folder of this name",
            "help: check the spelling",
        ],
    );
    desk.offline("data stats them/pets")
        .failed(8, &["not in the cache", "HF_HUB_OFFLINE"]);
    desk.server.forget();
    // Names that are asked for on no network.
    desk.run("data stats cats_vs_dogs")
        .failed(3, &["microsoft/cats_vs_dogs"]);
    fs::create_dir(desk.folder.path().join("photos")).unwrap();
    desk.run("data stats photos/trian")
        .failed(3, &["photos/trian"]);
    desk.run("predict photos/model photo.jpg")
        .failed(4, &["photos/model"]);
    assert_eq!(desk.server.state().log.len(), 0);
    // Unless a revision is named.
    fs::create_dir(desk.folder.path().join("them")).unwrap();
    desk.run("data stats them/pets@main").well();
}

#[test]
fn only_a_model_is_pushed() {
    let desk = Desk::new();
    fs::create_dir(desk.folder.path().join("empty")).unwrap();
    said_with_token(&desk, "push empty me/pets").failed(4, &["empty: found no config.json"]);
    desk.run("push empty pets")
        .failed(2, &["expected OWNER/NAME"]);
    assert_eq!(desk.server.state().log.len(), 0);
}

#[test]
fn a_hub_with_xet_gets_the_weights_over_it_and_nothing_else() {
    let desk = Desk::new();
    desk.server.state().has_xet = true;
    let at = |path: &str| desk.folder.path().join(path);
    let bytes = noise(300_000);
    fs::create_dir(at("model")).unwrap();
    fs::write(at("model/config.json"), "{}").unwrap();
    fs::write(at("model/model.safetensors"), &bytes).unwrap();
    let said = said_with_token(&desk, "push model me/pets --json").well();
    let pushed: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let state = desk.server.state();
    let commit = pushed["commit"].as_str().unwrap();
    let files = &state.repositories["models/me/pets"].commits[commit];
    assert!(files["model.safetensors"] == bytes);
    assert_eq!(files["config.json"], b"{}");
    // No other way was taken, and nobody was told how it went.
    let was_asked = |part: &str| state.log.iter().any(|asked| asked.path.contains(part));
    assert!(was_asked("/v1/xorbs/") && !was_asked("/cdn/"));
    assert!(!was_asked("telemetry"));
}

/// Ctrl-C in the middle of a download, then the same command again.
#[cfg(unix)]
#[test]
fn what_was_loaded_before_ctrl_c_is_not_loaded_again() {
    let desk = Desk::new();
    desk.server.fail(1, "GET", "/cdn/", Fault::Stuck(500));
    let mut child = hears_ctrl_c(&mut desk.command("data stats them/pets --quiet"))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let blobs = desk
        .folder
        .path()
        .join("home/hub/datasets--them--pets/blobs");
    let loaded = || {
        let entries = fs::read_dir(&blobs).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.metadata().map_or(0, |m| m.len()))
            .sum::<u64>()
    };
    let start = Instant::now();
    while loaded() < 500 {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{} bytes came",
            loaded()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    press_ctrl_c(&child);
    child.wait().unwrap();
    assert_eq!(loaded(), 500);
    desk.run("data stats them/pets").well();
    let ranges = desk.server.asked("GET", "/cdn/");
    assert_eq!(ranges[1].header("range"), Some("bytes=500-"));
}
