//! Parquet files that pyarrow wrote.

use std::collections::BTreeSet;

use libtest_mimic::{Failed, Trial};
use vitcuda::data::source::{Part, open_part};
use vitcuda::data::{Columns, Source};

use super::{script, with_python};

pub fn trials() -> Vec<Trial> {
    vec![with_python("pyarrow's files are read row by row", layouts)]
}

fn layouts() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    script("make_parquet.py", [folder.path()])?;
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder.path())? {
        let path = entry?.path();
        let set = open_part(&Source::find(&path, &Columns::default())?, Part::Train)?;
        assert_eq!(set.classes, ["c", "a", "b"], "{}", path.display());
        assert_eq!(set.dataset.len(), 40);
        for row in 0..40 {
            let pixels = set.dataset.image(row)?.pixels;
            assert_eq!(pixels, [row as u8, 0, 0], "{}", path.display());
            assert_eq!(set.dataset.label(row) as usize, row % 3);
        }
        names.insert(path);
    }
    assert_eq!(names.len(), 6);
    Ok(())
}
