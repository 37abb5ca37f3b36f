//! Where people have `libnvrtc`.

use std::collections::HashSet;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::Nvrtc;
use crate::device::target::target;
use crate::error::{Error, Result};

const NAMED: &str = "VITCUDA_NVRTC";
const LOADER: &str = "the loader's path";
const TOOLKIT: &str = "a CUDA toolkit";
const CONDA: &str = "CONDA_PREFIX";
const PYTHON: &str = "Python's packages";

/// What an NVRTC must be good for; anything, by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// CUDA version of the driver: cubins of a newer major version do not load.
    pub driver: Option<(u32, u32)>,
    /// Compute capability of the GPU, (major, minor).
    pub capability: Option<(u32, u32)>,
}

/// A library that may be one, and what led to it.
type Candidate = (PathBuf, &'static str);

/// The newest usable NVRTC of all places: `VITCUDA_NVRTC` (a file, or the folder with it) and nothing
/// else where that is set; else the loader's path, CUDA's toolkits (`CUDA_HOME`, `CUDA_PATH`,
/// `/usr/local`), `CONDA_PREFIX`, and what Python packages (`nvidia-cuda-nvrtc`) brought, in the
/// environment at hand and in the places of the system.
///
/// [`Error::Device`] that lists what was found and why it does not do.
pub fn find(wanted: Wanted) -> Result<Nvrtc> {
    let named = env::var_os(NAMED).filter(|value| !value.is_empty());
    let candidates = match &named {
        Some(named) => named_library(named)?,
        None => everywhere(),
    };
    let mut refused = Vec::new();
    let usable = candidates
        .into_iter()
        .filter_map(|candidate| try_out(candidate, wanted, &mut refused));
    // Of equal ones the first: `max_by_key` takes the last.
    if let Some(newest) = usable.reduce(|a, b| if b.version > a.version { b } else { a }) {
        return Ok(newest);
    }
    let problem = match (named, refused.is_empty()) {
        (Some(_), _) => format!("{NAMED}: {}", refused.join("; ")),
        (None, true) => {
            "NVRTC (libnvrtc), which compiles the kernels, was not found: not on the loader's path, not \
             in a CUDA toolkit, not in CONDA_PREFIX, not among Python's packages"
                .to_owned()
        }
        (None, false) => format!("no usable NVRTC (libnvrtc): {}", refused.join("; ")),
    };
    Err(Error::device(problem, help(wanted)))
}

/// Opens the library at `path`.
///
/// [`Error::Device`] where it is no NVRTC or too old a one.
pub fn open(path: &Path) -> Result<Nvrtc> {
    Nvrtc::open(path, NAMED).map_err(|why| {
        Error::device(
            format!("{}: {why}", path.display()),
            help(Wanted::default()),
        )
    })
}

/// The package of Python that brings an NVRTC for a driver of this version, as pip takes it.
///
/// Never one newer than the driver. Within a major version a newer one's cubins do load by NVIDIA's
/// promise of minor version compatibility, "with limited feature-set"; this one needs no promise.
pub fn package((major, minor): (u32, u32)) -> String {
    let name = match major {
        ..=12 => "nvidia-cuda-nvrtc-cu12",
        _ => "nvidia-cuda-nvrtc",
    };
    // Below the next minor version rather than equal to this: there are drivers (12.7) whose version
    // no toolkit has.
    format!("\"{name}<{major}.{}\"", minor + 1)
}

fn help(wanted: Wanted) -> String {
    let install = match wanted.driver {
        Some(driver) => format!("pip install {}", package(driver)),
        None => "pip install nvidia-cuda-nvrtc-cu12 for a driver before 580, nvidia-cuda-nvrtc from 580 on".into(),
    };
    format!("{install} (no toolkit is needed), or let {NAMED} name the library")
}

fn named_library(named: &OsString) -> Result<Vec<Candidate>> {
    let path = Path::new(named);
    let libraries = if path.is_dir() {
        libraries_in(path)
    } else {
        vec![path.to_owned()]
    };
    if libraries.is_empty() {
        return Err(Error::device(
            format!("{NAMED}: no libnvrtc in {}", path.display()),
            "let it name the file, or the folder that holds it",
        ));
    }
    Ok(of(NAMED, libraries))
}

/// Each file once, under the name by which it was found first.
fn everywhere() -> Vec<Candidate> {
    let mut found = of(LOADER, loader_names());
    found.extend(of(TOOLKIT, in_folders(toolkits())));
    found.extend(of(CONDA, in_folders(conda())));
    found.extend(of(PYTHON, in_folders(python_packages())));
    let mut seen = HashSet::new();
    found.retain(|(path, _)| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
    found
}

fn of(origin: &'static str, paths: impl IntoIterator<Item = PathBuf>) -> Vec<Candidate> {
    paths.into_iter().map(|path| (path, origin)).collect()
}

/// Opens a candidate; why it does not do goes to `refused`.
fn try_out((path, origin): Candidate, wanted: Wanted, refused: &mut Vec<String>) -> Option<Nvrtc> {
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
    let capability @ (major, minor) = wanted.capability?;
    match target(&nvrtc.architectures, capability) {
        Some(_) => None,
        None => Some(format!("does not know sm_{major}{minor}")),
    }
}

fn loader_names() -> Vec<PathBuf> {
    let names: &[&str] = if cfg!(windows) {
        &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"]
    } else {
        &["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"]
    };
    names.iter().map(PathBuf::from).collect()
}

/// Folders with libraries of CUDA's toolkits: the named ones, and those in the usual place.
fn toolkits() -> Vec<PathBuf> {
    let named = ["CUDA_HOME", "CUDA_PATH"]
        .into_iter()
        .filter_map(env::var_os);
    let is_toolkit = |folder: &PathBuf| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        name == "cuda" || name.starts_with("cuda-")
    };
    let usual = folders_in(Path::new("/usr/local"))
        .into_iter()
        .filter(is_toolkit);
    let roots = named.map(PathBuf::from).chain(usual);
    roots
        .flat_map(|root| {
            let own = ["lib64", "lib", "bin"].map(|folder| root.join(folder));
            own.into_iter().chain(targets(&root))
        })
        .collect()
}

fn conda() -> Vec<PathBuf> {
    let root = env::var_os("CONDA_PREFIX").map(PathBuf::from);
    root.map_or(Vec::new(), |root| {
        let mut folders = vec![root.join("lib")];
        folders.extend(targets(&root));
        folders
    })
}

/// `targets/*/lib`, such as `targets/x86_64-linux/lib`.
fn targets(root: &Path) -> Vec<PathBuf> {
    let targets = folders_in(&root.join("targets")).into_iter();
    targets.map(|target| target.join("lib")).collect()
}

/// Folders with libraries of the packages `nvidia-…`.
fn python_packages() -> Vec<PathBuf> {
    let environments = ["VIRTUAL_ENV", "CONDA_PREFIX"];
    let environments = environments.into_iter().filter_map(env::var_os);
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".local"));
    let roots = environments
        .map(PathBuf::from)
        .chain(home)
        .chain(["/usr/local".into(), "/usr".into()]);
    let packages = python_path()
        .iter()
        .cloned()
        .chain(roots.flat_map(|root| packages_under(&root)));
    packages
        .flat_map(|packages| folders_in(&packages.join("nvidia")))
        .flat_map(|package| [package.join("lib"), package.join("bin")])
        .collect()
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

