//! Device memory: one reserved range of addresses with a shadow, never reused.
//!
//! Every allocation ends at a guard page (up to the 256-byte rounding that the real allocator
//! promises for its start; the shadow catches those last bytes) and starts as 0xFF bytes, which are
//! NaN in f16, bf16 and f32. Two shadow bytes go with each byte (live, initialised, last launch that
//! wrote or read it), and two records with each word (see [`crate::exec`]'s races), at constant
//! distances, so that an access is judged without a look-up.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};
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
    /// Records of the last write and the last read of each word, eight bytes each.
    records: [usize; 2],
    /// The last launch that wrote to each page, two bytes each.
    writers: usize,
}

struct Table {
    live: BTreeMap<usize, Allocation>,
    freed: Vec<Allocation>,
    granules: Granules,
    next: usize,
    tag: u8,
    launch: u64,
}

static LAUNCH_TAG: AtomicU8 = AtomicU8::new(0);
static LAUNCH: AtomicU64 = AtomicU64::new(0);
/// Launches that a record tells apart.
const LAUNCHES: u64 = 1 << 14;

/// The reserved range.
pub fn arena() -> Arena {
    static ARENA: OnceLock<Arena> = OnceLock::new();
    *ARENA.get_or_init(|| {
        let reserve = |protection, bytes| {
            // SAFETY: a fresh anonymous mapping touches nothing that exists.
            let start = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    bytes,
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
        let base = reserve(libc::PROT_NONE, ARENA_BYTES);
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // Fewer page faults; no matter if the system has no large pages.
        let in_large_pages = |bytes| {
            let start = reserve(rights, bytes);
            // SAFETY: advice on our own mapping.
            unsafe { libc::madvise(start as *mut _, bytes, libc::MADV_HUGEPAGE) };
            start
        };
        let write_state = reserve(rights, ARENA_BYTES);
        let read_tag = in_large_pages(ARENA_BYTES);
        Arena {
            base,
            write_state: write_state.wrapping_sub(base),
            read_tag: read_tag.wrapping_sub(base),
            records: [(); 2].map(|()| in_large_pages(2 * ARENA_BYTES)),
            writers: reserve(rights, ARENA_BYTES / PAGE * 2),
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
                launch: 0,
            })
        })
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Number of the running launch, as far as records tell launches apart.
pub fn launch() -> u64 {
    LAUNCH.load(Ordering::Relaxed)
}

/// Starts counting distinct bytes anew, and the records of another launch.
pub fn next_launch_tag() {
    let mut table = table();
    table.tag += 1;
    table.launch += 1;
    if table.launch == LAUNCHES {
        table.launch = 1;
        for allocation in table.live.values() {
            let (start, length) = allocation.pages();
            // SAFETY: records of live allocations; no launch is running.
            unsafe {
                for plane in records(start) {
                    clear(plane as usize, 2 * length);
                }
            }
        }
    }
    if table.tag == TAGS {
        table.tag = 1;
        // Tags of 63 launches ago would look like those to come: forget them all.
        for allocation in table.live.values() {
            // SAFETY: shadow of a live allocation; no launch is running.
            unsafe {
                let state =
                    std::slice::from_raw_parts_mut(write_state(allocation.base), allocation.bytes);
                state.iter_mut().for_each(|one| *one &= LIVE | INITIALISED);
                std::ptr::write_bytes(read_tag(allocation.base), 0, allocation.bytes);
            }
        }
    }
    LAUNCH_TAG.store(table.tag, Ordering::Relaxed);
    LAUNCH.store(table.launch, Ordering::Relaxed);
}

/// Where the records of the word at `address` lie: of writes, of reads.
pub fn records(address: usize) -> [*mut u64; 2] {
    let arena = arena();
    arena
        .records
        .map(|plane| (plane + (address - arena.base) / 4 * 8) as *mut u64)
}

/// The pages' entries in the table of writers.
#[inline(always)]
fn writers(address: usize, bytes: usize) -> &'static [AtomicU16] {
    let arena = arena();
    let first = (address - arena.base) / PAGE;
    let count = (address + bytes - 1 - arena.base) / PAGE - first + 1;
    // SAFETY: the table covers the whole arena, in which callers know the range to lie.
    unsafe { std::slice::from_raw_parts((arena.writers as *const AtomicU16).add(first), count) }
}

/// Whether the launch has written to a page of the range.
#[inline(always)]
pub fn written_by(address: usize, bytes: usize, launch: u64) -> bool {
    writers(address, bytes)
        .iter()
        .any(|one| one.load(Ordering::Relaxed) == launch as u16)
}

