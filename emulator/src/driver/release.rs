//! Which release of the driver is played (`VITCUDA_EMULATOR_DRIVER`), and what an older one lacks.

use std::sync::OnceLock;

use super::refuse;
use crate::status::{Result, Status};

/// A branch of NVIDIA's driver.
#[derive(Debug)]
pub struct Release {
    pub branch: u32,
    /// The CUDA version that it understands: (major, minor).
    pub cuda: (u32, u32),
    /// The newest PTX that its compiler takes.
    ptx: (u32, u32),
}

const fn release(branch: u32, cuda: (u32, u32), ptx: (u32, u32)) -> Release {
    Release { branch, cuda, ptx }
}

/// Oldest first. CUDA 12.6 brought no new PTX.
const RELEASES: [Release; 10] = [
    release(525, (12, 0), (8, 0)),
    release(535, (12, 2), (8, 2)),
    release(545, (12, 3), (8, 3)),
    release(550, (12, 4), (8, 4)),
    release(555, (12, 5), (8, 5)),
    release(560, (12, 6), (8, 5)),
    release(565, (12, 7), (8, 6)),
    release(570, (12, 8), (8, 7)),
    release(575, (12, 9), (8, 8)),
    release(580, (13, 0), (9, 0)),
];
const DEFAULT: &str = "580";

/// What came after CUDA 12.0, and with which version, of the functions that the emulator exports.
const ADDED: [(&str, (u32, u32)); 11] = [
    ("cuCtxSetFlags", (12, 1)),
    ("cuMemAdvise_v2", (12, 2)),
    ("cuMemPrefetchAsync_v2", (12, 2)),
    ("cuFuncGetName", (12, 3)),
    ("cuModuleGetFunctionCount", (12, 4)),
    ("cuModuleEnumerateFunctions", (12, 4)),
    ("cuFuncGetParamInfo", (12, 4)),
    ("cuFuncIsLoaded", (12, 4)),
    ("cuFuncLoad", (12, 4)),
    ("cuCtxCreate_v4", (12, 5)),
    ("cuEventElapsedTime_v2", (12, 8)),
];

/// Lazy loading is the default from here on (on Linux).
const LAZY_SINCE: (u32, u32) = (12, 2);

/// The release that is played; `None`, said once, when the variable names none.
pub fn played() -> Option<&'static Release> {
    static PLAYED: OnceLock<Option<&'static Release>> = OnceLock::new();
    *PLAYED.get_or_init(|| {
        let wanted = std::env::var("VITCUDA_EMULATOR_DRIVER").unwrap_or_else(|_| DEFAULT.into());
        let found = RELEASES.iter().find(|one| one.branch.to_string() == wanted);
        if found.is_none() {
            let known = RELEASES.map(|one| one.branch.to_string()).join(", ");
            crate::report::say(&format!(
                "VITCUDA_EMULATOR_DRIVER: `{wanted}` is none of {known}"
            ));
        }
        found
    })
}

/// [`played`] for a call that cannot do without.
pub fn wanted() -> Result<&'static Release> {
    played().ok_or(Status::ERROR_INVALID_VALUE)
}

/// Whether the release that is played has the function `symbol` of ours.
pub fn has(symbol: &str) -> bool {
    played().is_none_or(|release| release.cuda >= since(symbol))
}

/// The CUDA version that brought the function `symbol` of ours; 12.0 for all older ones.
pub fn since(symbol: &str) -> (u32, u32) {
    let added = ADDED.iter().find(|(name, _)| *name == symbol);
    added.map_or((12, 0), |&(_, version)| version)
}

/// Names of our functions that the release lacks.
pub fn absent() -> impl Iterator<Item = &'static str> {
    ADDED
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !has(name))
}

/// The oldest branch that knows GPUs of `arch`; 0 where all that are played do.
pub fn oldest_for(arch: u32) -> u32 {
    match arch {
        100.. => 570,
        _ => 0,
    }
}

/// Whether functions are loaded when they are first used and not with their module.
pub fn loads_lazily() -> bool {
    match std::env::var("CUDA_MODULE_LOADING").as_deref() {
        Ok("EAGER") => false,
        Ok("LAZY") => true,
        _ => played().is_some_and(|release| release.cuda >= LAZY_SINCE),
    }
}

/// Whether the driver loads cubins of this NVRTC: those of its own CUDA major version or an older
/// one. The text says why not.
pub fn accepts_nvrtc(major: u32, minor: u32) -> Result<(), String> {
    let Some(release) = played() else {
        return Err("no driver is played".into());
    };
    if major <= release.cuda.0 {
        return Ok(());
    }
    Err(format!(
        "the cubin was made by NVRTC {major}.{minor}; {} takes cubins of CUDA {}.x and older",
        release.name(),
        release.cuda.0
    ))
}

/// Whether the driver compiles PTX of this version. The text says why not.
pub fn accepts_ptx(major: u32, minor: u32) -> Result<(), String> {
    let Some(release) = played() else {
        return Err("no driver is played".into());
    };
    if (major, minor) <= release.ptx {
        return Ok(());
    }
    let (known_major, known_minor) = release.ptx;
    Err(format!(
        "the module is PTX {major}.{minor}; {} takes PTX up to {known_major}.{known_minor}",
        release.name()
    ))
}

impl Release {
    /// For messages.
    fn name(&self) -> String {
        let (major, minor) = self.cuda;
        format!("driver {} (CUDA {major}.{minor})", self.branch)
    }

    /// As `cuDriverGetVersion` gives it.
    pub fn number(&self) -> u32 {
        self.cuda.0 * 1000 + self.cuda.1 * 10
    }
}

/// Refuses an image that the driver is too old for.
pub fn refuse_newer(judged: Result<(), String>, status: Status) -> Result<()> {
    judged.or_else(|text| refuse(status, format!("cuModuleLoadData: {text}")))
}
