//! The devices that can be played.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::driver::release;
use crate::memory;

/// What a program can ask about a device. Numbers are those of a common card of the architecture.
#[derive(Debug)]
pub struct Device {
    /// `__CUDA_ARCH__ / 10`: 75, 80 …
    pub arch: u32,
    pub name: &'static str,
    pub multiprocessors: u32,
    pub threads_per_multiprocessor: u32,
    pub blocks_per_multiprocessor: u32,
    /// Shared memory of a multiprocessor, in bytes.
    pub shared_per_multiprocessor: u32,
    /// The most a block can get by opting in.
    pub shared_optin: u32,
    pub l2_bytes: u32,
    pub clock_khz: u32,
    pub memory_clock_khz: u32,
    pub memory_bus_bits: u32,
}

/// What a block can have without opting in.
pub const SHARED_DEFAULT: u32 = 48 << 10;
/// What the driver keeps of a block's shared memory from sm_80 on.
pub const SHARED_RESERVED: u32 = 1 << 10;
pub const REGISTERS: u32 = 65536;
pub const MAX_THREADS: u32 = 1024;

const KIB: u32 = 1 << 10;
const DEVICES: [Device; 6] = [
    Device {
        arch: 75,
        name: "vitcuda emulator (sm_75)",
        multiprocessors: 40,
        threads_per_multiprocessor: 1024,
        blocks_per_multiprocessor: 16,
        shared_per_multiprocessor: 64 * KIB,
        shared_optin: 64 * KIB,
        l2_bytes: 4 << 20,
        clock_khz: 1_590_000,
        memory_clock_khz: 5_001_000,
        memory_bus_bits: 256,
    },
    Device {
        arch: 80,
        name: "vitcuda emulator (sm_80)",
        multiprocessors: 108,
        threads_per_multiprocessor: 2048,
        blocks_per_multiprocessor: 32,
        shared_per_multiprocessor: 164 * KIB,
        shared_optin: 163 * KIB,
        l2_bytes: 40 << 20,
        clock_khz: 1_410_000,
        memory_clock_khz: 1_215_000,
        memory_bus_bits: 5120,
    },
    Device {
        arch: 86,
        name: "vitcuda emulator (sm_86)",
        multiprocessors: 82,
        threads_per_multiprocessor: 1536,
        blocks_per_multiprocessor: 16,
        shared_per_multiprocessor: 100 * KIB,
        shared_optin: 99 * KIB,
        l2_bytes: 6 << 20,
        clock_khz: 1_695_000,
        memory_clock_khz: 9_751_000,
        memory_bus_bits: 384,
    },
    Device {
        arch: 89,
        name: "vitcuda emulator (sm_89)",
        multiprocessors: 128,
        threads_per_multiprocessor: 1536,
        blocks_per_multiprocessor: 24,
        shared_per_multiprocessor: 100 * KIB,
        shared_optin: 99 * KIB,
        l2_bytes: 72 << 20,
        clock_khz: 2_520_000,
        memory_clock_khz: 10_501_000,
        memory_bus_bits: 384,
    },
    Device {
        arch: 90,
        name: "vitcuda emulator (sm_90)",
        multiprocessors: 132,
        threads_per_multiprocessor: 2048,
        blocks_per_multiprocessor: 32,
        shared_per_multiprocessor: 228 * KIB,
        shared_optin: 227 * KIB,
        l2_bytes: 50 << 20,
        clock_khz: 1_980_000,
        memory_clock_khz: 2_619_000,
        memory_bus_bits: 5120,
    },
    Device {
        arch: 120,
        name: "vitcuda emulator (sm_120)",
        multiprocessors: 170,
        threads_per_multiprocessor: 1536,
        blocks_per_multiprocessor: 24,
        shared_per_multiprocessor: 100 * KIB,
        shared_optin: 99 * KIB,
        l2_bytes: 96 << 20,
        clock_khz: 2_407_000,
        memory_clock_khz: 14_001_000,
        memory_bus_bits: 512,
    },
];

/// The devices of `VITCUDA_EMULATE`: one architecture or several with commas; sm_80 when unset.
pub fn devices() -> &'static [&'static Device] {
    static PLAYED: OnceLock<Vec<&'static Device>> = OnceLock::new();
    PLAYED.get_or_init(|| {
        let wanted = std::env::var("VITCUDA_EMULATE").unwrap_or_else(|_| "sm_80".into());
        wanted
            .split(',')
            .filter_map(|name| {
                let found = DEVICES
                    .iter()
                    .find(|device| name.trim() == format!("sm_{}", device.arch));
                if found.is_none() {
                    crate::report::say(&format!(
                        "VITCUDA_EMULATE: `{name}` is none of sm_75, sm_80, sm_86, sm_89, sm_90, sm_120"
                    ));
                }
                found.filter(|device| is_known(device))
            })
            .collect()
    })
}

/// Whether the driver that is played knows the device; says so if not.
fn is_known(device: &Device) -> bool {
    let oldest = release::oldest_for(device.arch);
    let known = release::played().is_none_or(|driver| driver.branch >= oldest);
    if !known {
        crate::report::say(&format!(
            "VITCUDA_EMULATE: sm_{} wants a driver from {oldest} on (VITCUDA_EMULATOR_DRIVER)",
            device.arch
        ));
    }
    known
}

/// Memory of each device in bytes: `VITCUDA_EMULATOR_MEMORY`, 8 GiB when unset.
pub fn memory_bytes() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| {
        std::env::var("VITCUDA_EMULATOR_MEMORY")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(8 << 30)
    })
}

static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Somebody has asked how much memory is free: from now on other programs hold as much as
/// `VITCUDA_EMULATOR_MEMORY_TAKEN` says.
pub fn let_others_allocate() {
    let taken = std::env::var("VITCUDA_EMULATOR_MEMORY_TAKEN").ok();
    let bytes = taken.and_then(|text| text.parse().ok()).unwrap_or(0);
    TAKEN.store(bytes, Ordering::Relaxed);
}

/// Bytes that can still be allocated on the device.
pub fn free_bytes(device: usize) -> usize {
    let held = memory::used(device) + TAKEN.load(Ordering::Relaxed);
    memory_bytes().saturating_sub(held)
}
