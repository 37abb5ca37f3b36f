//! Device memory: one reserved range of addresses with a shadow, never reused.
//!
//! Every allocation ends at a guard page (up to the 256-byte rounding that the real allocator
//! promises for its start; the shadow catches those last bytes) and starts as 0xFF bytes, which are
//! NaN in f16, bf16 and f32. Two shadow bytes go with each byte, at a constant distance, so that
//! compiled kernels judge an access without a look-up (see prelude/hooks.h).

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use crate::granules::Granules;
use crate::status::{Result, Status};

/// Addresses reserved for device memory, and for each shadow of it.
pub const ARENA_BYTES: usize = 2 << 40;
const PAGE: usize = 4096;
const ALIGNMENT: usize = 256;
/// What fresh and freed memory holds.
pub const POISON: u8 = 0xFF;

/// Shadow: the byte belongs to a live allocation.
pub const LIVE: u8 = 1;
/// Shadow: the byte was written.
pub const INITIALISED: u8 = 2;
/// Launch tags need six bits beside [`LIVE`] and [`INITIALISED`].
const TAGS: u8 = 64;

/// Who may touch an allocation besides kernels and copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// Memory of the device with this ordinal.
    Device(usize),
    /// Page-locked host memory: the host may, too.
    PinnedHost,
}

#[derive(Debug, Clone, Copy)]
pub struct Allocation {
    pub base: usize,
    pub bytes: usize,
    pub home: Home,
}

impl Allocation {
    fn pages(&self) -> (usize, usize) {
        let start = self.base & !(PAGE - 1);
        (
            start,
            (self.base + self.bytes).next_multiple_of(PAGE) - start,
        )
    }
}

/// Where the range and its shadows lie.
#[derive(Debug, Clone, Copy)]
pub struct Arena {
    pub base: usize,
    /// Adds to an address of the range: live, initialised, tag of the last writing launch.
    pub write_state: usize,
    /// The same for the tag of the last reading launch.
    pub read_tag: usize,
}

struct Table {
    live: BTreeMap<usize, Allocation>,
    freed: Vec<Allocation>,
    granules: Granules,
    next: usize,
    tag: u8,
}

static LAUNCH_TAG: AtomicU8 = AtomicU8::new(0);

/// The reserved range.
pub fn arena() -> Arena {
    static ARENA: OnceLock<Arena> = OnceLock::new();
    *ARENA.get_or_init(|| {
        let reserve = |protection| {
            // SAFETY: a fresh anonymous mapping touches nothing that exists.
            let start = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    ARENA_BYTES,
                    protection,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            assert!(
                start != libc::MAP_FAILED,
                "cannot reserve addresses for device memory"
            );
            start as usize
        };
        let base = reserve(libc::PROT_NONE);
        let write_state = reserve(libc::PROT_READ | libc::PROT_WRITE);
        let read_tag = reserve(libc::PROT_READ | libc::PROT_WRITE);
        Arena {
            base,
            write_state: write_state.wrapping_sub(base),
            read_tag: read_tag.wrapping_sub(base),
        }
    })
}

fn table() -> MutexGuard<'static, Table> {
    static TABLE: OnceLock<Mutex<Table>> = OnceLock::new();
    TABLE
        .get_or_init(|| {
            Mutex::new(Table {
                live: BTreeMap::new(),
                freed: Vec::new(),
                granules: Granules::default(),
                next: arena().base + PAGE,
                tag: 0,
            })
        })
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Address of the tag of the running launch, for compiled kernels.
pub fn launch_tag() -> *const u8 {
    LAUNCH_TAG.as_ptr()
}

/// Starts counting distinct bytes anew.
pub fn next_launch_tag() {
    let mut table = table();
    table.tag += 1;
    if table.tag == TAGS {
        table.tag = 1;
        // Tags of 63 launches ago would look like those to come: forget them all.
        for allocation in table.live.values() {
            for address in allocation.base..allocation.base + allocation.bytes {
                // SAFETY: shadow of a live allocation; no launch is running.
                unsafe {
                    *write_state(address) &= LIVE | INITIALISED;
                    *read_tag(address) = 0;
                }
            }
        }
    }
    LAUNCH_TAG.store(table.tag, Ordering::Relaxed);
}

