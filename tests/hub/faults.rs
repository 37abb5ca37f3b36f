//! Downloads that are cut off, damaged, slow to be allowed, or have no room.

use std::fs;
use std::time::{Duration, Instant};

use vitcuda::hub::{ModelPart, Transfer};

use crate::server::Fault;
use crate::site::{git_name, sha256};
use crate::support::{PETS, World, noise, read, refused};

const FILE: &str = "train.parquet";

/// A data set of one file that git-lfs keeps.
fn world() -> (World, Vec<u8>) {
    let world = World::new();
    let bytes = noise(100_000);
    world.server.add(PETS, "main", &[(FILE, &bytes)]);
    (world, bytes)
}

#[track_caller]
fn complete(world: &mut World, bytes: &[u8]) {
    let found = world.dataset("them/pets").expect("a data set");
    assert_eq!(read(&found.folder, FILE), bytes);
    assert!(!world.incomplete(bytes).exists());
}

/// The ranges that the CDN was asked for.
fn ranges(world: &World) -> Vec<Option<String>> {
    let asked = world.server.asked("GET", "/cdn/");
    let range = |asked: &crate::server::Asked| asked.header("range").map(str::to_owned);
    asked.iter().map(range).collect()
}

#[test]
fn an_interrupted_download_goes_on_where_it_stopped() {
    let (mut world, bytes) = world();
    world.leave(&bytes, &bytes[..70_000]);
    complete(&mut world, &bytes);
    assert_eq!(ranges(&world), [Some("bytes=70000-".to_owned())]);
    let Transfer::Started {
        bytes: all,
        present,
        ..
    } = world.heard[0]
    else {
        panic!("{:?}", world.heard[0]);
    };
    assert_eq!((all, present), (100_000, 70_000));
}

#[test]
fn a_body_that_ends_early_is_asked_for_its_rest() {
    let (mut world, bytes) = world();
    world
        .server
        .fail(1, "GET", "/cdn/", Fault::Truncated(30_000));
    world
        .server
        .fail(1, "GET", "/cdn/", Fault::Truncated(40_000));
    complete(&mut world, &bytes);
    let asked = [
        None,
        Some("bytes=30000-".to_owned()),
        Some("bytes=70000-".to_owned()),
    ];
    assert_eq!(ranges(&world), asked);
}

#[test]
fn a_body_that_never_comes_is_given_up_and_what_came_is_kept() {
    let (mut world, bytes) = world();
    world
        .server
        .fail(1, "GET", "/cdn/", Fault::Truncated(30_000));
    world.server.fail(99, "GET", "/cdn/", Fault::Truncated(0));
    refused(
        world.dataset("them/pets"),
        &[
            "data set them/pets",
            "30000 of 100000 bytes came",
            "what was loaded is kept",
        ],
    );
    // The first got somewhere, which starts the count; four more did not.
    assert_eq!(ranges(&world).len(), 5);
    assert_eq!(fs::read(world.incomplete(&bytes)).unwrap(), bytes[..30_000]);
    assert!(!world.pets().join("snapshots").exists());
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let (mut world, bytes) = world();
    world.leave(&bytes, &noise(123));
    world.server.fail(9, "GET", "/cdn/", Fault::WholeFile);
    complete(&mut world, &bytes);
}

#[test]
fn what_cannot_be_the_start_of_the_file_is_thrown_away() {
    let (mut world, bytes) = world();
    world.leave(&bytes, &noise(100_001));
    complete(&mut world, &bytes);
    assert_eq!(ranges(&world), [None]);
}

#[test]
fn a_range_that_the_server_does_not_have_is_not_insisted_on() {
    let (mut world, bytes) = world();
    world.leave(&bytes, &bytes[..70_000]);
    world
        .server
        .fail(1, "GET", "/cdn/", Fault::Status(416, vec![]));
    complete(&mut world, &bytes);
    assert_eq!(ranges(&world), [Some("bytes=70000-".to_owned()), None]);
}

