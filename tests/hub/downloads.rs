//! What is loaded, where it is kept, and what is loaded again.

use std::fs;
use std::path::Path;

use vitcuda::Error;
use vitcuda::hub::{Direction, ModelPart, Network, Transfer};

use crate::server::Fault;
use crate::site::{Access, TOKEN, sha256};
use crate::support::{PETS, World, noise, read, refused, said};

const TRAIN: &str = "data/train-00000-of-00001.parquet";
const TEST: &str = "data/test-00000-of-00001.parquet";

fn pets(world: &World) -> (Vec<u8>, Vec<u8>, String) {
    let (train, test) = (noise(300_000), noise(900));
    let files: [(&str, &[u8]); 3] = [(TRAIN, &train), (TEST, &test), ("README.md", b"pets")];
    let commit = world.server.add(PETS, "main", &files);
    (train, test, commit)
}

#[test]
fn files_are_kept_as_pythons_tools_keep_them() {
    let mut world = World::new();
    world.settings.token = Some(TOKEN.into());
    let (train, test, commit) = pets(&world);
    let found = world.dataset("them/pets").expect("a data set");
    assert_eq!(found.files, [TEST, TRAIN]);
    assert_eq!(found.folder, world.pets().join("snapshots").join(&commit));
    assert_eq!(read(&found.folder, TRAIN), train);
    assert_eq!(read(&found.folder, TEST), test);
    assert_eq!(read(&world.pets(), "refs/main"), commit.as_bytes());
    let link = fs::read_link(found.folder.join(TRAIN)).expect("a link");
    assert_eq!(link, Path::new("../../../blobs").join(sha256(&train)));
    assert!(!found.folder.join("README.md").exists());

    // The second server is no part of the hub: it must not learn who asks.
    let from_hub = world.server.asked("GET", "/resolve/");
    assert_eq!(from_hub.len(), 2);
    assert!(
        from_hub
            .iter()
            .all(|asked| asked.header("authorization").is_some())
    );
    let elsewhere = world.server.asked("GET", "/cdn/");
    assert_eq!(elsewhere.len(), 1);
    assert_eq!(elsewhere[0].header("authorization"), None);
    assert_eq!(elsewhere[0].header("accept-encoding"), Some("identity"));

    assert_eq!(
        world.heard[0],
        Transfer::Started {
            direction: Direction::Down,
            repository: "them/pets".into(),
            files: 2,
            bytes: 300_900,
            present: 0,
        }
    );
    assert_eq!(world.heard.last(), Some(&Transfer::Finished));
    assert_eq!(world.heard[world.heard.len() - 2], Transfer::At(300_900));
}

#[test]
fn what_is_there_is_not_loaded_again() {
    let mut world = World::new();
    let (train, _, first) = pets(&world);
    world.dataset("them/pets").expect("a data set");
    world.server.forget();
    world.dataset("them/pets").expect("the same");
    assert_eq!(world.server.state().log.len(), 1); // the listing

    // A new commit: of its files only the new one is loaded.
    let files: [(&str, &[u8]); 2] = [(TRAIN, &train), (TEST, b"another")];
    let second = world.server.add(PETS, "main", &files);
    assert_ne!(first, second);
    world.server.forget();
    let found = world.dataset("them/pets").expect("the new commit");
    assert_eq!(read(&found.folder, TEST), b"another");
    assert_eq!(read(&found.folder, TRAIN), train);
    assert_eq!(world.server.asked("GET", "/resolve/").len(), 1);
    assert_eq!(read(&world.pets(), "refs/main"), second.as_bytes());
    // The old one is there by its name.
    let old = world
        .dataset(&format!("them/pets@{first}"))
        .expect("the old commit");
    assert_ne!(old.folder, found.folder);
}

#[test]
fn offline_the_cache_has_to_do() {
    let mut world = World::new();
    let (_, _, commit) = pets(&world);
    let online = world.dataset("them/pets").expect("a data set");
    world.server.forget();
    world.settings.network = Network::Offline;
    assert_eq!(world.dataset("them/pets").expect("from the cache"), online);
    let by_commit = world.dataset(&format!("them/pets@{commit}"));
    assert_eq!(by_commit.expect("from the cache"), online);
    refused(
        world.dataset("them/others"),
        &[
            "data set them/others",
            "not in the cache",
            "no folder of this name",
            "HF_HUB_OFFLINE",
        ],
    );
    refused(
        world.dataset("them/pets@v2"),
        &["revision v2 is not in the cache"],
    );
    assert_eq!(world.server.state().log.len(), 0);
}

#[test]
fn a_part_of_a_data_set_is_never_taken_for_all_of_it() {
    let mut world = World::new();
    let (first, second) = (noise(5000), noise(6000));
    let names = [
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
    ];
    world
        .server
        .add(PETS, "main", &[(names[0], &first), (names[1], &second)]);
    world
        .server
        .fail(1, "GET", &sha256(&second), Fault::Status(404, vec![]));
    refused(world.dataset("them/pets"), &["no file data/train-00001"]);
    world.settings.network = Network::Offline;
    refused(world.dataset("them/pets"), &["not in the cache"]);
    // Nor what another tool left, which links each file when it is there.
    world.settings.network = Network::Online;
    let found = world.dataset("them/pets").expect("all of it");
    fs::remove_file(found.folder.join(names[1])).expect("removed");
    world.settings.network = Network::Offline;
    refused(
        world.dataset("them/pets"),
        &["1 of the 2 files of data/train"],
    );
}