/// Shadow byte of a device address: state and last writer.
pub fn write_state(address: usize) -> *mut u8 {
    address.wrapping_add(arena().write_state) as *mut u8
}

/// Shadow byte of a device address: last reader.
pub fn read_tag(address: usize) -> *mut u8 {
    address.wrapping_add(arena().read_tag) as *mut u8
}

/// Whether the address lies in the reserved range.
pub fn is_device_address(address: usize) -> bool {
    address.wrapping_sub(arena().base) < ARENA_BYTES
}

/// Bytes of the device that allocations take.
pub fn used(device: usize) -> usize {
    table().granules.used(device)
}

/// A fresh, poisoned allocation of `bytes` > 0.
pub fn allocate(bytes: usize, home: Home) -> Result<usize> {
    if let Home::Device(device) = home {
        let needed = table().granules.needed(device, bytes);
        if needed > crate::device::free_bytes(device) {
            return Err(Status::ERROR_OUT_OF_MEMORY);
        }
    }
    let mut table = table();
    let rounded = bytes.next_multiple_of(ALIGNMENT);
    let pages = rounded.next_multiple_of(PAGE);
    let start = table.next;
    if start + pages + PAGE > arena().base + ARENA_BYTES {
        return Err(Status::ERROR_OUT_OF_MEMORY);
    }
    table.next = start + pages + PAGE;
    let base = start + pages - rounded;
    // SAFETY: `start..start + pages` is ours, reserved and not handed out before.
    unsafe {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        if libc::mprotect(start as *mut _, pages, rights) != 0 {
            return Err(Status::ERROR_OUT_OF_MEMORY);
        }
        fill(start, pages, POISON);
        let state = match home {
            Home::Device(_) => LIVE,
            Home::PinnedHost => LIVE | INITIALISED,
        };
        fill(write_state(base) as usize, bytes, state);
    }
    poison_for_sanitizer(base + bytes, rounded - bytes);
    table.live.insert(base, Allocation { base, bytes, home });
    if let Home::Device(device) = home {
        table.granules.take(device, base, bytes);
    }
    Ok(base)
}

/// Tells AddressSanitizer, where it is preloaded, that nobody may touch these bytes.
fn poison_for_sanitizer(start: usize, bytes: usize) {
    // SAFETY: the name is the sanitizer's, and so is the signature.
    unsafe {
        let found = libc::dlsym(libc::RTLD_DEFAULT, c"__asan_poison_memory_region".as_ptr());
        if !found.is_null() && bytes > 0 {
            let poison: unsafe extern "C" fn(usize, usize) = std::mem::transmute(found);
            poison(start, bytes);
        }
    }
}

/// Replaces pages by untouched ones.
///
/// # Safety
/// Nothing on these pages is needed any more.
unsafe fn map_fresh(start: usize, bytes: usize, rights: libc::c_int) {
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    // SAFETY: says the caller.
    let mapped = unsafe { libc::mmap(start as *mut _, bytes, rights, kind, -1, 0) };
    assert!(mapped != libc::MAP_FAILED, "cannot unmap device memory");
}

/// Sets bytes without touching the pages of a large range: those become private views of a file
/// full of `value`, so an allocation of gigabytes costs nothing until it is used.
///
/// # Safety
/// The range is ours and writable.
unsafe fn fill(start: usize, bytes: usize, value: u8) {
    const VIEW: usize = 16 << 20;
    let first = start.next_multiple_of(PAGE);
    let last = (start + bytes) / PAGE * PAGE;
    if bytes < 1 << 20 {
        // SAFETY: says the caller.
        unsafe { std::ptr::write_bytes(start as *mut u8, value, bytes) };
        return;
    }
    static FILES: Mutex<BTreeMap<u8, std::fs::File>> = Mutex::new(BTreeMap::new());
    let mut files = FILES
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let file = files.entry(value).or_insert_with(|| {
        // SAFETY: plain system call; the descriptor gets its one owner.
        let mut file = unsafe {
            let descriptor = libc::memfd_create(c"vitcuda-fill".as_ptr(), libc::MFD_CLOEXEC);
            assert!(descriptor >= 0, "memfd_create failed");
            std::fs::File::from_raw_fd(descriptor)
        };
        let written = file.write_all(&vec![value; VIEW]);
        written.expect("memory for the emulator's fill pattern");
        file
    });
    // SAFETY: whole pages of the range, then its two ends.
    unsafe {
        for view in (first..last).step_by(VIEW) {
            let mapped = libc::mmap(
                view as *mut _,
                VIEW.min(last - view),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                0,
            );
            assert!(mapped != libc::MAP_FAILED, "cannot map device memory");
        }
        std::ptr::write_bytes(start as *mut u8, value, first - start);
        std::ptr::write_bytes(last as *mut u8, value, start + bytes - last);
    }
}