/// Notes that the launch writes to the pages of the range.
#[inline(always)]
pub fn note_writer(address: usize, bytes: usize, launch: u64) {
    for page in writers(address, bytes) {
        if page.load(Ordering::Relaxed) != launch as u16 {
            page.store(launch as u16, Ordering::Relaxed);
        }
    }
}

/// Whether all bytes are live (`bits` [`LIVE`]), or live and written.
#[inline(always)]
pub fn all_have(address: usize, bytes: usize, bits: u8) -> bool {
    // SAFETY: the shadow covers the whole arena, in which callers know the address to lie.
    let state = unsafe { std::slice::from_raw_parts(write_state(address), bytes) };
    state.iter().fold(bits, |all, one| all & one) == bits
}

/// First byte without `bits`.
pub fn first_without(address: usize, bytes: usize, bits: u8) -> Option<usize> {
    // SAFETY: as above.
    let state = unsafe { std::slice::from_raw_parts(write_state(address), bytes) };
    state
        .iter()
        .position(|one| one & bits != bits)
        .map(|at| address + at)
}

/// Notes that the running launch read the bytes; how many of them it reads for the first time.
#[inline(always)]
pub fn touch_read(address: usize, bytes: usize) -> u64 {
    touch(read_tag(address), bytes, LAUNCH_TAG.load(Ordering::Relaxed))
}

/// Notes that the running launch wrote the bytes; how many of them for the first time.
#[inline(always)]
pub fn touch_written(address: usize, bytes: usize) -> u64 {
    let tag = LAUNCH_TAG.load(Ordering::Relaxed);
    touch(write_state(address), bytes, LIVE | INITIALISED | tag << 2)
}

/// Sets shadow bytes to `value`; how many were something else. Two CPU threads never count one byte
/// twice.
#[inline(always)]
fn touch(shadow: *mut u8, bytes: usize, value: u8) -> u64 {
    // SAFETY: shadow of live memory, of which several threads change bytes atomically.
    unsafe {
        let all = std::slice::from_raw_parts(shadow, bytes);
        if all
            .iter()
            .fold(0, |different, one| different | (one ^ value))
            == 0
        {
            return 0;
        }
        let (before, words, after) = all.align_to::<u64>();
        let pattern = u64::from(value) * 0x0101_0101_0101_0101;
        let mut changed = 0;
        for one in before.iter().chain(after) {
            let old = AtomicU8::from_ptr(std::ptr::from_ref(one).cast_mut())
                .swap(value, Ordering::Relaxed);
            changed += u64::from(old != value);
        }
        for word in words {
            if *word != pattern {
                let word = AtomicU64::from_ptr(std::ptr::from_ref(word).cast_mut());
                let old = word.swap(pattern, Ordering::Relaxed).to_le_bytes();
                changed += old.iter().filter(|&&one| one != value).count() as u64;
            }
        }
        changed
    }
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

/// The same of all its bytes.
#[inline(always)]
pub fn is_device_range(address: usize, bytes: usize) -> bool {
    address.wrapping_sub(arena().base) < ARENA_BYTES - bytes
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
    table.live.insert(base, Allocation { base, bytes, home });
    if let Home::Device(device) = home {
        table.granules.take(device, base, bytes);
    }
    Ok(base)
}

/// Makes anonymous pages zeros again, without a mapping of their own: a process may have only so many.
///
/// # Safety
/// Nothing on these pages is needed any more.
unsafe fn clear(start: usize, bytes: usize) {
    // SAFETY: says the caller.
    let refused = unsafe { libc::madvise(start as *mut _, bytes, libc::MADV_DONTNEED) };
    assert_eq!(refused, 0, "cannot clear the shadow of device memory");
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
        let text = if table.freed.iter().any(|one| one.base == base) {
            format!("{base:#x} is freed a second time")
        } else {
            format!("{base:#x} is freed, but no allocation starts there")
        };
        crate::report::say(&text);
        return Err(Status::ERROR_INVALID_VALUE);
    };
    let (start, length) = allocation.pages();
    // SAFETY: the pages of an allocation nobody may use any more; shadow pages hold nothing else.
    unsafe {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        map_fresh(start, length, libc::PROT_NONE);
        // The only shadow that may be a view of a file, see `fill`.
        map_fresh(write_state(start) as usize, length, rights);
        clear(read_tag(start) as usize, length);
        for plane in records(start) {
            clear(plane as usize, 2 * length);
        }
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
