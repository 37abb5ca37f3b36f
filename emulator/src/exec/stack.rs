//! Stacks of the fibers: slots of one size, aligned to it, so that the stack pointer alone tells
//! where a fiber's [`Thread`](super::thread::Thread) is.

use corosensei::stack::{Stack, StackPointer};

const SLOT_BITS: usize = 17;
pub const SLOT_BYTES: usize = 1 << SLOT_BITS;
pub const HEADER_BYTES: usize = 256;
const PAGE: usize = 4096;

/// Where the header of the slot around `address` is. Headers (and with them the tops of the
/// stacks) are spread over cache sets by the slot's number: at equal offsets the lanes of a warp
/// would evict one another. Same formula as `vitcuda_self` in prelude/thread.h.
pub fn header_address(address: usize) -> usize {
    let slot = address >> SLOT_BITS;
    ((slot + 1) << SLOT_BITS) - HEADER_BYTES - (slot & 31) * 320
}

/// Whether two addresses lie in one slot.
pub fn same_slot(a: usize, b: usize) -> bool {
    a >> SLOT_BITS == b >> SLOT_BITS
}

/// The slots of one worker.
pub struct Stacks {
    first: usize,
    count: usize,
}

impl Stacks {
    /// `count` slots, each with a guard page at its low end.
    pub fn new(count: usize) -> Self {
        // SAFETY: a fresh anonymous mapping; the guard pages are inside it.
        unsafe {
            let start = libc::mmap(
                std::ptr::null_mut(),
                (count + 1) * SLOT_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            );
            assert!(start != libc::MAP_FAILED, "cannot map the fibers' stacks");
            let first = (start as usize).next_multiple_of(SLOT_BYTES);
            for slot in 0..count {
                let guard = (first + slot * SLOT_BYTES) as *mut _;
                libc::mprotect(guard, PAGE, libc::PROT_NONE);
            }
            Self { first, count }
        }
    }

    /// Slot `index` as a stack.
    pub fn slot(&self, index: usize) -> Slot {
        assert!(index < self.count);
        Slot(self.first + index * SLOT_BYTES)
    }
}

/// One slot, by its lowest address.
#[derive(Debug, Clone, Copy)]
pub struct Slot(usize);

impl Slot {
    pub fn header(self) -> usize {
        header_address(self.0)
    }
}

// SAFETY: the slot has a guard page, over 100 KiB of stack, and one fiber at a time.
unsafe impl Stack for Slot {
    fn base(&self) -> StackPointer {
        StackPointer::new(self.header() & !63).expect("no slot lies at zero")
    }

    fn limit(&self) -> StackPointer {
        StackPointer::new(self.0).expect("no slot lies at zero")
    }
}
