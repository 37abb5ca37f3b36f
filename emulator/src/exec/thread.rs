//! What a fiber knows about itself. The front of both structures is shared with compiled kernels
//! (prelude/thread.h): change both together.

use corosensei::Yielder;

use super::block::Block;
use super::collective::Group;
use super::stack::{HEADER_BYTES, header_address};

pub const LANES: usize = 32;

#[repr(C)]
pub struct Warp {
    /// What the lanes bring to a shuffle or a vote.
    pub inputs: [[u32; LANES]; 3],
    /// What they take away.
    pub outputs: [[u32; LANES]; 2],
    /// `ldmatrix`: row, registers. `mma`: c, a, b.
    pub pointers: [[u64; LANES]; 3],
    // From here on unknown to kernels.
    pub index: u32,
    /// Lanes that can go on.
    pub ready: u32,
    /// Lanes that exist and have not returned.
    pub alive: u32,
    /// Lanes that exist.
    pub exist: u32,
    /// Counts `__syncwarp`: what the lanes of a warp did before it is ordered.
    pub epoch: u16,
    /// Collectives some lanes wait at; their masks do not overlap.
    pub groups: Vec<Group>,
}

#[repr(C)]
pub struct Thread {
    pub thread: [u32; 3],
    pub block: [u32; 3],
    pub threads: [u32; 3],
    pub blocks: [u32; 3],
    pub lane: u32,
    pub linear: u32,
    pub warp: *mut Warp,
    pub dynamic_shared: *mut u8,
    pub requested_read: u64,
    pub requested_written: u64,
    pub touched_read: u64,
    pub touched_written: u64,
    // From here on unknown to kernels.
    pub yielder: *const Yielder<(), ()>,
    pub run: *mut Block,
}

const _: () = assert!(size_of::<Thread>() <= HEADER_BYTES);

impl Thread {
    /// Hands the CPU to another fiber; returns when this one is chosen again.
    ///
    /// # Safety
    /// Called on this thread's own fiber, while nothing borrows the block.
    pub unsafe fn pause(this: *mut Self) {
        // SAFETY: the yielder lives as long as its fiber, which is running this very call.
        unsafe { (*(*this).yielder).suspend(()) }
    }

    /// The thread whose fiber is running, by its stack pointer.
    pub fn current() -> *mut Self {
        let here = 0u8;
        header_address(&raw const here as usize) as *mut Self
    }
}
