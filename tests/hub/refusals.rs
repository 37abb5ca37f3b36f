//! What the hub refuses, and what a person is told to do.

use vitcuda::hub::ModelPart;

use crate::server::Fault;
use crate::site::{Access, TOKEN};
use crate::support::{PETS, World, noise, refused};

fn world(access: Access) -> World {
    let world = World::new();
    world
        .server
        .add(PETS, "main", &[("train.parquet", &noise(2000))]);
    world
        .server
        .state()
        .repositories
        .get_mut(PETS)
        .unwrap()
        .access = access;
    world
}

#[test]
fn what_is_not_there_or_private() {
    let mut world = world(Access::Private);
    for id in ["them/pets", "them/pest"] {
        refused(
            world.dataset(id),
            &[
                &format!("data set {id}"),
                "no such repository that is open to everyone",
                "no folder of this name",
                "HF_TOKEN",
                "/settings/tokens",
            ],
        );
    }
    world.settings.token = Some(TOKEN.into());
    world.dataset("them/pets").expect("the owner's");
    refused(
        world.dataset("them/pest"),
        &[
            "no such repository on the hub",
            "no folder of this name",
            "check the spelling",
        ],
    );
    refused(
        world.model("them/vti", ModelPart::Whole),
        &["model them/vti", "a preset"],
    );
}

#[test]
fn a_token_that_is_none() {
    let mut world = world(Access::Public);
    world.settings.token = Some("hf_expired".into());
    refused(
        world.dataset("them/pets"),
        &["does not accept the token", "/settings/tokens"],
    );
}

#[test]
fn a_gated_one() {
    let mut world = world(Access::Gated);
    let page = format!("{}/datasets/them/pets", world.server.endpoint);
    refused(
        world.dataset("them/pets"),
        &["accepted their terms", &page, "set HF_TOKEN"],
    );
    world.settings.token = Some(TOKEN.into());
    refused(
        world.dataset("them/pets"),
        &["accept the terms at", &page, "the account of your token"],
    );
}

#[test]
fn a_revision_or_a_file_that_is_not_there() {
    let mut world = world(Access::Public);
    refused(
        world.dataset("them/pets@v3"),
        &[
            "no revision `v3`",
            "branches and tags",
            "/datasets/them/pets/tree/main",
        ],
    );
    let gone = Fault::Status(404, vec![("X-Error-Code", "EntryNotFound")]);
    world.server.fail(1, "HEAD", "train.parquet", gone);
    refused(
        world.dataset("them/pets"),
        &["no file train.parquet in revision"],
    );
}

#[test]
fn what_is_forbidden_for_another_reason() {
    let mut world = world(Access::Public);
    world
        .server
        .fail(1, "GET", "/api/", Fault::Status(403, vec![]));
    refused(
        world.dataset("them/pets"),
        &["the hub answers 403 (as planned)", "have access"],
    );
}
