//! A launch, and the CPU threads that run its blocks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use super::block::Worker;
use super::failure::Failure;
use crate::counters::Counters;
use crate::module::Kernel;
use crate::status::Status;

/// A kernel with its geometry and arguments.
pub struct Launch {
    pub kernel: Arc<Kernel>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub arch: u32,
    /// As the kernel reads them: each at its parameter's offset.
    pub arguments: Vec<u8>,
}

impl Launch {
    pub fn threads(&self) -> usize {
        self.block.iter().product::<u32>() as usize
    }

    /// The pointers among the arguments, with their parameter's index.
    pub fn device_pointers(&self) -> impl Iterator<Item = (usize, usize)> {
        let parameters = self.kernel.program.parameters.iter().enumerate();
        parameters.filter(|(_, one)| one.pointer).map(|(i, one)| {
            let bytes = &self.arguments[one.offset as usize..][..8];
            (
                i,
                usize::from_ne_bytes(bytes.try_into().expect("eight bytes")),
            )
        })
    }
}

struct Job {
    launch: Arc<Launch>,
    seed: u64,
    blocks: u64,
    stride: u64,
    next: AtomicU64,
    failed: AtomicBool,
    result: Mutex<Outcome>,
    done: Condvar,
}

#[derive(Default)]
struct Outcome {
    counters: Counters,
    failure: Option<Failure>,
    workers_left: usize,
}

/// Runs the launch; waits until every block has finished or one has failed.
pub fn run(launch: &Arc<Launch>) -> Result<Counters, Failure> {
    let blocks = launch.grid.iter().map(|&n| n as u64).product::<u64>();
    let seed = std::env::var("VITCUDA_EMULATOR_SEED").ok();
    let seed: u64 = seed.and_then(|text| text.parse().ok()).unwrap_or(0);
    let workers = pool();
    let used = workers.len().min(blocks as usize);
    crate::memory::next_launch_tag();
    let start = std::time::Instant::now();
    let job = Arc::new(Job {
        launch: launch.clone(),
        seed,
        blocks,
        stride: coprime_stride(blocks, seed),
        next: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        result: Mutex::new(Outcome {
            workers_left: used,
            ..Outcome::default()
        }),
        done: Condvar::new(),
    });
    for worker in &workers[..used] {
        worker
            .send(job.clone())
            .expect("workers live as long as the process");
    }
    let mut outcome = job.result.lock().expect("workers do not panic");
    while outcome.workers_left > 0 {
        outcome = job.done.wait(outcome).expect("workers do not panic");
    }
    if let Some(failure) = outcome.failure.take() {
        return Err(failure);
    }
    outcome.counters.launches = 1;
    outcome.counters.nanoseconds = start.elapsed().as_nanos() as u64;
    Ok(outcome.counters)
}

/// Senders to the workers: `VITCUDA_EMULATOR_THREADS` of them, by default one a core.
fn pool() -> &'static [Sender<Arc<Job>>] {
    static POOL: OnceLock<Vec<Sender<Arc<Job>>>> = OnceLock::new();
    POOL.get_or_init(|| {
        let wanted = std::env::var("VITCUDA_EMULATOR_THREADS").ok();
        let count = wanted
            .and_then(|text| text.parse().ok())
            .filter(|&n: &usize| n > 0);
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        (0..count.unwrap_or_else(cores))
            .map(|_| {
                let (sender, jobs) = channel::<Arc<Job>>();
                std::thread::spawn(move || {
                    let mut worker = Worker::new();
                    jobs.iter().for_each(|job| work(&mut worker, &job));
                });
                sender
            })
            .collect()
    })
}

fn work(worker: &mut Worker, job: &Job) {
    let failure = contained(&job.launch.kernel.program.name, || blocks(worker, job));
    let failure = failure.unwrap_or_else(|failure| {
        *worker = Worker::new(); // whatever state the old one is in
        Some(failure)
    });
    if failure.is_some() {
        job.failed.store(true, Ordering::Relaxed);
    }
    let mut outcome = job.result.lock().expect("workers do not panic");
    outcome.counters.add(&worker.take_counters());
    if outcome.failure.is_none() {
        outcome.failure = failure;
    }
    outcome.workers_left -= 1;
    job.done.notify_one();
}

/// Runs blocks until none is left or one has failed.
fn blocks(worker: &mut Worker, job: &Job) -> Option<Failure> {
    let launch = &job.launch;
    worker.start_launch(launch);
    while !job.failed.load(Ordering::Relaxed) {
        let turn = job.next.fetch_add(1, Ordering::Relaxed);
        if turn >= job.blocks {
            break;
        }
        let linear = (turn as u128 * job.stride as u128 + job.seed as u128) % job.blocks as u128;
        let linear = linear as u64;
        let [x, y, _] = launch.grid.map(u64::from);
        let index = [linear % x, linear / x % y, linear / (x * y)].map(|i| i as u32);
        let seed = job
            .seed
            .wrapping_mul(0xD134_2543_DE82_EF95)
            .wrapping_add(linear);
        if let Err(failure) = worker.run(launch, (index, linear), mix(seed)) {
            return Some(failure);
        }
    }
    None
}

/// What `run` gives. A panic is a failure, too: whoever waits for the launch must not wait for ever.
fn contained<T>(kernel: &str, run: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        Failure {
            status: Status::ERROR_LAUNCH_FAILED,
            message: format!(
                "kernel `{kernel}`: an error inside the emulator: {}",
                text.unwrap_or("a panic without words")
            ),
        }
    })
}

/// A step which visits every block once, different for most seeds.
fn coprime_stride(blocks: u64, seed: u64) -> u64 {
    let gcd = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let start = mix(seed) % blocks.max(1) + 1;
    (start..)
        .find(|&stride| gcd(stride, blocks) == 1)
        .unwrap_or(1)
}

fn mix(seed: u64) -> u64 {
    let x = (seed ^ seed >> 30 ^ 0x9E37).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB) | 1
}

#[cfg(test)]
mod tests {
    use super::contained;

    #[test]
    fn a_panic_is_a_failure() {
        assert_eq!(contained("k", || 7).ok(), Some(7));
        let zero = std::hint::black_box(0);
        for failure in [
            contained::<()>("k", || panic!("with words")),
            contained::<()>("k", || panic!("with {zero}")),
        ] {
            let message = failure.unwrap_err().message;
            assert!(
                message.starts_with("kernel `k`: an error inside the emulator: with "),
                "{message}"
            );
        }
    }
}
