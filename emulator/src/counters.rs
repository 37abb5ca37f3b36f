//! What the launches did, by kernel: for tests that want performance mistakes to fail.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int};
use std::sync::Mutex;

use crate::exec::Launch;
use crate::report;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Sums over launches. The C layout is 64-bit words in this order.
        #[repr(C)]
        #[derive(Debug, Default, Clone, Copy)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            /// Adds `other` field by field.
            pub fn add(&mut self, other: &Self) { $(self.$name += other.$name;)* }

            fn json(&self) -> String {
                [$(format!("\"{}\":{}", stringify!($name), self.$name),)*].join(",")
            }
        }
    };
}

counters! {
    launches,
    /// Global bytes the threads asked for.
    global_read,
    global_written,
    /// Distinct global bytes of each launch: the least that memory has to move.
    global_read_distinct,
    global_written_distinct,
    /// Distinct 32-byte sectors of each warp-wide access to global memory, added up: what the
    /// hardware moves.
    global_sectors,
    /// The fewest sectors that would have served the same accesses.
    global_sectors_least,
    /// Shared-memory cycles of plain loads and stores beyond one for each 128 bytes.
    shared_bank_conflicts,
    /// Warp-wide matrix instructions.
    mma,
    /// Multiplications and additions of them.
    mma_flops,
    ldmatrix,
    /// Shared-memory cycles beyond the one an 8×8 matrix needs.
    ldmatrix_bank_conflicts,
    /// `cp.async` instructions, by thread.
    cp_async,
    /// Shared-memory cycles beyond one for each 128 bytes.
    cp_async_bank_conflicts,
    /// Block barriers completed.
    barriers,
    /// Shuffles, votes and warp reductions completed.
    warp_collectives,
    atomics,
    /// Float additions by atomics: their order is not fixed.
    float_atomics,
    /// Instructions that a warp ran, whatever its lanes.
    warp_instructions,
    nanoseconds,
}

struct Totals {
    kernels: BTreeMap<String, Counters>,
    host_synchronisations: u64,
}

static TOTALS: Mutex<Totals> = Mutex::new(Totals {
    kernels: BTreeMap::new(),
    host_synchronisations: 0,
});

fn totals() -> std::sync::MutexGuard<'static, Totals> {
    TOTALS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Books a finished launch, and writes it as a line of JSON to `VITCUDA_EMULATOR_COUNTERS`.
pub fn book(launch: &Launch, counters: &Counters) {
    totals()
        .kernels
        .entry(launch.kernel.program.name.clone())
        .or_default()
        .add(counters);
    let (grid, block) = (launch.grid, launch.block);
    report::append(
        "VITCUDA_EMULATOR_COUNTERS",
        &format!(
            "{{\"kernel\":\"{}\",\"grid\":{grid:?},\"block\":{block:?},\"shared\":{},{}}}\n",
            launch.kernel.program.name,
            launch.dynamic_shared,
            counters.json()
        ),
    );
}

/// Books one call that made the host wait for the device.
pub fn book_host_synchronisation(call: &str) {
    totals().host_synchronisations += 1;
    report::append(
        "VITCUDA_EMULATOR_COUNTERS",
        &format!("{{\"host_synchronisation\":\"{call}\"}}\n"),
    );
}

/// Books a copy to the device when it is issued, which is before it is made.
pub fn book_copy_to_device(bytes: usize) {
    report::append(
        "VITCUDA_EMULATOR_COUNTERS",
        &format!("{{\"copy_to_device\":{bytes}}}\n"),
    );
}

/// Sums of the kernel `name` since the last reset, or of all kernels for a null name. Returns 0,
/// or 1 when no such kernel ran.
///
/// # Safety
/// `name` is null or a C string; `out` is valid for a write of [`Counters`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vitcudaEmulatorCounters(name: *const c_char, out: *mut Counters) -> c_int {
    let totals = totals();
    let mut sum = Counters::default();
    let found = if name.is_null() {
        totals.kernels.values().for_each(|one| sum.add(one));
        true
    } else {
        // SAFETY: not null, and a C string, says the caller.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let one = totals.kernels.get(name.as_ref());
        one.inspect(|one| sum.add(one)).is_some()
    };
    // SAFETY: writable, says the caller.
    unsafe { *out = sum };
    c_int::from(!found)
}

/// How often the host waited for the device since the last reset.
#[unsafe(no_mangle)]
pub extern "C" fn vitcudaEmulatorHostSynchronisations() -> u64 {
    totals().host_synchronisations
}

/// Sets every counter to zero.
#[unsafe(no_mangle)]
pub extern "C" fn vitcudaEmulatorResetCounters() {
    let mut totals = totals();
    totals.kernels.clear();
    totals.host_synchronisations = 0;
}
