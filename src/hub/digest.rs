//! Digests of files: git-lfs names them by SHA-256, and git itself by SHA-1.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A digest that a file should have, as the hub tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// 64 hexadecimal digits, of the bytes.
    Sha256(String),
    /// 40 hexadecimal digits, of git's header and the bytes: git's name of a blob.
    Git(String),
}

impl Wanted {
    /// What the name of a blob, its ETag, says of the bytes. `linked`: it is that of a file that git-lfs
    /// keeps.
    pub fn by_name(etag: &str, linked: bool) -> Option<Self> {
        let is_hexadecimal = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        match (etag.len(), linked) {
            (64, true) if is_hexadecimal => Some(Self::Sha256(etag.to_ascii_lowercase())),
            (40, false) if is_hexadecimal => Some(Self::Git(etag.to_ascii_lowercase())),
            _ => None,
        }
    }

    /// The digest of the file at `path`, where it is another.
    pub fn differs(&self, path: &Path) -> io::Result<Option<Self>> {
        let found = match self {
            Self::Sha256(_) => Self::Sha256(sha256(path)?),
            Self::Git(_) => Self::Git(git_blob(path)?),
        };
        Ok((found != *self).then_some(found))
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sha256(digits) => write!(f, "SHA-256 {digits}"),
            Self::Git(digits) => write!(f, "git SHA-1 {digits}"),
        }
    }
}

/// The SHA-256 of the file at `path`, 64 hexadecimal digits.
pub(super) fn sha256(path: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    feed(path, |bytes| digest.update(bytes))?;
    Ok(hexadecimal(&digest.finalize()))
}

/// git's name of the file at `path` as a blob, 40 hexadecimal digits.
fn git_blob(path: &Path) -> io::Result<String> {
    let mut digest = Sha1::new();
    let length = path.metadata()?.len();
    digest.update(format!("blob {length}\0"));
    feed(path, |bytes| digest.update(bytes))?;
    Ok(hexadecimal(&digest.finalize()))
}

fn feed(path: &Path, mut to: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            n => to(&buffer[..n]),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `git hash-object` of a file with `hello` and a line's end.
    #[test]
    fn a_blob_has_the_name_that_git_gives_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello\n").unwrap();
        let name = "ce013625030ba8dba906f756967f9e9ca394464a";
        let wanted = Wanted::by_name(name, false).unwrap();
        assert_eq!(wanted.differs(file.path()).unwrap(), None);
        std::fs::write(file.path(), "hellO\n").unwrap();
        assert!(wanted.differs(file.path()).unwrap().is_some());
    }
}
