//! What is worth saying once a day.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use vitcuda::device::cache::Cache;

/// Whether `text` was not said to this user on this machine today; from now on it was. Where that
/// cannot be kept, it is said each time.
pub fn today(text: &str) -> bool {
    let Some(file) = file() else {
        return true;
    };
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH);
    let day = seconds.map_or(0, |since| since.as_secs() / 86_400);
    let stamp = format!("{day} {text}");
    let was_said = fs::read_to_string(&file).is_ok_and(|said| said == stamp);
    if !was_said {
        let folder = file.parent().map(fs::create_dir_all);
        if let Some(Ok(())) = folder {
            let _ = fs::write(&file, stamp);
        }
    }
    !was_said
}

/// Beside the compiled kernels; a home may be shared by machines.
fn file() -> Option<PathBuf> {
    let kernels = Cache::of_this_user();
    let folder = kernels.folder()?.parent()?.to_owned();
    Some(folder.join(format!("said-on-{}", machine())))
}

#[cfg(unix)]
fn machine() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: the call writes at most the length it is given, the last byte of which stays zero.
    let status = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(0);
    match status {
        0 => String::from_utf8_lossy(&name[..end]).replace('/', "-"),
        _ => String::new(),
    }
}

#[cfg(not(unix))]
fn machine() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}
