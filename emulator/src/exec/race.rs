//! Who did what when: the clocks of a block's warps, and what is known of each word of global memory.
//!
//! Each warp has a clock that goes on when it synchronises, and for every other warp the time up to
//! which it knows what that one did (vector clocks: Lamport 1978, Mattern 1989; for races: FastTrack,
//! Flanagan and Freund 2009). Two accesses of one place, one of them a write, are a race unless the
//! earlier one is known to the later one's warp. Lanes of a warp know each other after `__syncwarp`.
//! Blocks of a launch never know each other.
//!
//! A word of global memory has two records, of the last write and the last read. What does not fit
//! (reads of several threads) is widened to the least circle that holds them: lanes of a warp, warps
//! of a block, blocks.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::vector::LANES;
use crate::memory;

/// Warps of a block, at most.
pub const WARPS: usize = 32;

/// What a warp knows.
#[derive(Debug, Clone)]
pub struct Clock {
    pub warp: u32,
    pub now: u32,
    /// Up to when it knows of each warp.
    pub known: [u32; WARPS],
    /// When the block started.
    pub start: u32,
    /// When all its lanes synchronised last.
    whole: u32,
    /// Where only some have since: of each lane the times before which it knows of each other one.
    pairs: Option<Box<[[u32; LANES]; LANES]>>,
    /// Everything up to here is known of all warps, its own lanes included.
    pub least: u32,
}

impl Clock {
    pub fn new(warp: u32, start: u32, warps: usize) -> Self {
        let mut clock = Self {
            warp,
            now: start,
            known: [start - 1; WARPS],
            start,
            whole: start,
            pairs: None,
            least: 0,
        };
        clock.settle(warps);
        clock
    }

    /// Time goes on: all lanes have synchronised.
    pub fn advance(&mut self, now: u32, warps: usize) {
        self.now = now;
        self.whole = now;
        self.pairs = None;
        self.settle(warps);
    }

    /// Time goes on: `members` have synchronised. What one of them knew or did they all know.
    pub fn advance_some(&mut self, now: u32, members: u32, warps: usize) {
        let whole = self.whole;
        let pairs = self
            .pairs
            .get_or_insert_with(|| Box::new([[whole; LANES]; LANES]));
        let is_member = |lane: &usize| members >> lane & 1 != 0;
        let together = std::array::from_fn(|of| {
            let known = (0..LANES).filter(is_member).map(|lane| pairs[lane][of]);
            if is_member(&of) {
                now
            } else {
                known.max().unwrap_or(whole)
            }
        });
        (0..LANES)
            .filter(is_member)
            .for_each(|lane| pairs[lane] = together);
        self.now = now;
        self.settle(warps);
    }

    /// Computes `least` anew.
    fn settle(&mut self, warps: usize) {
        let others = (0..warps).filter(|&one| one != self.warp as usize);
        let least = others.map(|one| self.known[one]).min().unwrap_or(u32::MAX);
        self.least = least.min(self.whole - 1);
    }

    /// Whether what `lane` (none: several) of `warp` did at `time` comes before what `own` does now.
    pub fn after(&self, (warp, lane, time): (u32, Option<u32>, u32), own: Option<u32>) -> bool {
        if warp == self.warp {
            let by_pairs = |(lane, own): (u32, u32)| {
                let pairs = self.pairs.as_ref();
                lane == own || pairs.is_some_and(|pairs| time < pairs[own as usize][lane as usize])
            };
            time < self.whole || lane.zip(own).is_some_and(by_pairs)
        } else {
            self.known[warp as usize] >= time
        }
    }
}

// A record: launch 14 | block 16 | kind 2 | warp 5, lane 5 | time since the block's start 18 | bytes 4.
const LAUNCH: u32 = 50;
const BLOCK: u32 = 34;
const KIND: u32 = 32;
const THREAD: u32 = 22;
const TIME: u32 = 4;
const LAST_TIME: u64 = (1 << 18) - 1;

const ONE_THREAD: u64 = 0;
const ONE_WARP: u64 = 1;
const ONE_BLOCK: u64 = 2;
const SEVERAL_BLOCKS: u64 = 3;

/// Who accesses global memory now.
#[derive(Debug, Clone)]
pub struct Who<'a> {
    pub clock: &'a Clock,
    /// Launch and block, in their places.
    pub place: u64,
}

/// Launch and block in a record's form.
pub fn place(launch: u64, block: u64) -> u64 {
    (launch & 0x3FFF) << LAUNCH | (block & 0xFFFF) << BLOCK
}

