//! Images, tables of images, tables beside images.

use std::fs;
use std::path::Path;

use vitcuda::data::decode::decode;
use vitcuda::data::{Columns, DataSpec, Source, source};

use super::write;
use crate::{Input, make};

/// Rows whose images are read.
const ROWS: usize = 4;

pub fn image(input: &Input, _: &Path) -> bool {
    decode(&input.bytes).is_ok()
}

pub fn parquet(input: &Input, folder: &Path) -> bool {
    let path = write(folder, "train.parquet", input);
    dataset(&path)
}

/// Opens what lies at `path` in every way, and reads some of its images; whether it is a data set.
fn dataset(path: &Path) -> bool {
    let Ok(found) = Source::find(path, &Columns::default()) else {
        return false;
    };
    let _ = source::open_unlabelled(std::slice::from_ref(&found));
    let Ok(contents) = found.contents() else {
        return false;
    };
    for split in &contents.splits {
        for row in 0..split.dataset.len().min(ROWS) {
            let _ = split.dataset.image(row);
            split.dataset.name(row);
        }
    }
    let _ = source::open(&DataSpec::new(found));
    true
}

/// A folder as `save_to_disk` leaves it, of a train and a test part.
pub fn prepare_arrow(folder: &Path) {
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(name), bytes).expect("the folder takes files");
    };
    for part in ["train", "test"] {
        fs::create_dir(folder.join(part)).expect("a folder");
        write(&format!("{part}/dataset_info.json"), b"{}");
        write(
            &format!("{part}/state.json"),
            make::arrow::state().as_bytes(),
        );
        write(&format!("{part}/data.arrow"), &make::arrow::small());
    }
    write(
        "dataset_dict.json",
        make::arrow::parts().to_string().as_bytes(),
    );
}

/// The end of the input's name says which file of the folder it is; afterwards the old one is there.
pub fn arrow(input: &Input, folder: &Path) -> bool {
    let files = ["dataset_dict.json", "train/state.json", "train/data.arrow"];
    let is_called = |file: &&&str| input.name.ends_with(file.trim_start_matches("train/"));
    let file = files.iter().find(is_called).unwrap_or(&files[2]);
    let before = fs::read(folder.join(file)).expect("it was prepared");
    let path = write(folder, file, input);
    let accepted = dataset(folder);
    if file.ends_with(".arrow") {
        dataset(&path);
    }
    fs::write(&path, before).expect("the folder takes files");
    accepted
}

/// A folder of images, and one with parts, of which the one for training lacks its table.
pub fn prepare_metadata(folder: &Path) {
    let image = vitcuda::data::digits::image(0).to_png();
    for part in ["whole", "parts/train", "parts/test"] {
        let folder = folder.join(part);
        fs::create_dir_all(&folder).expect("a folder");
        for name in ["a.png", "b.png"] {
            fs::write(folder.join(name), &image).expect("the folder takes files");
        }
    }
    let table = "file_name,label\na.png,cat\nb.png,dog\n";
    fs::write(folder.join("parts/test/metadata.csv"), table).expect("the folder takes files");
}

/// The input's name says whether it is the table of the whole folder or of the part for training.
pub fn metadata(input: &Input, folder: &Path) -> bool {
    let (root, part) = if input.name.contains("train.") {
        ("parts", "parts/train")
    } else {
        ("whole", "whole")
    };
    let ending = input.name.rsplit('.').next().unwrap_or("csv");
    let path = write(folder, &format!("{part}/metadata.{ending}"), input);
    let accepted = dataset(&folder.join(root));
    fs::remove_file(&path).expect("it was written");
    accepted
}

/// Lines of manifests may name images inside Parquet files.
pub fn prepare_manifest(folder: &Path) {
    let file = make::parquet::small();
    fs::write(folder.join("x.parquet"), file).expect("the folder takes files");
}

/// The end of the input's name says how it is written.
pub fn manifest(input: &Input, folder: &Path) -> bool {
    let ending = input.name.rsplit('.').next().unwrap_or("csv");
    let path = write(folder, &format!("images.{ending}"), input);
    let found = Source::find(&path, &Columns::default()).expect("a file of this name");
    let _ = source::open_unlabelled(std::slice::from_ref(&found));
    let accepted = source::open(&DataSpec::new(found)).is_ok();
    let _ = fs::remove_file(&path);
    accepted
}