#[test]
fn damage_is_noticed_by_the_digest() {
    let (mut world, bytes) = world();
    world.server.fail(1, "GET", "/cdn/", Fault::Damaged);
    let wanted = sha256(&bytes);
    refused(
        world.dataset("them/pets"),
        &[FILE, "damaged", &wanted, "again"],
    );
    complete(&mut world, &bytes);
    // So is a wrong start that an earlier download left.
    let (mut world, bytes) = self::world();
    world.leave(&bytes, &[7; 50_000]);
    refused(world.dataset("them/pets"), &["damaged"]);
    complete(&mut world, &bytes);
}

/// Each byte comes in time, all of them never do.
#[test]
fn a_listing_that_trickles_is_given_up() {
    let (mut world, _) = world();
    world.settings.patience = Duration::from_millis(500);
    let trickle = Fault::Trickle(Duration::from_millis(100));
    world.server.fail(99, "GET", "/api/", trickle);
    let start = Instant::now();
    refused(
        world.dataset("them/pets"),
        &["nothing came for a long time", "check the network"],
    );
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(world.server.asked("GET", "/api/").len(), 5);
}

#[test]
fn another_part_than_was_asked_for_is_not_taken_for_the_first() {
    let (mut world, bytes) = world();
    world.leave(&bytes, &bytes[..40_000]);
    world
        .server
        .fail(1, "GET", "/cdn/", Fault::LaterRange(10_000));
    complete(&mut world, &bytes);
    let asked = [Some("bytes=40000-".to_owned()), None];
    assert_eq!(ranges(&world), asked);
}

/// The ETag of a file that git keeps itself is its name there, a SHA-1.
#[test]
fn damage_of_a_small_file_is_noticed() {
    let mut world = World::new();
    let config = br#"{"model_type": "vit"}"#;
    world.server.add(
        "models/them/vit",
        "main",
        &[("config.json", config), ("model.safetensors", b"small")],
    );
    world.server.fail(1, "GET", "config.json", Fault::Damaged);
    let wanted = git_name(config);
    refused(
        world.model("them/vit", ModelPart::Settings),
        &["config.json", "damaged", &wanted, "again"],
    );
    let folder = world
        .model("them/vit", ModelPart::Settings)
        .expect("a model");
    assert_eq!(read(&folder, "config.json"), config);
}

/// As a disk that was full leaves it; one that is meant to be empty stays.
#[test]
fn an_emptied_file_of_the_cache_is_loaded_again() {
    let (mut world, bytes) = world();
    world
        .server
        .add(PETS, "main", &[(FILE, &bytes), ("empty.parquet", b"")]);
    complete(&mut world, &bytes);
    let blob = world.pets().join("blobs").join(sha256(&bytes));
    fs::write(&blob, "").unwrap();
    world.server.forget();
    complete(&mut world, &bytes);
    assert_eq!(fs::read(&blob).unwrap(), bytes);
    assert_eq!(world.server.asked("GET", "empty.parquet").len(), 0);
    // So is one that was cut, when another commit shows it.
    fs::write(&blob, &bytes[..10]).unwrap();
    world
        .server
        .add(PETS, "main", &[(FILE, &bytes), ("notes.parquet", b"new")]);
    complete(&mut world, &bytes);
}

#[test]
fn a_server_that_is_busy_is_asked_again_a_few_times() {
    let (mut world, bytes) = world();
    world
        .server
        .fail(2, "GET", "/api/", Fault::Status(503, vec![]));
    world
        .server
        .fail(1, "HEAD", FILE, Fault::Status(502, vec![]));
    world
        .server
        .fail(2, "GET", "/cdn/", Fault::Status(500, vec![]));
    complete(&mut world, &bytes);
    assert_eq!(world.server.asked("GET", "/api/").len(), 3);

    let (mut world, _) = self::world();
    world
        .server
        .fail(99, "GET", "/api/", Fault::Status(503, vec![]));
    refused(
        world.dataset("them/pets"),
        &["503 (as planned), 5 times", "in some minutes"],
    );
    assert_eq!(world.server.asked("GET", "/api/").len(), 5);
}

