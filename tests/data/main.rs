//! The data path: decoding, resize, preprocessing, folders, splits, loading.

mod augment;
mod claims;
#[path = "../common/mod.rs"]
mod common;
mod decode;
mod folder;
mod jpeg;
mod layouts;
mod loader;
mod manifest;
mod parquet;
mod pictures;
mod preprocess;
mod resize;
mod split;
mod tables;

use libtest_mimic::{Arguments, Failed, Trial};

/// A test that needs no reference data.
fn plain(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test();
        Ok::<(), Failed>(())
    })
}

fn main() {
    let arguments = Arguments::from_args();
    let trials = [
        augment::trials(),
        claims::trials(),
        decode::trials(),
        folder::trials(),
        jpeg::trials(),
        layouts::trials(),
        loader::trials(),
        manifest::trials(),
        parquet::trials(),
        preprocess::trials(),
        resize::trials(),
        split::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}
