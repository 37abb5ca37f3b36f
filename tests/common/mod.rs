//! What the integration tests share: finding the reference data, and saying so when it is absent.
//!
//! Real photos, models and golden numbers are not part of the project. They are looked for in
//! `VITCUDA_SHARED` (default: `shared` beside the project). A test whose files are missing is
//! reported as ignored; with `VITCUDA_REQUIRE_SHARED=1`, as in CI, it fails instead.
#![allow(dead_code)] // each test binary uses its own part

pub mod dinov2;

use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

/// Where the reference data would be.
pub fn shared_dir() -> PathBuf {
    match std::env::var_os("VITCUDA_SHARED") {
        Some(dir) => dir.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
    }
}

/// A test that needs the file or folder `needs` of the reference data.
pub fn with_shared(
    name: &str,
    needs: &str,
    test: impl FnOnce(&Path) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let path = shared_dir().join(needs);
    let absent = !path.exists();
    let required = std::env::var_os("VITCUDA_REQUIRE_SHARED").is_some_and(|v| v == "1");
    let label = if absent {
        format!("{name} [needs {needs}, absent]")
    } else {
        name.to_owned()
    };
    Trial::test(label, move || {
        if absent {
            Err(format!("{} does not exist", path.display()).into())
        } else {
            test(&path)
        }
    })
    .with_ignored_flag(absent && !required)
}
