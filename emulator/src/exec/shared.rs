//! Shared memory of the block that a worker runs, with records of who wrote and read it when.
//!
//! Kept for each two bytes: the last write, and for each warp its last read, so that no read is
//! forgotten however warps synchronise. Accesses of one byte are judged for initialisation only.

use super::race::Clock;
use crate::ptx::Program;

const UNIT: usize = 2;
/// Clocks have 20 bits in a record.
const TICKS: u32 = 1 << 20;
/// What a block may use up.
const TICKS_OF_A_BLOCK: u32 = 1 << 19;
/// A record's lower half: for writes warp 5, lane 5 and these, for reads the lane or the last one.
const PENDING: u32 = 1;
const ATOMIC: u32 = 2;
const SEVERAL: u32 = 63;
const TIME: u32 = 12;

/// When, by which warp and lane a write was made.
#[inline(always)]
fn written(clock: &Clock, lane: u32) -> u32 {
    clock.now << TIME | clock.warp << 7 | lane << 2
}

/// Thread and time of such a record.
#[inline(always)]
fn writer(cell: u32) -> (u32, u32, u32) {
    (cell >> 7 & 31, cell >> 2 & 31, cell >> TIME)
}

/// A piece of shared memory that exists.
#[derive(Debug, Clone)]
struct Piece {
    base: usize,
    bytes: usize,
    name: String,
}

impl Piece {
    #[inline(always)]
    fn holds(&self, address: usize, bytes: usize) -> bool {
        // The end of an access may lie beyond the last address.
        let at = address.wrapping_sub(self.base);
        at <= self.bytes && bytes <= self.bytes - at
    }
}

pub struct Shared {
    pub bytes: Vec<u8>,
    writes: Vec<u32>,
    /// For bytes that were written alone, the start of the block that did; only as far as there are some.
    alone: Vec<u32>,
    /// By warp.
    reads: Vec<Vec<u32>>,
    /// When anybody read last: most writes need to know no more.
    latest: Vec<u32>,
    warps: usize,
    pieces: Vec<Piece>,
    /// Time, going on with every synchronisation of the worker's blocks.
    pub tick: u32,
    start: u32,
}

impl Shared {
    pub fn new() -> Self {
        Self {
            bytes: Vec::new(),
            writes: Vec::new(),
            alone: Vec::new(),
            reads: Vec::new(),
            latest: Vec::new(),
            warps: 0,
            pieces: Vec::new(),
            tick: 1,
            start: 1,
        }
    }

    /// Makes room for the blocks of a launch.
    pub fn start_launch(&mut self, program: &Program, dynamic: usize, warps: usize) {
        let end = program.dynamic_offset as usize + dynamic;
        let piece = |one: &crate::ptx::program::SharedVariable| Piece {
            base: one.offset as usize,
            bytes: one.bytes as usize,
            name: format!("`{}`", one.name),
        };
        self.pieces = program.shared.iter().map(piece).collect();
        self.pieces.push(Piece {
            base: program.dynamic_offset as usize,
            bytes: dynamic,
            name: "dynamic shared memory".into(),
        });
        let units = end.div_ceil(UNIT) + 1;
        if self.bytes.len() < end {
            self.bytes.resize(end, crate::memory::POISON);
        }
        if self.writes.len() < units {
            self.writes.resize(units, 0);
            self.latest.resize(units, 0);
        }
        if self.reads.len() < warps {
            self.reads.resize_with(warps, Vec::new);
        }
        for plane in &mut self.reads[..warps] {
            if plane.len() < units {
                plane.resize(units, 0);
            }
        }
        self.warps = warps;
    }

    /// Everything is unwritten; the time at which the block starts.
    pub fn start_block(&mut self) -> u32 {
        if self.tick > TICKS - TICKS_OF_A_BLOCK - 2 {
            self.writes.fill(0);
            self.alone.fill(0);
            self.latest.fill(0);
            self.reads.iter_mut().for_each(|plane| plane.fill(0));
            self.tick = 1;
        }
        self.tick += 1;
        self.start = self.tick;
        self.start
    }

    /// Time goes on; false if a block has used up what a record can hold.
    pub fn next_tick(&mut self) -> bool {
        self.tick += 1;
        self.tick - self.start < TICKS_OF_A_BLOCK
    }

