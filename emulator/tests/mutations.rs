//! The list of mutations is in order, and fits today's kernels. `scripts/mutate.sh` tries them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

#[path = "../src/nvrtc/mutation.rs"]
mod mutation;

use mutation::Mutation;

fn all() -> Vec<Mutation> {
    mutation::all().expect("the list is in order")
}

fn kernels() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels")
}

#[test]
fn each_applies_once_and_changes_its_file() {
    let mut wrong = Vec::new();
    for mutation in all() {
        let path = kernels().join(&mutation.file);
        let text = std::fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        match mutation.applied_to(&text) {
            Ok(changed) if changed != text => {}
            Ok(_) => wrong.push(format!("`{}` changes nothing", mutation.name)),
            Err(refused) => wrong.push(refused),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_two_are_the_same_and_each_has_its_tests() {
    let list = all();
    let (mut names, mut changes) = (HashSet::new(), HashSet::new());
    for mutation in &list {
        let name = &mutation.name;
        assert!(names.insert(name), "`{name}` is the name of two");
        let change = (&mutation.file, &mutation.find, &mutation.replacement);
        assert!(changes.insert(change), "`{name}` is another one again");
        assert!(!mutation.tests.is_empty(), "`{name}` has no test");
        let reason = mutation.equivalent.as_deref();
        assert!(reason.is_none_or(|why| why.len() > 20), "why is `{name}`?");
    }
    assert!(list.len() >= 150, "{} are fewer than 150", list.len());
}

#[test]
fn every_file_of_kernels_is_covered() {
    let covered: HashSet<String> = all().into_iter().map(|one| one.file).collect();
    for entry in std::fs::read_dir(kernels()).expect("the folder of the kernels") {
        let name = entry.expect("a readable folder").file_name();
        let name = name.into_string().expect("ASCII");
        assert!(covered.contains(&name), "no mutation of {name}");
    }
}
