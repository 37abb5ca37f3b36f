//! Shared memory of the block that a worker runs, with a shadow that knows who wrote and read it
//! when: uninitialised reads, races within a block and early reads of `cp.async` data show at once,
//! whatever the order of the threads.
//!
//! Time is counted in *epochs*: a block barrier starts a new one, `__syncwarp` a new one for its
//! warp. Two accesses of different threads in one epoch, one of them a write, are a race, unless
//! both threads are in one warp with a `__syncwarp` between. Tracked in units of two bytes;
//! accesses of one byte are only checked for initialisation.

use super::thread::LANES;

const WINDOW_BYTES: usize = 8 << 20;
const PAGE: usize = 4096;
/// Dynamic shared memory ends here; static variables come behind.
const DYNAMIC_BYTES: usize = 256 << 10;
/// Dynamic shared memory starts at a multiple of this: swizzles and bank numbers rely on it.
const DYNAMIC_ALIGNMENT: usize = 128;
const UNIT: usize = 2;

/// In a cell's low half: the bytes are the target of an unfinished `cp.async`.
const PENDING: u64 = 0x8000;
/// Reader field: several lanes of warp `reader & 31`.
const LANES_OF: u64 = 0x4000;
/// Reader field: threads of several warps.
const MANY: u64 = 0x7FFF;
const FIELD: u64 = 0x7FFF;

/// A piece of shared memory that exists.
#[derive(Debug, Clone)]
pub struct Piece {
    pub base: usize,
    pub bytes: usize,
    /// Address of the variable's key for static ones, 0 for the dynamic piece.
    key: usize,
    pub name: String,
}

/// Who accesses: one thread, or a warp as a whole (`ldmatrix`).
#[derive(Debug, Clone, Copy)]
pub struct Who {
    pub thread: u32,
    pub warp_epoch: u16,
    pub whole_warp: bool,
}

/// What is wrong with an access.
#[derive(Debug)]
pub enum Problem {
    Outside(String),
    Misuse(String),
}

pub struct Shared {
    base: usize,
    writes: *mut u64,
    reads: *mut u64,
    pub pieces: Vec<Piece>,
    next_static: usize,
    epoch: u32,
    block_start: u32,
    /// Whether plain stores are seen, too: without them nothing can be called uninitialised.
    knows_stores: bool,
}

impl Shared {
    pub fn new() -> Self {
        let map = |bytes, protection| {
            // SAFETY: a fresh anonymous mapping.
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
            assert!(start != libc::MAP_FAILED, "cannot map shared memory");
            start as usize
        };
        let shadow = WINDOW_BYTES / UNIT * size_of::<u64>();
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        Self {
            base: map(WINDOW_BYTES, libc::PROT_NONE),
            writes: map(shadow, rights) as *mut u64,
            reads: map(shadow, rights) as *mut u64,
            pieces: Vec::new(),
            next_static: 0,
            epoch: 0,
            block_start: 0,
            knows_stores: crate::nvrtc::sees_every_access(),
        }
    }

    /// Makes room for a launch with `bytes` of dynamic shared memory.
    pub fn start_launch(&mut self, bytes: usize) {
        if let [only] = &self.pieces[..]
            && only.bytes == bytes
        {
            return; // as the launch before: leave the mappings alone
        }
        // SAFETY: the window is ours, and no block is running.
        unsafe { libc::mprotect(self.base as *mut _, WINDOW_BYTES, libc::PROT_NONE) };
        self.pieces.clear();
        self.next_static = self.base + DYNAMIC_BYTES + 2 * PAGE;
        let end = self.base + DYNAMIC_BYTES + PAGE;
        let base = end - bytes.next_multiple_of(DYNAMIC_ALIGNMENT);
        if bytes > 0 {
            unprotect(base, end);
        }
        self.pieces.push(Piece {
            base,
            bytes,
            key: 0,
            name: "dynamic shared memory".into(),
        });
    }

    /// Poisons everything for a new block.
    pub fn start_block(&mut self) {
        if self.epoch > u32::MAX - (1 << 20) {
            let shadow = WINDOW_BYTES / UNIT;
            // SAFETY: both shadows have that many cells.
            unsafe {
                std::ptr::write_bytes(self.writes, 0, shadow);
                std::ptr::write_bytes(self.reads, 0, shadow);
            }
            self.epoch = 0;
        }
        self.epoch += 1;
        self.block_start = self.epoch;
        for piece in &self.pieces {
            // SAFETY: a mapped piece of the window.
            unsafe {
                std::ptr::write_bytes(piece.base as *mut u8, crate::memory::POISON, piece.bytes)
            };
        }
    }

