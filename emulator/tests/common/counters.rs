//! What the emulator counted. Tests of the whole engine include this file, too.

#![allow(dead_code)] // each test binary uses its own part

use std::ffi::{CString, c_char, c_int};

/// Mirror of the emulator's counters.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct Counters {
    pub launches: u64,
    pub global_read: u64,
    pub global_written: u64,
    pub global_read_distinct: u64,
    pub global_written_distinct: u64,
    pub global_sectors: u64,
    pub global_sectors_least: u64,
    pub shared_bank_conflicts: u64,
    pub mma: u64,
    pub mma_flops: u64,
    pub ldmatrix: u64,
    pub ldmatrix_bank_conflicts: u64,
    pub cp_async: u64,
    pub cp_async_bank_conflicts: u64,
    pub barriers: u64,
    pub warp_collectives: u64,
    pub atomics: u64,
    pub float_atomics: u64,
    pub warp_instructions: u64,
    pub nanoseconds: u64,
}

fn driver() -> libloading::Library {
    unsafe { libloading::Library::new("libcuda.so") }.expect("the emulator stands first")
}

/// What the kernel `name` did since the last reset.
pub fn counters(name: &str) -> Counters {
    counters_if_run(name).expect("the kernel has run")
}

/// The same; `None` if it has not run.
pub fn counters_if_run(name: &str) -> Option<Counters> {
    let mut counters = Counters::default();
    let name = CString::new(name).expect("a kernel's name");
    // SAFETY: the signature is the emulator's.
    let status = unsafe {
        let driver = driver();
        let get: libloading::Symbol<unsafe extern "C" fn(*const c_char, *mut Counters) -> c_int> =
            driver.get(b"vitcudaEmulatorCounters").expect("exported");
        get(name.as_ptr(), &mut counters)
    };
    (status == 0 && counters.launches > 0).then_some(counters)
}

/// How often the host waited since the last reset.
pub fn host_synchronisations() -> u64 {
    unsafe {
        let driver = driver();
        let get: libloading::Symbol<unsafe extern "C" fn() -> u64> = driver
            .get(b"vitcudaEmulatorHostSynchronisations")
            .expect("exported");
        get()
    }
}

/// Sets the counters to zero.
pub fn reset_counters() {
    unsafe {
        let driver = driver();
        let reset: libloading::Symbol<unsafe extern "C" fn()> = driver
            .get(b"vitcudaEmulatorResetCounters")
            .expect("exported");
        reset();
    }
}
