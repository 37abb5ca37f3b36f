//! Kernels on their way to the device: compiled, kept on disk, refused.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use vitcuda::Error;
use vitcuda::device::cache::Cache;
use vitcuda::device::kernels::ColumnSum;
use vitcuda::device::{ElementType, Geometry, Gpu, Kernel, Launch};

use super::emulated::{Devices, REFUSED, UNKNOWN_MUTATION};

type Test = fn(&Gpu) -> Result<(), Failed>;

pub fn trials(devices: Devices) -> Vec<Trial> {
    let tests: [(&str, Test); 5] = [
        ("compiled kernels are found again", cache_hit),
        ("a damaged cache entry is made anew", damaged_entry),
        (
            "a cache that cannot be written is a notice",
            unwritable_cache,
        ),
        ("NVRTC's refusal is shown and reported", refused_kernel),
        ("VITCUDA_NVRTC that leads nowhere is named", nvrtc_nowhere),
    ];
    let device = ("sm_80", ElementType::F16);
    let tests = tests.into_iter();
    tests
        .map(|(name, test)| devices.trial(format!("device: {name}"), device, test))
        .collect()
}

/// Another [`Gpu`] of the same device, with its compiled kernels in `folder`.
fn open(gpu: &Gpu, folder: &Path) -> Result<Gpu, Error> {
    Gpu::open_with(gpu.ordinal(), ElementType::F16, Cache::at(folder))
}

/// The cheapest kernel, in a specialisation of a test's own.
fn own(value: i64) -> Launch {
    Launch {
        spec: ColumnSum::specialise(&[("OF_A_TEST", value)]),
        kernel: ColumnSum::NAME,
        geometry: Geometry::line(1, 32),
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| entry.expect("readable").path())
        .collect()
}

/// Makes every compilation fail while it lives: the emulator's NVRTC is to make a slip that it does not
/// know.
struct NothingCompiles {
    /// The slip that `scripts/mutate.sh` is trying.
    mutation: Option<OsString>,
}

impl NothingCompiles {
    fn new() -> Self {
        let mutation = std::env::var_os(UNKNOWN_MUTATION.0);
        // SAFETY: tests run one by one, and no kernel is being compiled.
        unsafe { std::env::set_var(UNKNOWN_MUTATION.0, UNKNOWN_MUTATION.1) };
        Self { mutation }
    }
}

impl Drop for NothingCompiles {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe {
            match &self.mutation {
                Some(mutation) => std::env::set_var(UNKNOWN_MUTATION.0, mutation),
                None => std::env::remove_var(UNKNOWN_MUTATION.0),
            }
        }
    }
}

fn cache_hit(gpu: &Gpu) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    open(gpu, folder.path())?.prepare(&[own(1)])?;
    assert_eq!(entries(folder.path()).len(), 1);
    let _nothing_compiles = NothingCompiles::new();
    let gpu = open(gpu, folder.path())?;
    gpu.prepare(&[own(1)])?;
    assert!(gpu.prepare(&[own(2)]).is_err(), "this one is not there");
    assert!(gpu.compiler().take_notices().is_empty());
    Ok(())
}

fn damaged_entry(gpu: &Gpu) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    open(gpu, folder.path())?.prepare(&[own(1)])?;
    let entry = &entries(folder.path())[0];
    let whole = fs::read(entry)?;
    for damaged in [&whole[..whole.len() / 2], b"", b"something else altogether"] {
        fs::write(entry, damaged)?;
        let gpu = open(gpu, folder.path())?;
        gpu.prepare(&[own(1)])?;
        let notices = gpu.compiler().take_notices();
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert!(notices[0].contains("damaged"), "{notices:?}");
        assert_eq!(fs::read(entry)?.len(), whole.len(), "mended");
    }
    Ok(())
}

fn unwritable_cache(gpu: &Gpu) -> Result<(), Failed> {
    // A file where the folder should be: nobody can write there, not even root.
    let file = tempfile::NamedTempFile::new()?;
    let gpu = open(gpu, &file.path().join("kernels"))?;
    gpu.prepare(&[own(1), own(2)])?;
    let notices = gpu.compiler().take_notices();
    assert_eq!(notices.len(), 1, "once is enough: {notices:?}");
    assert!(notices[0].contains("VITCUDA_CACHE"), "{notices:?}");
    Ok(())
}

fn refused_kernel(gpu: &Gpu) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let _nothing_compiles = NothingCompiles::new();
    let error = open(gpu, folder.path())?.prepare(&[own(3)]);
    let error = error.expect_err("nothing compiles");
    assert_eq!(error.exit_code(), 5);
    let text = error.to_string();
    for part in ["cannot compile column_sum.cu OF_A_TEST=3", "sm_80", REFUSED] {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    let reports = entries(folder.path());
    assert_eq!(reports.len(), 1);
    let help = error.help().expect("it says where the report is");
    assert!(help.contains(&reports[0].display().to_string()), "{help}");
    let report = fs::read_to_string(&reports[0])?;
    for part in [
        "--gpu-architecture=sm_80",
        REFUSED,
        "column_sum(float* gradient",
    ] {
        assert!(report.contains(part), "`{part}` is not in the report");
    }
    Ok(())
}

fn nvrtc_nowhere(gpu: &Gpu) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let wrong = folder.path().join("libnvrtc.so");
    fs::write(&wrong, "not a library")?;
    let empty = tempfile::tempdir()?;
    let emulated = std::env::var_os("VITCUDA_NVRTC").ok_or("the emulator's is named")?;
    for (value, mentions) in [
        (wrong.as_path(), "libnvrtc.so"),
        (folder.path(), "libnvrtc.so"),
        (empty.path(), "no libnvrtc in"),
        (Path::new("/nowhere/libnvrtc.so"), "/nowhere"),
    ] {
        // SAFETY: tests run one by one.
        unsafe { std::env::set_var("VITCUDA_NVRTC", value) };
        let opened = open(gpu, empty.path());
        // SAFETY: as above.
        unsafe { std::env::set_var("VITCUDA_NVRTC", &emulated) };
        let error = opened.expect_err("no library there");
        assert_eq!(error.exit_code(), 5);
        let text = error.to_string();
        assert!(
            text.contains("VITCUDA_NVRTC") && text.contains(mentions),
            "{text}"
        );
        assert!(error.help().is_some());
    }
    Ok(())
}
