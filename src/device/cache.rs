//! Compiled kernels on disk: the second start compiles nothing.
//!
//! An entry's name is the hash of all that its cubin depends on, and the entry repeats that text,
//! so that neither a change of a kernel nor two equal hashes can bring up a wrong one. A checksum
//! tells a damaged entry, which is then as good as none.

use std::env;
use std::fs;
use std::path::PathBuf;

use super::fnv::fnv1a;
use super::nvrtc::Compiled;
use crate::error::{Error, Result};
use crate::files;

/// First bytes of an entry; changes with its format.
const MAGIC: &[u8; 16] = b"vitcuda cubin 1\n";
/// Magic, three lengths.
const HEADER: usize = MAGIC.len() + 3 * 8;
const CHECKSUM: usize = size_of::<u128>();

/// The folder of the entries.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: Option<PathBuf>,
}

/// What the cache knows about a key.
#[derive(Debug)]
pub enum Found {
    Entry(Compiled),
    Nothing,
    /// The file, and what is wrong with it.
    Damaged(PathBuf, &'static str),
}

impl Cache {
    /// `kernels` in `VITCUDA_CACHE`, else in `$XDG_CACHE_HOME/vitcuda`, else in `~/.cache/vitcuda`.
    pub fn of_this_user() -> Self {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let root = set("VITCUDA_CACHE").map(PathBuf::from).or_else(|| {
            let base = set("XDG_CACHE_HOME").map(PathBuf::from);
            let home = || set("HOME").or_else(|| set("LOCALAPPDATA"));
            let base = base.or_else(|| Some(PathBuf::from(home()?).join(".cache")));
            Some(base?.join("vitcuda"))
        });
        Self {
            folder: root.map(|root| root.join("kernels")),
        }
    }

    /// In `folder`, which is made when it is needed.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: Some(folder.into()),
        }
    }

    /// Keeps nothing.
    pub fn none() -> Self {
        Self { folder: None }
    }

    /// Entries, and their bytes in all.
    pub fn size(&self) -> (usize, u64) {
        let folder = self.folder.iter().flat_map(fs::read_dir);
        let files = folder.flatten().flatten().filter_map(|entry| {
            let is_entry = entry.path().extension().is_some_and(|e| e == "cubin");
            is_entry.then(|| entry.metadata().map_or(0, |file| file.len()))
        });
        files.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size))
    }

    /// Where the entries are; `None` where there is no home to put them in.
    pub fn folder(&self) -> Option<&PathBuf> {
        self.folder.as_ref()
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        let name = format!("{:032x}.cubin", fnv1a(key.as_bytes()));
        Some(self.folder.as_ref()?.join(name))
    }

    /// The entry of `key`.
    pub fn read(&self, key: &str) -> Found {
        let Some(path) = self.path(key) else {
            return Found::Nothing;
        };
        let Ok(bytes) = fs::read(&path) else {
            return Found::Nothing;
        };
        match decode(&bytes, key) {
            Ok(Some(compiled)) => Found::Entry(compiled),
            Ok(None) => Found::Nothing,
            Err(what) => Found::Damaged(path, what),
        }
    }

    /// Keeps `compiled` for the next start.
    ///
    /// [`Error::Io`] where the folder cannot be made or written; nothing is lost but time.
    pub fn write(&self, key: &str, compiled: &Compiled) -> Result<()> {
        let Some(path) = self.path(key) else {
            return Ok(());
        };
        let folder = path.parent().expect("an entry lies in the folder");
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", e))?;
        files::write_atomically(&path, &encode(key, compiled))
    }
}

fn encode(key: &str, compiled: &Compiled) -> Vec<u8> {
    let parts = [key.as_bytes(), compiled.log.as_bytes(), &compiled.cubin];
    let mut bytes = MAGIC.to_vec();
    for part in parts {
        bytes.extend((part.len() as u64).to_le_bytes());
    }
    bytes.extend(parts.concat());
    bytes.extend(fnv1a(&bytes).to_le_bytes());
    bytes
}

/// `None` where the entry is another key's.
fn decode(bytes: &[u8], key: &str) -> Result<Option<Compiled>, &'static str> {
    if !bytes.starts_with(MAGIC) {
        return Err("it does not begin as a cubin of vitcuda");
    }
    if bytes.len() < HEADER + CHECKSUM {
        return Err("it is cut off");
    }
    let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    if fnv1a(content).to_le_bytes() != checksum {
        return Err("its checksum does not match");
    }
    let mut rest = &content[HEADER..];
    let mut part = |at: usize| {
        let length = content[MAGIC.len() + 8 * at..][..8].try_into();
        let length = u64::from_le_bytes(length.expect("eight bytes")) as usize;
        let (part, tail) = rest
            .split_at_checked(length)
            .ok_or("its lengths are wrong")?;
        rest = tail;
        Ok::<_, &'static str>(part)
    };
    let (found, log, cubin) = (part(0)?, part(1)?, part(2)?);
    Ok((found == key.as_bytes()).then(|| Compiled {
        cubin: cubin.to_vec(),
        log: String::from_utf8_lossy(log).into_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled() -> Compiled {
        Compiled {
            cubin: vec![1, 2, 3],
            log: "no spills".into(),
        }
    }

    fn cache(folder: &std::path::Path) -> Cache {
        Cache::at(folder.join("kernels"))
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        assert!(matches!(cache.read("a"), Found::Nothing));
        cache.write("a", &compiled()).unwrap();
        let Found::Entry(found) = cache.read("a") else {
            panic!("not found")
        };
        assert_eq!(
            (found.cubin, found.log),
            (vec![1, 2, 3], "no spills".into())
        );
        assert!(matches!(cache.read("b"), Found::Nothing));
    }

    #[test]
    fn an_entry_of_another_key_is_not_taken() {
        let entry = encode("a", &compiled());
        assert!(decode(&entry, "a").unwrap().is_some());
        assert!(decode(&entry, "b").unwrap().is_none());
    }

    #[test]
    fn every_damage_is_noticed() {
        let entry = encode("a", &compiled());
        for length in 0..entry.len() {
            assert!(decode(&entry[..length], "a").is_err(), "cut at {length}");
        }
        for at in 0..entry.len() {
            let mut entry = entry.clone();
            entry[at] ^= 1;
            assert!(decode(&entry, "a").is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kernels"), "a file").unwrap();
        let error = cache(folder.path()).write("a", &compiled()).unwrap_err();
        assert!(error.to_string().contains("kernels"), "{error}");
    }
}