/// Where the `python3` of the command line looks for packages; asked once, since it takes time.
fn python_path() -> &'static [PathBuf] {
    static PATH: OnceLock<Vec<PathBuf>> = OnceLock::new();
    PATH.get_or_init(|| {
        let asked = Command::new(if cfg!(windows) { "python" } else { "python3" })
            .args(["-c", "import sys; print('\\n'.join(sys.path))"])
            .output();
        let text = asked.map_or(String::new(), |said| {
            String::from_utf8_lossy(&said.stdout).into_owned()
        });
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(PathBuf::from).collect()
    })
}

fn in_folders(folders: Vec<PathBuf>) -> impl Iterator<Item = PathBuf> {
    folders.into_iter().flat_map(|folder| libraries_in(&folder))
}

/// Folders in `folder`, the greatest name first; none where it cannot be read.
fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = entries(folder);
    found.retain(|path| path.is_dir());
    found
}

/// The NVRTC libraries in `folder`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_never_newer_than_the_driver() {
        assert_eq!(package((12, 0)), "\"nvidia-cuda-nvrtc-cu12<12.1\"");
        assert_eq!(package((12, 9)), "\"nvidia-cuda-nvrtc-cu12<12.10\"");
        assert_eq!(package((13, 0)), "\"nvidia-cuda-nvrtc<13.1\"");
    }
}