    /// A block barrier was completed.
    pub fn next_epoch(&mut self) {
        self.epoch += 1;
    }

    pub fn dynamic_base(&self) -> usize {
        self.pieces[0].base
    }

    /// The static variable `key`, created (at the end of its own pages) when met first.
    pub fn static_variable(&mut self, key: usize, bytes: usize, align: usize, name: &str) -> usize {
        if let Some(piece) = self.pieces.iter().find(|piece| piece.key == key) {
            return piece.base;
        }
        let pages = bytes.next_multiple_of(PAGE);
        let end = self.next_static + pages;
        assert!(
            end + PAGE <= self.base + WINDOW_BYTES,
            "static shared memory is bounded"
        );
        let base = (end - bytes) & !(align - 1);
        unprotect(self.next_static, end);
        self.next_static = end + PAGE;
        // SAFETY: just made writable.
        unsafe { std::ptr::write_bytes(base as *mut u8, crate::memory::POISON, bytes) };
        self.pieces.push(Piece {
            base,
            bytes,
            key,
            name: format!("`{name}`"),
        });
        base
    }

    /// Bytes of all static variables met so far.
    pub fn static_bytes(&self) -> usize {
        self.pieces[1..].iter().map(|piece| piece.bytes).sum()
    }

    /// Whether the address belongs to this worker's window.
    pub fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.base) < WINDOW_BYTES
    }

    /// Offset of an address in its piece: what a bank number is computed from.
    pub fn offset(&self, address: usize) -> usize {
        let piece = self
            .pieces
            .iter()
            .find(|one| address.wrapping_sub(one.base) < one.bytes);
        piece.map_or(0, |one| address - one.base)
    }

    fn check_bounds(&self, address: usize, bytes: usize) -> Result<(), Problem> {
        let inside = |one: &Piece| address >= one.base && address + bytes <= one.base + one.bytes;
        if self.pieces.iter().any(inside) {
            return Ok(());
        }
        let near = self.pieces.iter().min_by_key(|one| {
            one.base
                .saturating_sub(address)
                .max(address.saturating_sub(one.base + one.bytes))
        });
        let piece = near.expect("the dynamic piece always exists");
        Err(Problem::Outside(format!(
            "{bytes} bytes at offset {} of {}, which has {} bytes",
            address as i64 - piece.base as i64,
            piece.name,
            piece.bytes
        )))
    }

    fn cells(&self, address: usize, bytes: usize) -> std::ops::Range<usize> {
        let first = (address - self.base) / UNIT;
        first..(address + bytes - 1 - self.base) / UNIT + 1
    }

    fn place(&self, address: usize) -> String {
        let piece = self
            .pieces
            .iter()
            .find(|one| address.wrapping_sub(one.base) < one.bytes);
        piece.map_or(String::new(), |one| {
            format!("offset {} of {}", address - one.base, one.name)
        })
    }

    fn stamp(&self, who: Who) -> u64 {
        let reader = match who.whole_warp {
            true => LANES_OF | (who.thread as u64 / LANES as u64),
            false => who.thread as u64,
        };
        (self.epoch as u64) << 32 | (who.warp_epoch as u64) << 16 | reader
    }

    /// Whether what `cell` (writer or reader) did is ordered before what `who` does now.
    fn ordered(&self, cell: u64, who: Who) -> bool {
        let field = cell & FIELD;
        if (cell >> 32) as u32 != self.epoch {
            return true;
        }
        if field == MANY {
            return false;
        }
        let warp = match field & LANES_OF != 0 {
            true => field & 31,
            false => field / LANES as u64,
        };
        let alone = field & LANES_OF == 0 && field == who.thread as u64 && !who.whole_warp;
        alone || (warp == who.thread as u64 / LANES as u64 && (cell >> 16) as u16 != who.warp_epoch)
    }

    /// Checks and notes a read.
    pub fn read(&mut self, address: usize, bytes: usize, who: Who) -> Result<(), Problem> {
        self.check_bounds(address, bytes)?;
        if !self.knows_stores {
            return self.check_arrived(address, bytes);
        }
        let stamp = self.stamp(who);
        let mut last = u64::MAX; // no cell looks like this
        for i in self.cells(address, bytes) {
            // SAFETY: the window is in bounds, so its cells are.
            let (write, read) = unsafe { (*self.writes.add(i), &mut *self.reads.add(i)) };
            if write != last {
                if ((write >> 32) as u32) < self.block_start {
                    return Err(Problem::Misuse(format!(
                        "reads uninitialised shared memory: {}",
                        self.place(address)
                    )));
                }
                if write & PENDING != 0 {
                    return Err(self.too_early(address, write));
                }
                if bytes > 1 && !self.ordered(write, who) {
                    return Err(Problem::Misuse(format!(
                        "reads what thread {} wrote with no barrier between (race): {}",
                        write & 0x3FF,
                        self.place(address)
                    )));
                }
                last = write;
            }
            let seen = *read;
            if seen != stamp {
                *read = match (seen >> 32) as u32 == self.epoch && seen & FIELD != stamp & FIELD {
                    false => stamp,
                    true => merge(seen, stamp),
                };
            }
        }
        Ok(())
    }

    fn check_arrived(&self, address: usize, bytes: usize) -> Result<(), Problem> {
        // SAFETY: the caller checked the bounds.
        let mut cells = self
            .cells(address, bytes)
            .map(|i| unsafe { *self.writes.add(i) });
        let early = |&cell: &u64| (cell >> 32) as u32 >= self.block_start && cell & PENDING != 0;
        cells
            .find(early)
            .map_or(Ok(()), |cell| Err(self.too_early(address, cell)))
    }

    fn too_early(&self, address: usize, cell: u64) -> Problem {
        Problem::Misuse(format!(
            "reads the target of a cp.async of thread {} before that thread waited for it: {}",
            cell & 0x3FF,
            self.place(address)
        ))
    }

    /// Checks and notes a write; `pending` for the target of a `cp.async`.
    pub fn write(
        &mut self,
        address: usize,
        bytes: usize,
        who: Who,
        pending: bool,
    ) -> Result<(), Problem> {
        self.check_bounds(address, bytes)?;
        let stamp = self.stamp(who) | if pending { PENDING } else { 0 };
        for i in self.cells(address, bytes) {
            // SAFETY: as in `read`.
            let (write, read) = unsafe { (&mut *self.writes.add(i), *self.reads.add(i)) };
            if !self.knows_stores {
                *write = stamp;
                continue;
            }
            let live = (*write >> 32) as u32 >= self.block_start;
            if live && *write & PENDING != 0 {
                return Err(Problem::Misuse(format!(
                    "writes over the target of an unfinished cp.async of thread {}: {}",
                    *write & 0x3FF,
                    self.place(address)
                )));
            }
            if bytes > 1 && !self.ordered(*write, who) {
                return Err(Problem::Misuse(format!(
                    "writes what thread {} wrote with no barrier between (race): {}",
                    *write & 0x3FF,
                    self.place(address)
                )));
            }
            if bytes > 1 && !self.ordered(read, who) {
                let reader = match read & FIELD {
                    MANY => "threads of several warps".to_owned(),
                    lanes if lanes & LANES_OF != 0 => format!("lanes of warp {}", lanes & 31),
                    thread => format!("thread {thread}"),
                };
                return Err(Problem::Misuse(format!(
                    "writes what {reader} read with no barrier between (race): {}",
                    self.place(address)
                )));
            }
            *write = stamp;
        }
        Ok(())
    }

    /// The `cp.async` of `who` into these bytes has finished.
    pub fn finish_pending(&mut self, address: usize, bytes: usize, who: Who) {
        let stamp = self.stamp(who);
        for i in self.cells(address, bytes) {
            // SAFETY: bounds were checked when the copy was issued.
            unsafe { *self.writes.add(i) = stamp };
        }
    }
}

/// Two reads in one epoch by different readers: how to remember both.
fn merge(seen: u64, now: u64) -> u64 {
    let warp = |cell: u64| match cell & FIELD {
        MANY => u64::MAX,
        field if field & LANES_OF != 0 => field & 31,
        field => field / LANES as u64,
    };
    let front = now & !FIELD;
    match warp(seen) == warp(now) {
        // An earlier warp epoch is ordered already; the same one needs both lanes remembered.
        true if (seen ^ now) & 0xFFFF_0000 != 0 => now,
        true => front | LANES_OF | warp(now),
        false => front | MANY,
    }
}

fn unprotect(from: usize, to: usize) {
    let start = from & !(PAGE - 1);
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: pages of the window.
    let refused = unsafe { libc::mprotect(start as *mut _, to - start, rights) };
    assert_eq!(refused, 0, "cannot map shared memory");
}
