//! Models pushed to the hub.

use std::fs;

use vitcuda::Error;
use vitcuda::Result;
use vitcuda::hub::{LocalFile, MAIN, Network, Push, Pushed, Transfer, Visibility};

use crate::server::Fault;
use crate::site::{Access, TOKEN, sha256};
use crate::support::{World, noise, refused, said};

/// Somebody with a token and a model of three files.
fn world() -> (World, Vec<LocalFile>, Vec<u8>) {
    let mut world = World::new();
    world.settings.token = Some(TOKEN.into());
    let weights = noise(50_000);
    let file = |name: &str, bytes: &[u8]| {
        let path = world.folder.path().join(name);
        fs::write(&path, bytes).expect("written");
        LocalFile {
            name: name.into(),
            path,
        }
    };
    let files = vec![
        file("config.json", b"{\"model_type\": \"vit\"}\n"),
        file("model.safetensors", &weights),
        file("README.md", b""),
    ];
    (world, files, weights)
}

fn push(world: &mut World, branch: &str, files: &[LocalFile]) -> Result<Pushed> {
    let push = Push {
        repository: "me/vit",
        branch,
        visibility: Visibility::Private,
        message: "Upload model",
        files,
    };
    let hub = world.hub();
    hub.push(&push, &mut |transfer| world.heard.push(transfer))
}

/// What the branch holds on the hub.
fn on_hub(world: &World, branch: &str, file: &str) -> Option<Vec<u8>> {
    let state = world.server.state();
    let repository = &state.repositories["models/me/vit"];
    let commit = &repository.revisions[branch];
    repository.commits[commit].get(file).cloned()
}

#[test]
fn a_model_arrives_as_one_commit() {
    let (mut world, files, weights) = world();
    let pushed = push(&mut world, MAIN, &files).expect("pushed");
    assert_eq!(
        pushed.url,
        format!("{}/me/vit/commit/{}", world.server.endpoint, pushed.commit)
    );
    assert_eq!(on_hub(&world, MAIN, "model.safetensors"), Some(weights));
    assert_eq!(
        on_hub(&world, MAIN, "config.json").unwrap(),
        b"{\"model_type\": \"vit\"}\n"
    );
    assert_eq!(on_hub(&world, MAIN, "README.md").unwrap(), b"");
    let access = world.server.state().repositories["models/me/vit"].access;
    assert!(access == Access::Private);
    assert_eq!(world.server.asked("POST", "/commit/main").len(), 1);
    let put = world.server.asked("PUT", "/cdn/");
    assert_eq!(put.len(), 1);
    assert_eq!(put[0].header("authorization"), None);
    assert_eq!(put[0].header("x-signed"), Some("yes"));
    assert!(world.heard.contains(&Transfer::At(50_000)));
    assert_eq!(world.heard.last(), Some(&Transfer::Finished));
}

#[test]
fn large_files_go_in_pieces_where_the_hub_wants_them() {
    let (mut world, files, weights) = world();
    world.server.state().piece = Some(17_000);
    push(&mut world, MAIN, &files).expect("pushed");
    assert_eq!(world.server.asked("PUT", "/cdn/").len(), 3);
    assert_eq!(on_hub(&world, MAIN, "model.safetensors"), Some(weights));
}

#[test]
fn what_the_hub_has_is_not_sent_again() {
    let (mut world, files, weights) = world();
    let first = push(&mut world, MAIN, &files).expect("pushed");
    fs::write(&files[2].path, "# A model").unwrap();
    let second = push(&mut world, MAIN, &files).expect("pushed again");
    assert_ne!(first.commit, second.commit);
    assert_eq!(world.server.asked("PUT", "/cdn/").len(), 1);
    assert_eq!(on_hub(&world, MAIN, "model.safetensors"), Some(weights));
    assert_eq!(on_hub(&world, MAIN, "README.md").unwrap(), b"# A model");
    assert!(world.notices().contains("who may see it stays"));
}

#[test]
fn another_branch_is_created() {
    let (mut world, files, _) = world();
    for _ in 0..2 {
        push(&mut world, "v2", &files).expect("pushed");
    }
    assert!(on_hub(&world, "v2", "config.json").is_some());
    assert_eq!(on_hub(&world, MAIN, "config.json"), None);
}

#[test]
fn a_busy_storage_is_asked_again() {
    let (mut world, files, weights) = world();
    world
        .server
        .fail(2, "PUT", "/cdn/", Fault::Status(503, vec![]));
    world
        .server
        .fail(1, "POST", "/preupload/", Fault::Status(500, vec![]));
    push(&mut world, MAIN, &files).expect("pushed");
    assert_eq!(
        on_hub(&world, MAIN, "model.safetensors"),
        Some(weights.clone())
    );
    assert_eq!(
        sha256(&world.server.asked("PUT", "/cdn/")[2].body),
        sha256(&weights)
    );
}

#[test]
fn without_a_token_nothing_is_sent() {
    let (mut world, files, _) = world();
    world.settings.token = None;
    let error = push(&mut world, MAIN, &files).expect_err("no token");
    assert!(matches!(error, Error::Usage { .. }));
    said(
        &error,
        &[
            "needs a token that may write",
            "HF_TOKEN",
            "/settings/tokens",
        ],
    );
    world.settings.token = Some(TOKEN.into());
    world.settings.network = Network::Offline;
    let error = push(&mut world, MAIN, &files).expect_err("offline");
    said(&error, &["HF_HUB_OFFLINE"]);
    assert_eq!(world.server.state().log.len(), 0);
}

#[test]
fn a_token_that_may_not_write_is_told() {
    let (mut world, files, _) = world();
    world.settings.token = Some("hf_expired".into());
    refused(
        push(&mut world, MAIN, &files),
        &["does not accept the token"],
    );
    world.settings.token = Some(TOKEN.into());
    world
        .server
        .fail(1, "POST", "/commit/", Fault::Status(403, vec![]));
    refused(
        push(&mut world, MAIN, &files),
        &[
            "model me/vit",
            "may not write there",
            "403",
            "write to me/vit",
        ],
    );
}
