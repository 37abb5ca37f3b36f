//! Data sets of the hub, as Parquet files.

use std::collections::BTreeMap;

use super::asked::DatasetFiles;
use super::repository::{Kind, Listing, Repository};
use super::{Hub, Id, Listener, Transfer, Unlisted};
use crate::error::{Error, Result};

/// The revision in which the hub keeps, as Parquet files, data sets that have none of their own.
pub const CONVERTED: &str = "refs/convert/parquet";

impl Hub {
    /// The Parquet files of a data set: those of the revision, or, of a data set without any, of the
    /// hub's own conversion of `main`. `choose` says which of them are wanted.
    ///
    /// [`Error::Data`] where there are no Parquet files, [`Error::Hub`] for whatever keeps them from
    /// being loaded, and what `choose` reports.
    pub fn dataset(
        &self,
        id: &Id,
        choose: impl FnOnce(Vec<String>) -> Result<Vec<String>>,
        listener: &mut dyn Listener,
    ) -> Result<DatasetFiles> {
        let repository = Repository::of(Kind::Dataset, id);
        let mut revision = id.revision();
        let mut listing = self.list(&repository, revision, listener);
        let mut files = parquet_files(&listing);
        let may_be_converted = matches!(listing, Ok(_) | Err(Unlisted::NotCached));
        if files.is_empty() && id.revision.is_none() && may_be_converted {
            let converted = self.list(&repository, CONVERTED, listener);
            listing = match converted {
                Err(Unlisted::Failed(failure)) if failure.is_absence() => {
                    return Err(no_parquet(id));
                }
                Err(Unlisted::NotCached) => listing,
                converted => {
                    revision = CONVERTED;
                    converted
                }
            };
            files = parquet_files(&listing);
        }
        let listing = listing.map_err(|unlisted| self.explain(&repository, revision, unlisted))?;
        if files.is_empty() {
            return Err(no_parquet(id));
        }
        if files.iter().any(|file| file.contains("/partial-")) {
            listener.transfer(Transfer::Notice(format!(
                "{id}: the hub's conversion to Parquet holds only the first part of this data set"
            )));
        }
        let files = choose(files)?;
        if let Some(lacking) = lacking(&files) {
            return Err(self.not_cached(&repository, &lacking));
        }
        let folder = self.fetch(&repository, revision, &listing, &files, listener)?;
        Ok(DatasetFiles { folder, files })
    }
}

fn parquet_files(listing: &Result<Listing, Unlisted>) -> Vec<String> {
    let files = listing.iter().flat_map(|listing| &listing.files);
    let is_parquet = |path: &&String| path.to_lowercase().ends_with(".parquet");
    let mut paths: Vec<String> = files.filter(is_parquet).cloned().collect();
    paths.sort();
    paths
}

fn no_parquet(id: &Id) -> Error {
    let name = &id.name;
    let (problem, help) = match &id.revision {
        None => (
            "holds no Parquet files, and the hub has no conversion of it".to_owned(),
            format!(
                "if it holds image files, get it once with\n\
                 git clone https://huggingface.co/datasets/{name}\nand give the folder"
            ),
        ),
        Some(revision) => (
            format!("revision {revision} holds no Parquet files"),
            format!("the hub's own conversion of main is {name}@{CONVERTED}"),
        ),
    };
    Error::data(id.to_string(), problem, help)
}

/// What is not among `files` though their names say that there is more: of `PART-00000-of-00003`
/// there must be three. Python's tools may have stopped in the middle of loading them.
fn lacking(files: &[String]) -> Option<String> {
    let mut parts: BTreeMap<(&str, usize), usize> = BTreeMap::new();
    for file in files {
        let numbered = || {
            let (start, rest) = file.split_once("-of-")?;
            let (part, _) = start.rsplit_once('-')?;
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            Some((part, digits.parse().ok()?))
        };
        if let Some(part) = numbered() {
            *parts.entry(part).or_default() += 1;
        }
    }
    let short = parts.into_iter().find(|((_, count), found)| found < count);
    short.map(|((part, count), found)| {
        format!("a part ({} of the {count} files of {part})", count - found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_shards_is_noticed() {
        let files = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        };
        let whole = [
            "data/train-00000-of-00002-0d0.parquet",
            "data/train-00001-of-00002-1f1.parquet",
            "data/test-00000-of-00001.parquet",
            "0000.parquet",
        ];
        assert_eq!(lacking(&files(&whole)), None);
        let said = lacking(&files(&whole[1..])).expect("one is lacking");
        assert_eq!(said, "a part (1 of the 2 files of data/train)");
    }
}
