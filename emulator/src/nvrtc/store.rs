//! Compiled texts on disk, in `VITCUDA_EMULATOR_CACHE`: compiling takes longer than most tests.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::real::{Compiled, Source, nvrtc};

/// Compiles, or finds what was compiled before. Refusals are not kept.
pub fn compile(source: &Source, options: &[String]) -> Result<Compiled, String> {
    let nvrtc = nvrtc()?;
    let path = path(source, options, nvrtc.version);
    if let Some(found) = path.as_ref().and_then(|path| std::fs::read(path).ok()) {
        let (log, ptx) = split(&found);
        return Ok(Compiled {
            result: Ok(ptx),
            log,
        });
    }
    let compiled = nvrtc.compile(source, options)?;
    if let (Some(path), Ok(ptx)) = (path, &compiled.result) {
        keep(&path, &compiled.log, ptx);
    }
    Ok(compiled)
}

/// Named by everything that the result depends on.
fn path(source: &Source, options: &[String], version: (u32, u32)) -> Option<PathBuf> {
    let folder = std::env::var_os("VITCUDA_EMULATOR_CACHE")?;
    let version = format!("{version:?}");
    let mut hash = 0x6C62_272E_07BB_0142_62B8_2175_6295_C58Du128;
    let headers = source.headers.iter().flat_map(|(name, text)| [name, text]);
    let parts = [&version, &source.name, &source.text]
        .into_iter()
        .chain(headers)
        .chain(options);
    // FNV-1a of 128 bits, with the parts' lengths between them.
    for part in parts {
        let length = part.len().to_le_bytes();
        for byte in part.bytes().chain(length) {
            hash =
                (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B);
        }
    }
    Some(PathBuf::from(folder).join(format!("{hash:032x}.ptx")))
}

/// The log's length, the log, the PTX. Written beside and renamed: another process may read now.
fn keep(path: &std::path::Path, log: &str, ptx: &[u8]) {
    let mut all = (log.len() as u64).to_le_bytes().to_vec();
    all.extend(log.as_bytes());
    all.extend(ptx);
    // Threads of this process may compile one text at once.
    static WRITERS: AtomicU64 = AtomicU64::new(0);
    let own = WRITERS.fetch_add(1, Ordering::Relaxed);
    let partial = path.with_extension(format!("{}-{own}", std::process::id()));
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let written = folder
        .and_then(|()| std::fs::write(&partial, all))
        .and_then(|()| std::fs::rename(&partial, path));
    if let Err(error) = written {
        crate::report::say(&format!("{} cannot be kept: {error}", path.display()));
    }
}

fn split(found: &[u8]) -> (String, Vec<u8>) {
    let length = found
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes)) as usize;
    let rest = found.get(8..).unwrap_or_default();
    let (log, ptx) = rest.split_at(length.min(rest.len()));
    (String::from_utf8_lossy(log).into_owned(), ptx.to_vec())
}

#[cfg(test)]
mod tests {
    use super::{keep, split};

    #[test]
    fn threads_may_keep_one_text_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.ptx");
        let texts: Vec<String> = (0..8).map(|i| format!("{i}").repeat(1 << 20)).collect();
        std::thread::scope(|scope| {
            for text in &texts {
                scope.spawn(|| (0..8).for_each(|_| keep(&path, "log", text.as_bytes())));
            }
        });
        let (log, ptx) = split(&std::fs::read(&path).unwrap());
        assert_eq!(log, "log");
        assert!(texts.iter().any(|text| text.as_bytes() == ptx));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
