//! The process starts again with the emulator first on the library path.
#![allow(dead_code)] // each test binary uses its own part

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use libtest_mimic::{Arguments, Failed, Trial};
use vitcuda::device::{ElementType, Gpu};

#[path = "../../emulator/tests/common/counters.rs"]
pub mod counters;
#[path = "../../emulator/tests/common/first.rs"]
mod first;

/// The emulated GPUs, by architecture.
#[derive(Debug, Clone, Copy)]
pub struct Devices {
    architectures: &'static [&'static str],
}

/// Plays `architectures`, as devices 0, 1…; returns in a process that sees them.
pub fn start(architectures: &'static [&'static str]) -> Devices {
    let own = std::env::current_exe().expect("a running test has a path");
    let target = own.ancestors().nth(3).expect("target/profile/deps/test");
    // SAFETY: no other thread yet.
    unsafe {
        if !first::is_first() {
            if vitcuda::device::cuda::probe().is_ok() {
                set_unless_set(REAL_GPU, Path::new("1"));
            }
            if let Some(nvrtc) = std::env::var_os("VITCUDA_NVRTC") {
                set_unless_set(REAL_NVRTC, Path::new(&nvrtc));
            }
        }
        // Memory that is gone or changed before its copy was made is an error.
        set_unless_set("VITCUDA_EMULATOR_PAGEABLE", Path::new("late"));
        set_unless_set("VITCUDA_EMULATE", Path::new(&architectures.join(",")));
        set_unless_set("VITCUDA_EMULATOR_CACHE", &target.join("emulator-cache"));
        set_unless_set("VITCUDA_CACHE", &cache());
    }
    first::stand_first();
    Devices { architectures }
}

/// Set when the machine has a GPU of its own, which the emulator is about to hide.
const REAL_GPU: &str = "VITCUDA_REAL_GPU";
/// What `VITCUDA_NVRTC` was, for that GPU.
const REAL_NVRTC: &str = "VITCUDA_REAL_NVRTC";

/// Under this variable the emulator's NVRTC refuses every text: no slip has that name.
pub const UNKNOWN_MUTATION: (&str, &str) = ("VITCUDA_EMULATOR_MUTATION", "of-no-record");
/// What it says then.
pub const REFUSED: &str =
    "VITCUDA_EMULATOR_MUTATION is `of-no-record`, which emulator/mutations.txt does not have";

/// `doctor --full` on the machine's own GPU; ignored where there is none.
pub fn real_gpu() -> Trial {
    let there = std::env::var_os(REAL_GPU).is_some();
    let label = if there {
        "a real GPU passes doctor --full"
    } else {
        "a real GPU passes doctor --full [needs a GPU, absent]"
    };
    let test = || {
        let path = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
        let (_emulator, path) = path.split_once(':').unwrap_or_default();
        let said = Command::new(env!("CARGO_BIN_EXE_vitcuda"))
            .args(["doctor", "--full", "--device", "cuda"])
            .env("LD_LIBRARY_PATH", path)
            .env(
                "VITCUDA_NVRTC",
                std::env::var_os(REAL_NVRTC).unwrap_or_default(),
            )
            .env_remove("VITCUDA_CACHE")
            .output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        println!("{}", text(&said.stdout));
        if said.status.success() {
            Ok(())
        } else {
            Err(text(&said.stderr).into())
        }
    };
    Trial::test(label, test).with_ignored_flag(!there)
}

/// Cubins of this run: what the emulator keeps itself is enough between runs.
fn cache() -> PathBuf {
    std::env::temp_dir().join(format!("vitcuda-kernels-{}", std::process::id()))
}

/// Runs the tests, one by one: the counters are the process's.
pub fn run(trials: Vec<Trial>) -> ! {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let conclusion = libtest_mimic::run(&arguments, trials);
    let _ = std::fs::remove_dir_all(cache());
    conclusion.exit()
}

/// # Safety
/// No other thread reads or writes the environment.
unsafe fn set_unless_set(name: &str, value: &Path) {
    if std::env::var_os(name).is_none() {
        // SAFETY: the caller's promise.
        unsafe { std::env::set_var(name, value) };
    }
}

impl Devices {
    /// A test on one of the GPUs.
    pub fn trial(
        self,
        name: String,
        (architecture, element): (&'static str, ElementType),
        test: impl FnOnce(&Gpu) -> Result<(), Failed> + Send + 'static,
    ) -> Trial {
        first::trial(name, move || test(self.gpu(architecture, element)?))
    }

    /// Opened once; a failed kernel leaves the whole process without a device, as on a GPU, so the
    /// first failure is the one to look at.
    fn gpu(self, architecture: &str, element: ElementType) -> Result<&'static Gpu, Failed> {
        static F16: [OnceLock<Gpu>; 6] = [const { OnceLock::new() }; 6];
        static BF16: [OnceLock<Gpu>; 6] = [const { OnceLock::new() }; 6];
        let ordinal = self.architectures.iter().position(|a| *a == architecture);
        let ordinal = ordinal.expect("one of those that are played");
        let slots = match element {
            ElementType::F16 => &F16,
            ElementType::Bf16 => &BF16,
        };
        if slots[ordinal].get().is_none() {
            let gpu = Gpu::open(ordinal, element)?;
            return Ok(slots[ordinal].get_or_init(|| gpu));
        }
        Ok(slots[ordinal].get().expect("set above"))
    }
}

/// Kernels that start from now on run blocks, warps and threads in the order that `seed` draws.
/// The GPU is idle.
pub fn set_seed(seed: usize) {
    // SAFETY: the emulator reads it when a kernel starts, and none does now; tests run one by one.
    unsafe { std::env::set_var("VITCUDA_EMULATOR_SEED", seed.to_string()) };
}

/// Forgets a failed kernel; a GPU would stay lost to the process.
pub fn reset_device() {
    // SAFETY: the signature is the emulator's.
    unsafe {
        let driver = libloading::Library::new("libcuda.so").expect("the emulator stands first");
        let reset: libloading::Symbol<unsafe extern "C" fn()> =
            driver.get("vitcudaEmulatorReset").expect("exported");
        reset();
    }
}

/// Other programs take `bytes` of each GPU's memory when it is next asked what is free.
pub fn take_memory(bytes: u64) {
    // SAFETY: tests run one by one, and nobody asks now.
    unsafe { std::env::set_var("VITCUDA_EMULATOR_MEMORY_TAKEN", bytes.to_string()) };
}
