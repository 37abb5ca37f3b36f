//! `cp.async`: bytes on their way from global to shared memory, and the groups that a thread waits for.
//!
//! Bytes arrive at once here, but as the target of an unfinished copy nobody may touch them until the
//! thread that asked for them has waited.

use super::failure::Fault;
use super::vector::LANES;
use super::warp::Turn;
use crate::ptx::program::*;

/// Copies of some lanes that belong to one group.
#[derive(Debug, Clone, Copy)]
pub struct Copy {
    lanes: u32,
    targets: [u32; LANES],
    bytes: usize,
    group: u32,
}

impl Turn<'_> {
    #[inline(always)]
    pub fn copy_async(
        &mut self,
        i: &Instruction,
        bytes: u32,
        (from, to): (i64, i64),
        width: Width,
        mask: u32,
    ) -> Result<(), Fault> {
        let bytes = bytes as usize;
        let sources = self.addresses(i.a, Width::Wide, from);
        let targets = self.addresses(i.c, width, to);
        let sizes = self.warp.registers.narrow[i.b as usize]
            .0
            .map(|size| size as usize);
        self.judge_copy(&sources, &targets, &sizes, bytes, mask)?;
        // Lanes that read the same number of bytes are read together.
        let mut rest = mask;
        while rest != 0 {
            let size = sizes[rest.trailing_zeros() as usize];
            let same = (0..LANES).filter(|&lane| rest >> lane & 1 != 0 && sizes[lane] == size);
            let same = same.fold(0, |all, lane| all | 1 << lane);
            rest &= !same;
            if size == 0 {
                continue;
            }
            if let Some((lanes, why)) = self.judge_global_read(&sources, same, size)? {
                let text = why.trim_start_matches(super::doubt::ILLEGAL);
                return Err(Fault::misuse(lanes.trailing_zeros(), text));
            }
        }
        let conflicts = super::shared::bank_conflicts(&targets, mask, bytes);
        self.block.counters.cp_async += u64::from(mask.count_ones());
        self.block.counters.cp_async_bank_conflicts += conflicts;
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            let to = &mut self.block.shared.bytes[targets[lane]..targets[lane] + bytes];
            let from: &[u8] = match sizes[lane] {
                0 => &[], // from wherever, null perhaps
                // SAFETY: these bytes were judged to lie in live memory.
                size => unsafe { std::slice::from_raw_parts(sources[lane] as *const u8, size) },
            };
            match <&[u8; 16]>::try_from(from) {
                Ok(from) => to.copy_from_slice(from),
                Err(_) => {
                    to[..sizes[lane]].copy_from_slice(from);
                    to[sizes[lane]..].fill(0);
                }
            }
        }
        let mut rest = mask;
        while rest != 0 {
            let group = self.warp.groups[rest.trailing_zeros() as usize];
            let same = (0..LANES).fold(0, |all, lane| {
                all | u32::from(self.warp.groups[lane] == group) << lane
            });
            let lanes = rest & same;
            rest &= !same;
            self.warp.copies.push(Copy {
                lanes,
                targets: targets.map(|one| one as u32),
                bytes,
                group,
            });
        }
        Ok(())
    }

    #[inline(always)]
    fn judge_copy(
        &mut self,
        sources: &[usize; LANES],
        targets: &[usize; LANES],
        sizes: &[usize; LANES],
        bytes: usize,
        mask: u32,
    ) -> Result<(), Fault> {
        self.aligned(sources, mask, bytes, "copies from")?;
        self.aligned(targets, mask, bytes, "copies to")?;
        let block = &mut *self.block;
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            let at = |text: String| Fault::address(lane as u32, text);
            if sizes[lane] > bytes {
                let text = format!("copies {} of {bytes} bytes", sizes[lane]);
                return Err(Fault::misuse(lane as u32, text));
            }
            if let Some(text) = block.shared.outside(targets[lane], bytes) {
                return Err(at(format!("writes {text}")));
            }
            if let Some(text) =
                block
                    .shared
                    .write(targets[lane], bytes, &self.warp.clock, lane as u32, true)
            {
                return Err(Fault::misuse(lane as u32, text));
            }
        }
        Ok(())
    }

    /// Closes the group of each lane.
    pub fn commit_copies(&mut self, mask: u32) {
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            self.warp.groups[lane] += 1;
        }
    }

    /// Finishes all but the last `pending` groups of each lane; [`NONE`]: everything, committed or not.
    #[inline(always)]
    pub fn wait_copies(&mut self, pending: u32, mask: u32) {
        let groups = self.warp.groups;
        let shared = &mut self.block.shared;
        let clock = &self.warp.clock;
        self.warp.copies.retain_mut(|copy| {
            let done = (0..LANES).fold(0, |all, lane| {
                let done = pending == NONE || copy.group + pending < groups[lane];
                all | u32::from(done) << lane
            });
            let done = done & mask & copy.lanes;
            for lane in (0..LANES).filter(|lane| done >> lane & 1 != 0) {
                shared.finish_pending(copy.targets[lane] as usize, copy.bytes, clock, lane as u32);
            }
            copy.lanes &= !done;
            copy.lanes != 0
        });
    }
}
