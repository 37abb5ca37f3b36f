//! The device layer on an emulated GPU: captures, copies under the work, and what a person is told
//! when something is wrong.

use libtest_mimic::{Failed, Trial};
use vitcuda::Error;
use vitcuda::device::kernels::{ColumnSum, LayerNormForward};
use vitcuda::device::{ElementType, Geometry, Gpu, Kernel, Launch, Timing};
use vitcuda::ops::column_sum::{self, Partials};
use vitcuda::ops::gemm::Accumulate;
use vitcuda::ops::layer_norm::gpu::forward;
use vitcuda::ops::rows::Rows;

use super::emulated::{Devices, counters, reset_device};

type Test = fn(&Gpu) -> Result<(), Failed>;

pub fn trials(devices: Devices) -> Vec<Trial> {
    let tests: [(&str, Test); 9] = [
        ("a captured step runs without the host waiting", capture),
        (
            "a wait in a capture is refused, and the stream goes on",
            wait_in_capture,
        ),
        (
            "a capture looks no kernel up, and asks for no shared memory",
            prepared_for_a_capture,
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
        ("memory that is not there is asked for", out_of_memory),
        ("too much shared memory is refused", too_much_shared_memory),
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

/// The sum of one part of one column, with `shared` bytes that it does not need.
fn one_column(
    gpu: &Gpu,
    value: &vitcuda::device::Buffer<f32>,
    launch: &Launch,
) -> Result<(), Error> {
    let kernel = ColumnSum {
        gradient: value.all().ptr(),
        squares: None.into(),
        partials: value.all().ptr(),
        parts: 1,
        stride: 1,
        columns: 1,
        accumulate: 0,
    };
    // SAFETY: one part of one column.
    unsafe { gpu.launch(&kernel, &launch.spec, launch.geometry) }
}

fn prepared_for_a_capture(gpu: &Gpu) -> Result<(), Failed> {
    let value = gpu.zeros::<f32>(1)?;
    let small = Launch {
        spec: ColumnSum::specialise(&[("OF_A_CAPTURE", 1)]),
        kernel: ColumnSum::NAME,
        geometry: Geometry::line(1, 256),
    };
    let large = Launch {
        geometry: Geometry::line(1, 256).shared(50 << 10),
        ..small.clone()
    };
    for launch in [&small, &large] {
        let refused = gpu.capture(|| one_column(gpu, &value, launch));
        let error = refused.expect_err("neither compiled nor looked up with so much shared memory");
        let text = error.to_string();
        assert!(
            text.contains("column_sum") && text.contains("not prepared before"),
            "{text}"
        );
        gpu.prepare(std::slice::from_ref(launch))?;
        gpu.capture(|| one_column(gpu, &value, launch))?;
    }
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
    let limit = gpu.properties().shared_per_block as usize;
    let launch = |bytes: usize| {
        let launch = Launch {
            spec: column_sum::specialisation(),
            kernel: ColumnSum::NAME,
            geometry: Geometry::line(1, 256).shared(bytes),
        };
        one_column(gpu, &one, &launch)
    };
    let error = launch(limit + 16).expect_err("more than there is");
    assert!(error.to_string().contains("column_sum"), "{error}");
    // Beside the kernel's static shared memory.
    launch(limit / 2)?;
    gpu.synchronise()?;
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
