//! The device layer on an emulated GPU: captures, copies under the work, compiled kernels on disk,
//! and what a person is told when something is wrong.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use vitcuda::Error;
use vitcuda::device::cache::Cache;
use vitcuda::device::kernels::{ColumnSum, LayerNormForward};
use vitcuda::device::{ElementType, Geometry, Gpu, Kernel, Specialisation, Timing};
use vitcuda::ops::column_sum::{self, Partials};
use vitcuda::ops::gemm::Accumulate;
use vitcuda::ops::layer_norm::gpu::forward;
use vitcuda::ops::rows::Rows;

use super::emulated::{Devices, counters, reset_device};

type Test = fn(&Gpu) -> Result<(), Failed>;

pub fn trials(devices: Devices) -> Vec<Trial> {
    let tests: [(&str, Test); 13] = [
        ("a captured step runs without the host waiting", capture),
        (
            "a wait in a capture is refused, and the stream goes on",
            wait_in_capture,
        ),
        (
            "input is copied under the work, and not overwritten",
            pinned,
        ),
        ("events tell the time", timing),
        (
            "sums of squares and accumulation of column sums",
            column_sums,
        ),
        ("compiled kernels are found again", cache_hit),
        ("a damaged cache entry is made anew", damaged_entry),
        (
            "a cache that cannot be written is a notice",
            unwritable_cache,
        ),
        ("NVRTC's refusal is shown and reported", refused_kernel),
        ("memory that is not there is asked for", out_of_memory),
        ("too much shared memory is refused", too_much_shared_memory),
        ("VITCUDA_NVRTC that leads nowhere is named", nvrtc_nowhere),
        (
            "a kernel that goes astray is reported by the next wait",
            astray,
        ),
    ];
    let device = ("sm_80", ElementType::F16);
    let tests = tests.into_iter();
    tests
        .map(|(name, test)| devices.trial(format!("device: {name}"), device, test))
        .collect()
}

/// Layer norm of rows of 8, ready to be issued.
struct Norm<'a> {
    gpu: &'a Gpu,
    x: vitcuda::device::Buffer<f32>,
    y: vitcuda::device::Buffer<vitcuda::device::Element>,
    statistics: vitcuda::device::Buffer<f32>,
    weights: vitcuda::device::Buffer<f32>,
}

const WIDTH: usize = 8;

impl<'a> Norm<'a> {
    fn new(gpu: &'a Gpu, x: &[f32]) -> Result<Self, Error> {
        let rows = x.len() / WIDTH;
        Ok(Self {
            gpu,
            x: gpu.upload(x)?,
            y: gpu.alloc(x.len())?,
            statistics: gpu.alloc(2 * rows)?,
            weights: gpu.upload(&[[1.0; WIDTH], [0.0; WIDTH]].concat())?,
        })
    }

    fn issue(&self) -> Result<(), Error> {
        let rows = self.x.len() / WIDTH;
        let (mean, rstd) = (
            self.statistics.slice(0..rows),
            self.statistics.slice(rows..2 * rows),
        );
        let (w, b) = (
            self.weights.slice(0..WIDTH),
            self.weights.slice(WIDTH..2 * WIDTH),
        );
        let x = Rows::packed(self.x.all(), WIDTH);
        forward(self.gpu, self.y.all(), mean, rstd, x, w, b, 1e-6)
    }

    fn y(&self) -> Result<Vec<f32>, Error> {
        self.gpu.read_elements(self.y.all())
    }
}

/// ±`size`, so that the norm is ±1.
fn row(size: f32) -> Vec<f32> {
    (0..WIDTH)
        .map(|i| if i % 2 == 0 { size } else { -size })
        .collect()
}

fn capture(gpu: &Gpu) -> Result<(), Failed> {
    let norm = Norm::new(gpu, &row(3.0))?;
    norm.issue()?;
    gpu.zero(norm.y.all())?;
    let graph = gpu.capture(|| norm.issue())?;
    assert_eq!(norm.y()?, [0.0; WIDTH], "a capture runs nothing");
    counters::reset_counters();
    for _ in 0..3 {
        // SAFETY: the buffers of `norm` are alive.
        unsafe { graph.launch()? };
    }
    assert_eq!(counters::host_synchronisations(), 0);
    assert_eq!(norm.y()?, row(1.0));
    let launches = counters::counters(LayerNormForward::NAME).launches;
    assert_eq!(launches, 3);
    Ok(())
}

