//! Names of repositories.

use std::fmt;

/// `OWNER/NAME`, or `OWNER/NAME@REVISION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id {
    /// `OWNER/NAME`.
    pub name: String,
    /// A branch, tag, commit or reference (`refs/pr/1`); [`MAIN`] where none is named.
    pub revision: Option<String>,
}

/// The revision of those who name none.
pub const MAIN: &str = "main";

/// Endings by which a name is a file's and no repository's.
const FILES: [&str; 11] = [
    "jpg", "jpeg", "png", "gif", "bmp", "webp", "parquet", "csv", "tsv", "jsonl", "json",
];

impl Id {
    /// Reads an id by the hub's rules for names; `None` for whatever cannot be one: no or several
    /// slashes in the name, other characters than letters, digits, `-`, `_` and `.`, or the ending of
    /// a file that holds images.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, revision) = match text.split_once('@') {
            Some((name, revision)) => (name, Some(revision)),
            None => (text, None),
        };
        let (owner, repository) = name.split_once('/')?;
        let ending = repository.rsplit_once('.').map(|(_, ending)| ending);
        let is_file = ending.is_some_and(|e| FILES.contains(&e.to_lowercase().as_str()));
        let sound = is_part(owner) && is_part(repository) && !is_file;
        let sound = sound && revision.is_none_or(is_revision);
        sound.then(|| Self {
            name: name.to_owned(),
            revision: revision.map(str::to_owned),
        })
    }

    /// The revision that is meant.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// The part after the owner.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

fn is_part(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=96).contains(&part.len())
        && part.chars().all(allowed)
        && !part.starts_with(['-', '.'])
        && !part.ends_with(['-', '.'])
        && !part.contains("--")
        && !part.contains("..")
}

fn is_revision(revision: &str) -> bool {
    let allowed = |c: char| c.is_ascii_graphic() && !"@?#%\\~^:*[".contains(c);
    !revision.is_empty() && revision.chars().all(allowed) && is_safe(revision)
}

/// Whether `path` stays below the folder it is joined to.
pub(super) fn is_safe(path: &str) -> bool {
    path.split('/')
        .all(|part| !part.is_empty() && part != "." && part != "..")
        && !path.contains(['\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        for (text, name, revision) in [
            ("microsoft/cats_vs_dogs", "microsoft/cats_vs_dogs", "main"),
            (
                "google/vit-base-patch16-224-in21k@v1.0",
                "google/vit-base-patch16-224-in21k",
                "v1.0",
            ),
            ("a/b@refs/convert/parquet", "a/b", "refs/convert/parquet"),
        ] {
            let id = Id::parse(text).expect(text);
            assert_eq!((id.name.as_str(), id.revision()), (name, revision));
            assert_eq!(id.to_string(), text);
        }
        for path in [
            "photos",
            "./photos",
            "../photos/cats",
            "/photos",
            "~/photos",
            "a/b/c",
            "photos/",
            "photos/cat.JPG",
            "data/train.parquet",
            "a b/c",
            "a/b@",
            "a/b@../c",
            "a/b@x y",
            "runs/digits--2",
            "",
        ] {
            assert_eq!(Id::parse(path), None, "{path}");
        }
    }
}
