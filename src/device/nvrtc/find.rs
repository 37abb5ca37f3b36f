//! Where people have `libnvrtc`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Nvrtc;
use crate::error::{Error, Result};

const LOADER: &str = "the loader's path";

/// What an NVRTC must be good for; anything, by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// CUDA version of the driver: cubins of a newer major version do not load.
    pub driver: Option<(u32, u32)>,
    /// Compute capability of the GPU, (major, minor).
    pub capability: Option<(u32, u32)>,
}

/// Looks for a usable NVRTC: `VITCUDA_NVRTC` (a file, or the folder with it) and nothing else where
/// that is set; then the loader's path, `CUDA_HOME` and `CUDA_PATH`, and what Python packages
/// (`nvidia-cuda-nvrtc`) brought, in the environment at hand and in the places of the system.
///
/// [`Error::Device`] that lists what was found and why it does not do.
pub fn find(wanted: Wanted) -> Result<Nvrtc> {
    let mut refused = Vec::new();
    if let Some(named) = env::var_os("VITCUDA_NVRTC").filter(|value| !value.is_empty()) {
        let candidates = match Path::new(&named).is_dir() {
            true => libraries_in(Path::new(&named)),
            false => vec![named.clone().into()],
        };
        let found = first_usable(candidates, "VITCUDA_NVRTC", wanted, &mut refused);
        return found.ok_or_else(|| match refused.is_empty() {
            true => Error::device(
                format!("VITCUDA_NVRTC: no libnvrtc in {}", named.display()),
                "let it name the file, or the folder that holds it",
            ),
            false => Error::device(
                format!("VITCUDA_NVRTC: {}", refused.join("; ")),
                help(wanted),
            ),
        });
    }
    // Later places are looked at only when the earlier ones have nothing: asking Python takes time.
    let mut usable = |candidates, origin| first_usable(candidates, origin, wanted, &mut refused);
    let found = usable(loader_names(), LOADER)
        .or_else(|| usable(toolkit(), "CUDA_HOME"))
        .or_else(|| usable(python_packages(), "Python's packages"));
    if let Some(found) = found {
        return Ok(found);
    }
    let problem = match refused.is_empty() {
        true => "NVRTC (libnvrtc), which compiles the kernels, was not found: not on the loader's path, not \
                 in CUDA_HOME, not among Python's packages"
            .to_owned(),
        false => format!("no usable NVRTC (libnvrtc): {}", refused.join("; ")),
    };
    Err(Error::device(problem, help(wanted)))
}

fn help(wanted: Wanted) -> String {
    let package = match wanted.driver {
        Some((..=12, _)) => "nvidia-cuda-nvrtc-cu12",
        _ => "nvidia-cuda-nvrtc",
    };
    format!("pip install {package} (no toolkit is needed), or let VITCUDA_NVRTC name the library")
}

fn first_usable(
    candidates: Vec<PathBuf>,
    origin: &'static str,
    wanted: Wanted,
    refused: &mut Vec<String>,
) -> Option<Nvrtc> {
    candidates.into_iter().find_map(|path| {
        let fit = Nvrtc::open(&path, origin).and_then(|nvrtc| {
            let (major, minor) = nvrtc.version;
            match unfit(&nvrtc, wanted) {
                None => Ok(nvrtc),
                Some(why) => Err(format!("version {major}.{minor} {why}")),
            }
        });
        match fit {
            Ok(nvrtc) => Some(nvrtc),
            // A name that the loader does not know is no library that was found.
            Err(_) if origin == LOADER && !known(&path) => None,
            Err(why) => {
                refused.push(format!("{}: {why}", path.display()));
                None
            }
        }
    })
}

/// Whether the loader can open `name` at all.
fn known(name: &Path) -> bool {
    // SAFETY: it was opened a moment ago, or there is nothing to open.
    unsafe { libloading::Library::new(name) }.is_ok()
}

/// Why cubins of `nvrtc` would be of no use.
fn unfit(nvrtc: &Nvrtc, wanted: Wanted) -> Option<String> {
    if let Some((major, minor)) = wanted.driver
        && nvrtc.version.0 > major
    {
        return Some(format!(
            "is newer than the driver, which understands CUDA {major}.{minor}"
        ));
    }
    let (major, minor) = wanted.capability?;
    // A cubin runs on later devices of the same major number.
    let runs = |arch: &u32| arch / 10 == major && arch % 10 <= minor;
    let known = &nvrtc.architectures;
    (!known.is_empty() && !known.iter().any(runs))
        .then(|| format!("does not know sm_{major}{minor}"))
}

fn loader_names() -> Vec<PathBuf> {
    let names: &[&str] = match cfg!(windows) {
        true => &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"],
        false => &["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"],
    };
    names.iter().map(PathBuf::from).collect()
}

fn toolkit() -> Vec<PathBuf> {
    let named = ["CUDA_HOME", "CUDA_PATH"]
        .into_iter()
        .filter_map(env::var_os);
    let roots = named.map(PathBuf::from).chain(["/usr/local/cuda".into()]);
    roots
        .flat_map(|root| ["lib64", "lib", "bin"].map(|folder| root.join(folder)))
        .flat_map(|folder| libraries_in(&folder))
        .collect()
}

fn python_packages() -> Vec<PathBuf> {
    let environments = ["VIRTUAL_ENV", "CONDA_PREFIX"];
    let environments = environments.into_iter().filter_map(env::var_os);
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".local"));
    let roots = environments
        .map(PathBuf::from)
        .chain(home)
        .chain(["/usr/local".into(), "/usr".into()]);
    let mut folders: Vec<PathBuf> = roots.flat_map(|root| packages_under(&root)).collect();
    folders.splice(0..0, python_path());
    let mut found: Vec<PathBuf> = folders
        .iter()
        .flat_map(|packages| folders_in(&packages.join("nvidia")))
        .flat_map(|package| [package.join("lib"), package.join("bin")])
        .flat_map(|folder| libraries_in(&folder))
        .collect();
    let mut seen = std::collections::HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    found
}

/// `lib/python3.*/{site,dist}-packages` of an environment, newest Python first.
fn packages_under(root: &Path) -> Vec<PathBuf> {
    let is_python = |folder: &PathBuf| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("python3")
    };
    let pythons = folders_in(&root.join("lib")).into_iter().filter(is_python);
    pythons
        .flat_map(|python| ["site-packages", "dist-packages"].map(|name| python.join(name)))
        .collect()
}

/// Where the `python3` of the command line looks for packages.
fn python_path() -> Vec<PathBuf> {
    let asked = Command::new(if cfg!(windows) { "python" } else { "python3" })
        .args(["-c", "import sys; print('\\n'.join(sys.path))"])
        .output();
    let text = asked.map_or(String::new(), |said| {
        String::from_utf8_lossy(&said.stdout).into_owned()
    });
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(PathBuf::from).collect()
}

/// Folders in `folder`, the greatest name first; none where it cannot be read.
fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = entries(folder);
    found.retain(|path| path.is_dir());
    found
}

/// The NVRTC libraries in `folder`, the newest first.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = entries(folder);
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let unix = name.starts_with("libnvrtc.so");
        let windows = name.starts_with("nvrtc64_") && name.ends_with(".dll");
        unix || windows && !name.contains("alt")
    });
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    found.sort();
    found.reverse();
    found
}