#[test]
fn a_hub_that_asks_to_wait_is_waited_for() {
    let (mut world, bytes) = world();
    let wait = |seconds| Fault::Status(429, vec![("Retry-After", seconds)]);
    world.server.fail(1, "GET", "/api/", wait("1"));
    let limits = vec![("RateLimit", "\"resolvers\";r=0;t=1")];
    world
        .server
        .fail(1, "HEAD", FILE, Fault::Status(429, limits));
    let start = Instant::now();
    complete(&mut world, &bytes);
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    assert!(waited < Duration::from_secs(20), "{waited:?}");

    // Not for as long as it likes.
    let (mut world, _) = self::world();
    world.server.fail(99, "GET", "/api/", wait("4000"));
    let start = Instant::now();
    refused(
        world.dataset("them/pets"),
        &["too many requests", "429", "wait 4000 s", "HF_TOKEN"],
    );
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(world.server.asked("GET", "/api/").len(), 1);

    // Nor where that is longer than can be counted.
    let (mut world, _) = self::world();
    world.server.fail(1, "GET", "/api/", wait("1"));
    world
        .server
        .fail(99, "GET", "/api/", wait("18446744073709551615"));
    refused(
        world.dataset("them/pets"),
        &["too many requests", "wait 18446744073709551615 s"],
    );
    assert_eq!(world.server.asked("GET", "/api/").len(), 2);
}

#[test]
fn limits_are_honoured_that_only_the_hub_words_so() {
    let (mut world, bytes) = world();
    let limits = vec![("RateLimit", "\"api\";r=0;t=1")];
    world
        .server
        .fail(2, "GET", "/api/", Fault::Status(429, limits));
    let start = Instant::now();
    complete(&mut world, &bytes);
    assert!(start.elapsed() >= Duration::from_secs(1));
    // Once by hf-hub, once for the limit it does not read, once when the time is over.
    assert_eq!(world.server.asked("GET", "/api/").len(), 3);
}

#[test]
fn an_address_that_is_good_for_get_alone_is_got() {
    let (mut world, bytes) = world();
    world
        .server
        .fail(99, "HEAD", "/cdn/", Fault::Status(403, vec![]));
    complete(&mut world, &bytes);
}

#[test]
fn nobody_there_is_no_hub() {
    let (mut world, _) = world();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    world.settings.endpoint = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    refused(
        world.dataset("them/pets"),
        &[
            "no folder of this name",
            "cannot be reached",
            "refused",
            "HTTPS_PROXY",
            "HF_ENDPOINT",
        ],
    );
    world.settings.endpoint = "http://hub.invalid".into(); // RFC 2606: never anybody's
    refused(
        world.dataset("them/pets"),
        &["http://hub.invalid cannot be reached"],
    );
}

#[test]
fn a_page_in_place_of_an_answer_is_no_hub() {
    let (mut world, _) = world();
    world.server.fail(1, "GET", "/api/", Fault::Page);
    refused(
        world.dataset("them/pets"),
        &["JSON that is not what the hub's is like", "HF_ENDPOINT"],
    );
}

#[test]
fn two_who_want_the_same_file_load_it_once() {
    let (world, bytes) = world();
    let load = || {
        let id = vitcuda::hub::Id::parse("them/pets").unwrap();
        let found = world
            .hub()
            .dataset(&id, Ok, &mut |_| {})
            .expect("a data set");
        assert_eq!(read(&found.folder, FILE), bytes);
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(load);
        }
    });
    assert_eq!(world.server.asked("GET", "/cdn/").len(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    let (mut world, bytes) = world();
    let incomplete = world.incomplete(&bytes);
    fs::create_dir_all(incomplete.parent().unwrap()).unwrap();
    // The device whose every write ends as on a full disk.
    std::os::unix::fs::symlink("/dev/full", &incomplete).unwrap();
    refused(
        world.dataset("them/pets"),
        &["the disk is full", "HF_HOME", "another disk"],
    );
}

#[test]
fn a_cache_that_cannot_be_written_is_told() {
    let (mut world, _) = world();
    fs::write(&world.settings.cache, "no folder").unwrap();
    refused(
        world.dataset("them/pets"),
        &["the cache cannot be written", "HF_HOME"],
    );
}