/// Frees the allocation that starts at `base`; touching it afterwards is caught.
pub fn free(base: usize) -> Result<()> {
    let mut table = table();
    let Some(allocation) = table.live.remove(&base) else {
        let text = match table.freed.iter().any(|one| one.base == base) {
            true => format!("{base:#x} is freed a second time"),
            false => format!("{base:#x} is freed, but no allocation starts there"),
        };
        crate::report::say(&text);
        return Err(Status::ERROR_INVALID_VALUE);
    };
    let (start, length) = allocation.pages();
    // SAFETY: the pages of an allocation nobody may use any more; shadow pages hold nothing else.
    unsafe {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        map_fresh(start, length, libc::PROT_NONE);
        map_fresh(write_state(start) as usize, length, rights);
        map_fresh(read_tag(start) as usize, length, rights);
    }
    table.granules.give_back(base);
    table.freed.push(allocation);
    Ok(())
}

/// The live allocation which holds `address`, or ends right there.
pub fn find(address: usize) -> Option<Allocation> {
    let table = table();
    let (_, &one) = table.live.range(..=address).next_back()?;
    (address <= one.base + one.bytes).then_some(one)
}

/// Checks that `bytes` from `address` on lie in one live allocation; says why not.
pub fn check_range(address: usize, bytes: usize, what: &str) -> Result<Allocation> {
    match find(address) {
        Some(one) if address + bytes <= one.base + one.bytes => Ok(one),
        _ => {
            crate::report::say(&format!("{what}: {bytes} bytes at {}", describe(address)));
            Err(Status::ERROR_INVALID_VALUE)
        }
    }
}

/// Marks device bytes as written by the host or by a copy.
pub fn mark_initialised(address: usize, bytes: usize) {
    // SAFETY: callers checked the range.
    unsafe { std::ptr::write_bytes(write_state(address), LIVE | INITIALISED, bytes) }
}

/// Copies the initialised marks along with a device-to-device copy.
pub fn copy_marks(to: usize, from: usize, bytes: usize) {
    for i in 0..bytes {
        // SAFETY: callers checked both ranges.
        unsafe { *write_state(to + i) = *write_state(from + i) & (LIVE | INITIALISED) }
    }
}

/// An address in words: which allocation, live or freed, it is in or near.
pub fn describe(address: usize) -> String {
    let table = table();
    let relate = |one: &Allocation, state: &str| {
        let (end, bytes) = (one.base + one.bytes, one.bytes);
        match address {
            a if a < one.base => format!(
                "{a:#x}, {} bytes before {state} allocation of {bytes} bytes",
                one.base - a
            ),
            a if a >= end => format!(
                "{a:#x}, {} bytes past the end of {state} allocation of {bytes} bytes",
                a - end
            ),
            a => format!(
                "{a:#x}, byte {} of {state} allocation of {bytes} bytes",
                a - one.base
            ),
        }
    };
    let near = 1 << 20;
    let close =
        |one: &&Allocation| address + near > one.base && address < one.base + one.bytes + near;
    let inside = |one: &&Allocation| address >= one.base && address < one.base + one.bytes;
    let before = table.live.range(..=address).next_back().map(|(_, one)| one);
    let after = table.live.range(address..).next().map(|(_, one)| one);
    if let Some(one) = before.filter(inside) {
        relate(one, "a live")
    } else if let Some(one) = table.freed.iter().rev().find(inside) {
        relate(one, "a freed")
    } else if let Some(one) = before.filter(close).or(after.filter(close)) {
        relate(one, "a live")
    } else {
        format!("{address:#x}, which is no device memory")
    }
}