    /// Why an access does not lie in one piece.
    #[inline(always)]
    pub fn outside(&self, address: usize, bytes: usize) -> Option<String> {
        // The last piece is dynamic shared memory, where most accesses go.
        match self.pieces.last() {
            Some(last) if last.holds(address, bytes) => None,
            _ => self.judge_place(address, bytes),
        }
    }

    fn judge_place(&self, address: usize, bytes: usize) -> Option<String> {
        if self.pieces.iter().any(|one| one.holds(address, bytes)) {
            return None;
        }
        if address as u64 & !0xFF_FFFF == super::access::SHARED_WINDOW {
            return Some(format!(
                "{bytes} bytes at the generic address {address:#x}, where one of shared memory is wanted"
            ));
        }
        // Addresses of 32 bits and of 64 may both lie before the first piece.
        let at = u32::try_from(address).map_or(address as i64, |short| i64::from(short as i32));
        let near = self.pieces.iter().min_by_key(|one| {
            let (base, end) = (one.base as i64, (one.base + one.bytes) as i64);
            (base - at).max(at - end)
        });
        let piece = near.expect("the dynamic piece always exists");
        Some(format!(
            "{bytes} bytes at offset {} of {}, which has {} bytes",
            at - piece.base as i64,
            piece.name,
            piece.bytes
        ))
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

    fn units(address: usize, bytes: usize) -> std::ops::Range<usize> {
        address / UNIT..(address + bytes - 1) / UNIT + 1
    }

    /// Notes a read by `lane`, or by lanes of the whole warp; what is wrong with it.
    #[inline(always)]
    pub fn read(
        &mut self,
        address: usize,
        bytes: usize,
        clock: &Clock,
        lane: Option<u32>,
    ) -> Option<String> {
        // Loops of known length become a vector instruction or two.
        match bytes {
            16 => self.read_units::<8>(address, bytes, clock, lane),
            8 => self.read_units::<4>(address, bytes, clock, lane),
            4 => self.read_units::<2>(address, bytes, clock, lane),
            _ => self.read_units::<1>(address, bytes, clock, lane),
        }
    }

    #[inline(always)]
    fn read_units<const UNITS: usize>(
        &mut self,
        address: usize,
        bytes: usize,
        clock: &Clock,
        lane: Option<u32>,
    ) -> Option<String> {
        let first = address / UNIT;
        let start = self.start;
        let window = clock.least.wrapping_sub(start);
        let known = clock.least >= start
            && cells::<UNITS>(&mut self.writes, first)
                .iter()
                .fold(true, |all, cell| {
                    all & ((cell >> TIME).wrapping_sub(start) <= window) & (cell & PENDING == 0)
                });
        let wrong = if known {
            None
        } else {
            self.judge_read(address, bytes, clock, lane)
        };
        if bytes > 1 {
            let stamp = clock.now << TIME | lane.unwrap_or(SEVERAL);
            // Another lane's read at the same time is not forgotten.
            let merged = clock.now << TIME | SEVERAL;
            for time in cells::<UNITS>(&mut self.latest, first) {
                *time = (*time).max(clock.now);
            }
            for cell in cells::<UNITS>(&mut self.reads[clock.warp as usize], first) {
                let other = *cell >> TIME == clock.now && *cell != stamp;
                *cell = if other { merged } else { stamp };
            }
        }
        wrong
    }

    #[cold]
    fn judge_read(
        &self,
        address: usize,
        bytes: usize,
        clock: &Clock,
        lane: Option<u32>,
    ) -> Option<String> {
        for unit in Self::units(address, bytes) {
            let cell = self.writes[unit];
            let (warp, writer, time) = writer(cell);
            if time < self.start {
                if bytes == 1 && self.was_written_alone(address) {
                    continue;
                }
                return Some(format!(
                    "reads uninitialised shared memory: {}",
                    self.place(address)
                ));
            }
            let thread = warp * 32 + writer;
            if cell & PENDING != 0 {
                return Some(format!(
                    "reads the target of a cp.async of thread {thread} before that thread waited for it: {}",
                    self.place(address)
                ));
            }
            if bytes > 1 && !clock.after((warp, Some(writer), time), lane) {
                return Some(format!(
                    "reads what thread {thread} wrote with no barrier between (race): {}",
                    self.place(address)
                ));
            }
        }
        None
    }

    /// Notes a write; `pending` for the target of a `cp.async`. What is wrong with it.
    #[inline(always)]
    pub fn write(
        &mut self,
        address: usize,
        bytes: usize,
        clock: &Clock,
        lane: u32,
        pending: bool,
    ) -> Option<String> {
        match bytes {
            16 => self.write_units::<8>(address, bytes, clock, lane, pending),
            8 => self.write_units::<4>(address, bytes, clock, lane, pending),
            4 => self.write_units::<2>(address, bytes, clock, lane, pending),
            2 => self.write_units::<1>(address, bytes, clock, lane, pending),
            _ => self.write_byte(address, clock, lane),
        }
    }

    #[inline(always)]
    fn write_units<const UNITS: usize>(
        &mut self,
        address: usize,
        bytes: usize,
        clock: &Clock,
        lane: u32,
        pending: bool,
    ) -> Option<String> {
        let first = address / UNIT;
        let least = clock.least;
        let read = cells::<UNITS>(&mut self.latest, first)
            .iter()
            .fold(false, |any, time| any | (*time > least));
        let rewritten = cells::<UNITS>(&mut self.writes, first)
            .iter()
            .fold(false, |any, cell| {
                any | (cell >> TIME > least) | (cell & PENDING != 0)
            });
        let wrong = if read | rewritten {
            self.judge_write(address, bytes, clock, lane, false)
        } else {
            None
        };
        let pending = if pending { PENDING } else { 0 };
        cells::<UNITS>(&mut self.writes, first).fill(written(clock, lane) | pending);
        wrong
    }

    fn was_written_alone(&self, address: usize) -> bool {
        self.alone.get(address) == Some(&self.start)
    }

    /// A byte alone makes its unit a written one if the other byte is written.
    #[cold]
    fn write_byte(&mut self, address: usize, clock: &Clock, lane: u32) -> Option<String> {
        let wrong = self.judge_write(address, 1, clock, lane, false);
        if self.alone.len() <= address {
            self.alone.resize(address + 1, 0);
        }
        self.alone[address] = self.start;
        let cell = &self.writes[address / UNIT];
        if cell >> TIME >= self.start || self.was_written_alone(address ^ 1) {
            self.writes[address / UNIT] = written(clock, lane);
        }
        wrong
    }

    /// Notes an atomic, which reads and writes, and does not race with others. (Of several the last
    /// one is known.)
    pub fn atomic(
        &mut self,
        address: usize,
        bytes: usize,
        clock: &Clock,
        lane: u32,
    ) -> Option<String> {
        let wrong = self.judge_write(address, bytes, clock, lane, true);
        self.writes[Self::units(address, bytes)].fill(written(clock, lane) | ATOMIC);
        wrong
    }

    #[cold]
    fn judge_write(
        &self,
        address: usize,
        bytes: usize,
        clock: &Clock,
        lane: u32,
        atomic: bool,
    ) -> Option<String> {
        for unit in Self::units(address, bytes) {
            let cell = self.writes[unit];
            let (warp, writer, time) = writer(cell);
            let both_atomic = atomic && cell & ATOMIC != 0;
            if time < self.start && atomic {
                return Some(format!(
                    "reads uninitialised shared memory: {}",
                    self.place(address)
                ));
            }
            if time >= self.start {
                let thread = warp * 32 + writer;
                if cell & PENDING != 0 {
                    return Some(format!(
                        "writes over the target of an unfinished cp.async of thread {thread}: {}",
                        self.place(address)
                    ));
                }
                let known = both_atomic || clock.after((warp, Some(writer), time), Some(lane));
                if bytes > 1 && !known {
                    return Some(format!(
                        "writes what thread {thread} wrote with no barrier between (race): {}",
                        self.place(address)
                    ));
                }
            }
            for (warp, plane) in self.reads[..self.warps].iter().enumerate() {
                let (time, reader) = (plane[unit] >> TIME, plane[unit] & SEVERAL);
                let reader = (reader != SEVERAL).then_some(reader);
                if time < self.start
                    || bytes == 1
                    || clock.after((warp as u32, reader, time), Some(lane))
                {
                    continue;
                }
                let who = match reader {
                    Some(lane) => format!("thread {}", warp * 32 + lane as usize),
                    None => format!("lanes of warp {warp}"),
                };
                return Some(format!(
                    "writes what {who} read with no barrier between (race): {}",
                    self.place(address)
                ));
            }
        }
        None
    }

    /// The `cp.async` of this lane into these bytes has finished: its thread sees them.
    pub fn finish_pending(&mut self, address: usize, bytes: usize, clock: &Clock, lane: u32) {
        self.writes[Self::units(address, bytes)].fill(written(clock, lane));
    }
}

/// The records of an access.
#[inline(always)]
fn cells<const UNITS: usize>(plane: &mut [u32], first: usize) -> &mut [u32; UNITS] {
    let cells = &mut plane[first..first + UNITS];
    cells.try_into().expect("as many as were asked for")
}

/// Cycles that shared memory needs for an access beyond the least for its size: 32 banks of four
/// bytes, one word of each bank a cycle, the lanes of 128 bytes together.
#[inline(always)]
pub fn bank_conflicts(addresses: &[usize; 32], mask: u32, bytes: usize) -> u64 {
    let first = addresses[0];
    if mask == u32::MAX
        && (0..32).fold(true, |all, lane| {
            all & (addresses[lane] == first + lane * bytes)
        })
    {
        return 0;
    }
    let group = (128 / bytes.max(4)).min(32);
    let words = bytes.div_ceil(4);
    let mut conflicts = 0;
    for first in (0..32).step_by(group) {
        let lanes = (first..first + group).filter(|lane| mask >> lane & 1 != 0);
        // Aligned accesses of whole words: each covers banks of its own, or all of another's.
        let words_at_once = words.next_power_of_two();
        let (mut banks, mut count) = (0u32, 0);
        for lane in lanes {
            banks |= 1 << (addresses[lane] / (4 * words_at_once) % (32 / words_at_once));
            count += 1;
        }
        if banks.count_ones() == count {
            continue;
        }
        conflicts += conflicts_of(addresses, mask, (first..first + group, words));
    }
    conflicts
}

/// Of lanes that are served together.
#[inline(never)]
fn conflicts_of(
    addresses: &[usize; 32],
    mask: u32,
    (lanes, words): (std::ops::Range<usize>, usize),
) -> u64 {
    // Distinct words of each bank.
    let mut seen: [[usize; 8]; 32] = [[usize::MAX; 8]; 32];
    let mut counts = [0usize; 32];
    for lane in lanes.filter(|lane| mask >> lane & 1 != 0) {
        for word in 0..words {
            let word = addresses[lane] / 4 + word;
            let bank = word % 32;
            if seen[bank][..counts[bank].min(8)].contains(&word) {
                continue;
            }
            if counts[bank] < 8 {
                seen[bank][counts[bank]] = word;
            }
            counts[bank] += 1;
        }
    }
    let cycles = counts.into_iter().max().unwrap_or(0);
    cycles.saturating_sub(1) as u64
}

#[cfg(test)]
mod tests {
    use super::bank_conflicts;

    #[test]
    fn conflicts_of_known_patterns() {
        let row = |stride: usize| std::array::from_fn(|lane| lane * stride);
        assert_eq!(bank_conflicts(&row(4), u32::MAX, 4), 0);
        assert_eq!(bank_conflicts(&row(8), u32::MAX, 4), 1, "every other word");
        assert_eq!(bank_conflicts(&row(128), u32::MAX, 4), 31, "one bank");
        assert_eq!(bank_conflicts(&[64; 32], u32::MAX, 4), 0, "a broadcast");
        assert_eq!(
            bank_conflicts(&row(16), u32::MAX, 16),
            0,
            "four groups of eight lanes"
        );
        assert_eq!(
            bank_conflicts(&row(32), u32::MAX, 16),
            4,
            "two words of a bank in each group"
        );
        assert_eq!(bank_conflicts(&row(8), u32::MAX, 8), 0);
    }
}