impl Who<'_> {
    fn record(&self, lane: u32) -> u64 {
        let time = u64::from(self.clock.now - self.clock.start).min(LAST_TIME);
        let thread = u64::from(self.clock.warp << 5 | lane);
        self.place | ONE_THREAD << KIND | thread << THREAD | time << TIME
    }

    /// Whether what a record tells comes before what `lane` does now.
    fn after(&self, record: u64, lane: u32) -> bool {
        if record >> LAUNCH != self.place >> LAUNCH {
            return true;
        }
        let time = record >> TIME & LAST_TIME;
        if record >> BLOCK != self.place >> BLOCK || record >> KIND & 3 == SEVERAL_BLOCKS {
            return false;
        }
        if time == LAST_TIME {
            return true; // too late in the block to tell
        }
        let time = self.clock.start + time as u32;
        let (warp, who) = (
            (record >> (THREAD + 5)) as u32 & 31,
            (record >> THREAD) as u32 & 31,
        );
        match record >> KIND & 3 {
            ONE_THREAD => self.clock.after((warp, Some(who), time), Some(lane)),
            ONE_WARP => self.clock.after((warp, None, time), Some(lane)),
            _ => self.clock.least >= time,
        }
    }

    /// Whether all records are of earlier launches.
    #[inline(always)]
    fn are_old(&self, records: &[u64]) -> bool {
        let launch = self.place >> LAUNCH;
        records
            .iter()
            .fold(true, |all, one| all & (one >> LAUNCH != launch))
    }

    fn describe(&self, record: u64) -> String {
        let thread = record >> THREAD & 0x3FF;
        if record >> BLOCK != self.place >> BLOCK {
            return format!("thread {thread} of block {}", record >> BLOCK & 0xFFFF);
        }
        match record >> KIND & 3 {
            ONE_THREAD => format!("thread {thread}"),
            ONE_WARP => format!("lanes of warp {}", thread >> 5),
            ONE_BLOCK => "threads of several warps".to_owned(),
            _ => "threads of several blocks".to_owned(),
        }
    }

    /// Notes reads of `bytes` from `address` on, each lane's `step` bytes one after the other from
    /// `lane` on (`step` 0: `lane` reads them all, for others, too). What is wrong, and whose read.
    ///
    /// Of a reader and a writer on two CPU threads one finds the other: a reader leaves its record before
    /// it looks for writers, a writer exchanges records before it looks for readers. (Two readers of one
    /// word at the same moment may leave one record; the other one's block is then not known.)
    #[inline(always)]
    pub fn read(
        &self,
        address: usize,
        bytes: usize,
        lane: u32,
        step: usize,
    ) -> Option<(u32, String)> {
        let (writes, reads) = words(address, bytes);
        let launch = self.place >> LAUNCH;
        // Nobody may write what several blocks have read: no further reader matters.
        let several = self.place & !(0xFFFF << BLOCK) | SEVERAL_BLOCKS << KIND | 0xF;
        let mask = !(0xFFFF << BLOCK | 0x3FF << THREAD | LAST_TIME << TIME);
        if whole_words(address, step) && self.are_old(reads) {
            fill(reads, self.record(lane) | 0xF, step);
        } else if !reads
            .iter()
            .fold(true, |all, one| all & (one & mask == several))
        {
            self.note_reads(address, bytes, lane, step);
        }
        fence(Ordering::SeqCst);
        if memory::written_by(address, bytes, launch) && !self.are_old(writes) {
            return self.judge_read(address, bytes, lane, step);
        }
        None
    }

    fn note_reads(&self, address: usize, bytes: usize, lane: u32, step: usize) {
        let (_, reads) = words(address, bytes);
        let readers = if step == 0 { ONE_WARP } else { ONE_THREAD };
        let own = self.record(0) | readers << KIND;
        let launch = self.place >> LAUNCH;
        each_word(address, bytes, step, |i, mask, offset| {
            let mine = own | u64::from(lane + offset as u32) << THREAD | mask;
            let seen = reads[i];
            let fresh = seen >> LAUNCH != launch || seen & mask == 0;
            reads[i] = if fresh { mine } else { self.merged(seen, mine) };
        });
    }

    #[cold]
    fn judge_read(
        &self,
        address: usize,
        bytes: usize,
        lane: u32,
        step: usize,
    ) -> Option<(u32, String)> {
        let (writes, _) = words(address, bytes);
        let mut wrong = None;
        each_word(address, bytes, step, |i, mask, offset| {
            let lane = lane + offset as u32;
            let write = writes[i];
            if write & mask != 0 && !self.after(write, lane) && wrong.is_none() {
                wrong = Some((
                    lane,
                    format!(
                        "reads what {} writes with nothing between (race)",
                        self.describe(write)
                    ),
                ));
            }
        });
        wrong
    }

    /// The least circle that holds two reads of one launch.
    fn merged(&self, seen: u64, mine: u64) -> u64 {
        let bytes = seen & mine & 0xF;
        let mine = mine & !0xF | bytes;
        let kind = |kind: u64| mine & !(3 << KIND) | kind << KIND;
        if seen >> KIND & 3 == SEVERAL_BLOCKS || seen >> BLOCK != mine >> BLOCK {
            return kind(SEVERAL_BLOCKS);
        }
        let same_warp = seen >> (THREAD + 5) & 31 == mine >> (THREAD + 5) & 31;
        match seen >> KIND & 3 {
            ONE_BLOCK => kind(ONE_BLOCK),
            _ if !same_warp => {
                // What is known to come before leaves the circle.
                if self.after(seen, (mine >> THREAD) as u32 & 31) {
                    mine
                } else {
                    kind(ONE_BLOCK)
                }
            }
            ONE_THREAD if seen >> THREAD & 31 == mine >> THREAD & 31 => mine,
            _ if (seen ^ mine) >> TIME & LAST_TIME != 0 => mine,
            _ => kind(ONE_WARP),
        }
    }

    /// Notes writes, as [`Who::read`] does reads.
    #[inline(always)]
    pub fn write(
        &self,
        address: usize,
        bytes: usize,
        lane: u32,
        step: usize,
    ) -> Option<(u32, String)> {
        let (writes, reads) = words(address, bytes);
        let launch = self.place >> LAUNCH;
        memory::note_writer(address, bytes, launch);
        // What the records were, and pieces of words where lanes share them.
        let mut before = [0; LONGEST];
        let whole = whole_words(address, step);
        let record = self.record(lane) | if whole { 0xF } else { 0 };
        if whole {
            let shift = (step / 4).trailing_zeros();
            for (i, write) in writes.iter_mut().enumerate() {
                before[i] = exchange(write, record + (((i >> shift) as u64) << THREAD));
            }
            if self.are_old(&before[..writes.len()]) && self.are_old(reads) {
                return None;
            }
        }
        let mut wrong = None;
        each_word(address, bytes, step, |i, mask, offset| {
            let lane = lane + offset as u32;
            if !whole {
                before[i] = exchange(&mut writes[i], self.record(lane) | mask);
            }
            for (record, verb) in [(before[i], "writes"), (reads[i], "reads")] {
                if record & mask != 0 && !self.after(record, lane) && wrong.is_none() {
                    let who = self.describe(record);
                    wrong = Some((
                        lane,
                        format!("writes what {who} {verb} with nothing between (race)"),
                    ));
                }
            }
        });
        wrong
    }
}