fn wait_in_capture(gpu: &Gpu) -> Result<(), Failed> {
    let norm = Norm::new(gpu, &row(3.0))?;
    norm.issue()?;
    let refused = gpu.capture(|| {
        norm.issue()?;
        gpu.synchronise()
    });
    let error = refused.expect_err("the driver refuses a wait");
    assert_eq!(error.exit_code(), 5);
    norm.issue()?;
    assert_eq!(norm.y()?, row(1.0));
    Ok(())
}

fn pinned(gpu: &Gpu) -> Result<(), Failed> {
    let norm = Norm::new(gpu, &row(3.0))?;
    // The other stream knows nothing of this one's copies.
    gpu.synchronise()?;
    let copies = gpu.side_stream()?;
    let mut input = gpu.pinned(WIDTH)?;
    let mut output = gpu.pinned(2 * WIDTH)?;
    input.values()?.copy_from_slice(&row(5.0));
    copies.upload(norm.x.all(), &mut input)?;
    gpu.main().wait(&copies.record(Timing::Off)?)?;
    assert!(input.is_busy()?, "nobody has waited for the copy");
    norm.issue()?;
    copies.wait(&gpu.main().record(Timing::Off)?)?;
    copies.download(&mut output, WIDTH..2 * WIDTH, norm.x.all())?;
    // Waits for the copy, so that the new values cannot be what is copied.
    input.values()?.fill(0.0);
    assert_eq!(output.values()?[..WIDTH], [0.0; WIDTH]);
    assert_eq!(output.values()?[WIDTH..], row(5.0));
    assert_eq!(norm.y()?, row(1.0));
    Ok(())
}

fn timing(gpu: &Gpu) -> Result<(), Failed> {
    let norm = Norm::new(gpu, &row(3.0))?;
    let start = gpu.main().record(Timing::On)?;
    norm.issue()?;
    let end = gpu.main().record(Timing::On)?;
    end.synchronise()?;
    assert!(start.has_happened()? && end.has_happened()?);
    let milliseconds = end.milliseconds_since(&start)?;
    assert!(
        milliseconds > 0.0 && milliseconds < 60_000.0,
        "{milliseconds} ms"
    );
    Ok(())
}

fn column_sums(gpu: &Gpu) -> Result<(), Failed> {
    let (parts, stride, columns) = (21, 100, 10..77);
    let values: Vec<f32> = (0..parts * stride).map(|i| (i * 7 % 13) as f32).collect();
    let expected: Vec<f32> = columns
        .clone()
        .map(|c| (0..parts).map(|p| values[p * stride + c]).sum())
        .collect();
    let values = gpu.upload(&values)?;
    let partials = Partials::new(values.all(), parts, stride).columns(columns.clone());
    let gradient = gpu.alloc(columns.len())?;
    let squares = gpu.alloc(column_sum::squares(columns.len()))?;
    for (accumulate, factor) in [(Accumulate::Overwrite, 1.0), (Accumulate::Add, 2.0)] {
        let slot = Some(squares.all());
        column_sum::finish(gpu, gradient.all(), slot, partials, accumulate)?;
        // Whole numbers: every order of adding is exact.
        let sums: Vec<f32> = expected.iter().map(|sum| factor * sum).collect();
        assert_eq!(gpu.read(gradient.all())?, sums);
        let square: f32 = sums.iter().map(|sum| sum * sum).sum();
        assert_eq!(gpu.read(squares.all())?.iter().sum::<f32>(), square);
    }
    Ok(())
}

/// Another [`Gpu`] of the same device, with its compiled kernels in `folder`.
fn open(gpu: &Gpu, folder: &Path) -> Result<Gpu, Error> {
    Gpu::open_with(gpu.ordinal(), ElementType::F16, Cache::at(folder))
}

/// The cheapest kernel, in a specialisation of a test's own.
fn own(value: i64) -> Specialisation {
    ColumnSum::specialise(&[("OF_A_TEST", value)])
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| entry.expect("readable").path())
        .collect()
}

/// What the emulator's NVRTC says then.
const NO_COMPILER: &str = "the emulator needs a C++ compiler";

/// Makes every compilation fail while it lives: the emulator's NVRTC finds no compiler.
struct NoCompiler {
    cache: Option<std::ffi::OsString>,
}