#[test]
fn a_hub_that_cannot_be_reached_leaves_the_cache() {
    let mut world = World::new();
    let (_, _, commit) = pets(&world);
    let online = world.dataset("them/pets").expect("a data set");
    world
        .server
        .fail(99, "GET", "/api/", Fault::Status(503, vec![]));
    assert_eq!(world.dataset("them/pets").expect("from the cache"), online);
    assert!(world.notices().contains("503"), "{}", world.notices());
    assert!(
        world.notices().contains(&commit[..7]),
        "{}",
        world.notices()
    );
    world.settings.endpoint = "http://127.0.0.1:9".into(); // the discard port: nobody listens
    assert_eq!(world.dataset("them/pets").expect("from the cache"), online);
    assert!(world.notices().contains("cannot be reached"));
}

#[test]
fn data_sets_without_parquet_files_are_taken_from_the_conversion() {
    let mut world = World::new();
    world.server.add(
        PETS,
        "main",
        &[("cats/1.jpg", b"..."), ("README.md", b"pets")],
    );
    let rows = noise(2000);
    let file = "default/partial-train/0000.parquet";
    let commit = world
        .server
        .add(PETS, "refs/convert/parquet", &[(file, &rows)]);
    let found = world.dataset("them/pets").expect("the conversion");
    assert_eq!(found.files, [file]);
    assert_eq!(read(&found.folder, file), rows);
    assert_eq!(
        read(&world.pets(), "refs/refs/convert/parquet"),
        commit.as_bytes()
    );
    assert!(world.notices().contains("only the first part"));
    world.settings.network = Network::Offline;
    assert_eq!(world.dataset("them/pets").expect("from the cache"), found);

    world.settings.network = Network::Online;
    let error = world.dataset("them/pets@main").expect_err("main has none");
    assert!(matches!(error, Error::Data { .. }));
    said(
        &error,
        &[
            "revision main holds no Parquet",
            "them/pets@refs/convert/parquet",
        ],
    );
    world
        .server
        .add("datasets/them/photos", "main", &[("cats/1.jpg", b"...")]);
    let error = world.dataset("them/photos").expect_err("nor a conversion");
    assert!(matches!(error, Error::Data { .. }));
    said(&error, &["no Parquet files", "no conversion", "git clone"]);
}

#[test]
fn repositories_that_moved_and_private_ones_are_found() {
    let mut world = World::new();
    let (_, _, commit) = pets(&world);
    let moved = ("datasets/us/pets".to_owned(), PETS.to_owned());
    world.server.state().moved.extend([moved]);
    world
        .server
        .state()
        .repositories
        .get_mut(PETS)
        .unwrap()
        .access = Access::Private;
    world.settings.token = Some(TOKEN.into());
    let found = world
        .dataset("us/pets")
        .expect("a private one under its old name");
    assert_eq!(read(&found.folder, TRAIN).len(), 300_000);
    assert_eq!(
        found.folder,
        world
            .settings
            .cache
            .join("datasets--us--pets/snapshots")
            .join(commit)
    );
    // The token goes along as long as it is the hub that redirects.
    let asked = world.server.asked("GET", "/datasets/them/pets/");
    assert_eq!(asked.len(), 3);
    assert!(
        asked
            .iter()
            .all(|asked| asked.header("authorization").is_some())
    );
}

fn config() -> (&'static str, &'static [u8]) {
    ("config.json", br#"{"model_type": "vit"}"#)
}

#[test]
fn of_a_model_only_what_is_needed_is_loaded() {
    let mut world = World::new();
    let weights = noise(4000);
    let files = [
        config(),
        ("preprocessor_config.json", b"{}"),
        ("model.safetensors", &weights),
        ("pytorch_model.bin", &weights),
        ("onnx/model.onnx", &weights),
    ];
    world.server.add("models/them/vit", "main", &files);
    let folder = world
        .model("them/vit", ModelPart::Settings)
        .expect("a model");
    assert!(!folder.join("model.safetensors").exists());
    assert_eq!(world.server.asked("GET", "/cdn/").len(), 0);
    let folder = world.model("them/vit", ModelPart::Whole).expect("a model");
    assert_eq!(read(&folder, "model.safetensors"), weights);
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "config.json",
            "model.safetensors",
            "preprocessor_config.json"
        ]
    );
}

#[test]
fn weights_may_be_in_shards() {
    let mut world = World::new();
    let files = [
        config(),
        ("model.safetensors.index.json", b"{}"),
        ("model-00001-of-00002.safetensors", b"one"),
        ("model-00002-of-00002.safetensors", b"two"),
    ];
    world.server.add("models/them/vit", "v2", &files);
    let folder = world
        .model("them/vit@v2", ModelPart::Whole)
        .expect("a model");
    assert_eq!(read(&folder, "model-00002-of-00002.safetensors"), b"two");
    assert!(folder.join("model.safetensors.index.json").exists());
}

#[test]
fn models_that_cannot_be_read_say_so_before_they_are_loaded() {
    let mut world = World::new();
    world.server.add(
        "models/them/old",
        "main",
        &[config(), ("pytorch_model.bin", b"pickle")],
    );
    let error = world
        .model("them/old", ModelPart::Whole)
        .expect_err("a pickle");
    assert!(matches!(error, Error::Model { .. }));
    said(
        &error,
        &[
            "pytorch_model.bin",
            "model.safetensors",
            "refs/pr/N",
            "save_pretrained",
        ],
    );
    world
        .server
        .add("models/them/notes", "main", &[("README.md", b"notes")]);
    let error = world
        .model("them/notes", ModelPart::Settings)
        .expect_err("no model");
    said(&error, &["holds no config.json"]);
    assert_eq!(world.server.asked("GET", "/resolve/").len(), 0);
}