/// Words of an access of a whole warp, at most.
const LONGEST: usize = 32 * 16 / 4 + 1;

/// Puts a record in the place of another, as one step for all CPU threads.
#[inline(always)]
fn exchange(place: &mut u64, record: u64) -> u64 {
    // SAFETY: an aligned word that is borrowed for the call.
    unsafe { AtomicU64::from_ptr(place) }.swap(record, Ordering::SeqCst)
}

/// Whether no two lanes share a word, and a shift tells whose it is. (`cp.async` may read 12 bytes.)
#[inline(always)]
fn whole_words(address: usize, step: usize) -> bool {
    step >= 4 && step.is_power_of_two() && address.is_multiple_of(4)
}

/// Gives consecutive words the record of consecutive lanes, `step` bytes each.
#[inline(always)]
fn fill(records: &mut [u64], first: u64, step: usize) {
    let shift = (step / 4).trailing_zeros();
    for (i, record) in records.iter_mut().enumerate() {
        *record = first + (((i >> shift) as u64) << THREAD);
    }
}

/// Records of writes and reads of the words that the range touches.
///
/// CPU threads that run blocks of one launch change them without a lock.
#[inline(always)]
fn words(address: usize, bytes: usize) -> (&'static mut [u64], &'static mut [u64]) {
    let first = address & !3;
    let count = (address + bytes - first).div_ceil(4);
    let [writes, reads] = memory::records(first);
    // SAFETY: the planes cover the whole arena, whose range was checked, for the whole process.
    unsafe {
        (
            std::slice::from_raw_parts_mut(writes, count),
            std::slice::from_raw_parts_mut(reads, count),
        )
    }
}

/// Each piece of a word that belongs to one lane: index of the word, its bytes as bits, lane.
fn each_word(address: usize, bytes: usize, step: usize, mut piece: impl FnMut(usize, u64, usize)) {
    let base = address & !3;
    let mut at = address;
    while at < address + bytes {
        // One lane, if all read one place.
        let lane = (at - address).checked_div(step);
        let of_word = ((at & !3) + 4).min(address + bytes);
        let end = lane.map_or(of_word, |lane| of_word.min(address + (lane + 1) * step));
        let mask = ((1u64 << (end - at)) - 1) << (at & 3);
        let lane = lane.unwrap_or(0);
        piece((at - base) / 4, mask, lane);
        at = end;
    }
}