impl NoCompiler {
    fn new() -> Self {
        let cache = std::env::var_os("VITCUDA_EMULATOR_CACHE");
        // SAFETY: tests run one by one, and no kernel is being compiled.
        unsafe {
            std::env::set_var("VITCUDA_EMULATOR_CXX", "/nowhere/c++");
            std::env::remove_var("VITCUDA_EMULATOR_CACHE");
        }
        Self { cache }
    }
}

impl Drop for NoCompiler {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe {
            std::env::remove_var("VITCUDA_EMULATOR_CXX");
            if let Some(cache) = &self.cache {
                std::env::set_var("VITCUDA_EMULATOR_CACHE", cache);
            }
        }
    }
}

fn cache_hit(gpu: &Gpu) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    open(gpu, folder.path())?.prepare(&[own(1)])?;
    assert_eq!(entries(folder.path()).len(), 1);
    let _nothing_compiles = NoCompiler::new();
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
    let _nothing_compiles = NoCompiler::new();
    let error = open(gpu, folder.path())?.prepare(&[own(3)]);
    let error = error.expect_err("there is no compiler");
    assert_eq!(error.exit_code(), 5);
    let text = error.to_string();
    for part in [
        "cannot compile column_sum.cu OF_A_TEST=3",
        "sm_80",
        NO_COMPILER,
    ] {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    let reports = entries(folder.path());
    assert_eq!(reports.len(), 1);
    let help = error.help().expect("it says where the report is");
    assert!(help.contains(&reports[0].display().to_string()), "{help}");
    let report = fs::read_to_string(&reports[0])?;
    for part in [
        "--gpu-architecture=sm_80",
        NO_COMPILER,
        "column_sum(float* gradient",
    ] {
        assert!(report.contains(part), "`{part}` is not in the report");
    }
    Ok(())
}

fn out_of_memory(gpu: &Gpu) -> Result<(), Failed> {
    let error = gpu.alloc::<f32>(1 << 40).expect_err("4 TiB");
    assert_eq!(error.exit_code(), 6);
    assert!(error.to_string().contains("4398046511104 bytes"), "{error}");
    assert!(error.help().is_some());
    gpu.upload(&[1.0f32])?;
    Ok(())
}

fn too_much_shared_memory(gpu: &Gpu) -> Result<(), Failed> {
    let one = gpu.zeros::<f32>(1)?;
    let kernel = ColumnSum {
        gradient: one.all().ptr(),
        squares: None.into(),
        partials: one.all().ptr(),
        parts: 1,
        stride: 1,
        columns: 1,
        accumulate: 0,
    };
    let limit = gpu.properties().shared_per_block as usize;
    let launch = |bytes| {
        let geometry = Geometry::line(1, 256).shared(bytes);
        // SAFETY: one part of one column.
        unsafe { gpu.launch(&kernel, &column_sum::specialisation(), geometry) }
    };
    let error = launch(limit + 16).expect_err("more than there is");
    assert!(error.to_string().contains("column_sum"), "{error}");
    // Beside the kernel's static shared memory.
    launch(limit / 2)?;
    gpu.synchronise()?;
    Ok(())
}

fn nvrtc_nowhere(gpu: &Gpu) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let wrong = folder.path().join("libnvrtc.so");
    fs::write(&wrong, "not a library")?;
    let empty = tempfile::tempdir()?;
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
        unsafe { std::env::remove_var("VITCUDA_NVRTC") };
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

fn astray(gpu: &Gpu) -> Result<(), Failed> {
    let norm = Norm::new(gpu, &row(3.0))?;
    let kernel = LayerNormForward {
        y: norm.y.all().ptr(),
        mean: norm.statistics.all().ptr(),
        rstd: norm.statistics.slice(1..2).ptr(),
        x: norm.x.all().ptr(),
        w: norm.weights.all().ptr(),
        b: norm.weights.slice(WIDTH..2 * WIDTH).ptr(),
        rows: 1_000_000,
        x_stride: WIDTH as i32,
        eps: 1e-6,
    };
    let spec = LayerNormForward::specialise(&[("WIDTH", 8), ("VECTOR", 4), ("TEAM", 1)]);
    // SAFETY: it is not safe, and the emulator sees to it that nothing comes of it.
    unsafe { gpu.launch(&kernel, &spec, Geometry::line(100, 128))? };
    let error = gpu.synchronise().expect_err("999,999 rows too many");
    reset_device();
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().contains("illegal"), "{error}");
    norm.issue()?;
    assert_eq!(norm.y()?, row(1.0));
    Ok(())
}
