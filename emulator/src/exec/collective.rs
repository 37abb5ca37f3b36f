//! What the lanes of a warp do together: shuffles, votes, reductions, `__syncwarp`.

use super::atomic::combined;
use super::failure::{Fault, lanes};
use super::vector::{LANES, put};
use super::warp::Turn;
use crate::ptx::program::*;

impl Turn<'_> {
    /// Every lane of the mask must be here, and nobody else: the mask is that of the lanes.
    fn meet(&self, register: u32, mask: u32) -> Result<u32, Fault> {
        let masks = &self.warp.registers.narrow[register as usize].0;
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            if masks[lane] >> lane & 1 == 0 {
                return Err(Fault::misuse(
                    lane as u32,
                    format!("is not in its own mask {:#x}", masks[lane]),
                ));
            }
        }
        let first = mask.trailing_zeros() as usize;
        let wanted = masks[first];
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            let other = masks[lane];
            if other != wanted && other & wanted != 0 {
                return Err(Fault::misuse(
                    lane as u32,
                    format!("masks {wanted:#x} and {other:#x} meet"),
                ));
            }
        }
        let all = (0..LANES)
            .filter(|lane| mask >> lane & 1 != 0)
            .fold(0, |all, lane| all | masks[lane]);
        // Lanes beyond the block's last thread do not exist; masks of all 32 may name them.
        let missing = all & !mask & self.warp.exist;
        if missing != 0 {
            let gone = missing & self.warp.exited;
            let note = match gone {
                0 => "",
                gone if gone == missing => " (returned)",
                _ => " (some returned)",
            };
            let text = format!(
                "divergent lanes: {} of the mask {wanted:#x} wait and can never meet {}{note}: never arrive",
                lanes(mask),
                lanes(missing)
            );
            return Err(Fault::misuse(first as u32, text));
        }
        Ok(all)
    }

    pub fn shuffle(
        &mut self,
        i: &Instruction,
        how: Shuffle,
        found: bool,
        mask: u32,
    ) -> Result<(), Fault> {
        let list = self.program.list(i);
        let members = list[usize::from(found)];
        self.meet(members, mask)?;
        let registers = &self.warp.registers;
        let [a, b, c] = [i.a, i.b, i.c].map(|one| registers.narrow[one as usize].0);
        let masks = registers.narrow[members as usize].0;
        let (mut out, mut inside) = ([0; LANES], 0u32);
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            // "Data Movement and Conversion Instructions: shfl.sync".
            let (b, clamp, segment) = (b[lane] & 31, c[lane] & 31, c[lane] >> 8 & 31);
            let own = lane as u32;
            let most = own & segment | clamp & !segment;
            let least = own & segment;
            let (source, fits) = match how {
                Shuffle::Up => (own.wrapping_sub(b), own as i32 - b as i32 >= most as i32),
                Shuffle::Down => (own + b, own + b <= most),
                Shuffle::Butterfly => (own ^ b, own ^ b <= most),
                Shuffle::Index => (least | b & !segment, (least | b & !segment) <= most),
            };
            let source = if fits { source } else { own };
            if masks[lane] >> source & 1 == 0
                || (mask >> source & 1 == 0 && self.warp.exist >> source & 1 != 0)
            {
                return Err(Fault::misuse(
                    own,
                    format!("shuffles from lane {source}, which is not in the mask"),
                ));
            }
            if self.warp.exist >> source & 1 == 0 {
                return Err(Fault::misuse(
                    own,
                    format!("shuffles from lane {source}, which does not exist"),
                ));
            }
            out[lane] = a[source as usize];
            inside |= u32::from(fits) << lane;
        }
        put(&mut self.warp.registers.narrow[i.d as usize], out, mask);
        if found {
            let to = &mut self.warp.registers.predicates[list[0] as usize];
            *to = *to & !mask | inside;
        }
        self.block.counters.warp_collectives += 1;
        Ok(())
    }

    pub fn vote(&mut self, i: &Instruction, vote: Vote, mask: u32) -> Result<(), Fault> {
        self.meet(i.a, mask)?;
        let masks = self.warp.registers.narrow[i.a as usize].0;
        let yes = self.warp.registers.predicates[i.c as usize] & mask;
        let mut out = [0u32; LANES];
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            let members = masks[lane] & mask;
            out[lane] = match vote {
                Vote::All => u32::from(yes & members == members),
                Vote::Any => u32::from(yes & members != 0),
                Vote::Uniform => u32::from(yes & members == 0 || yes & members == members),
                _ => yes & members,
            };
        }
        if vote == Vote::Ballot {
            put(&mut self.warp.registers.narrow[i.d as usize], out, mask);
        } else {
            let bits = (0..LANES).fold(0, |all, lane| all | out[lane] << lane);
            let to = &mut self.warp.registers.predicates[i.d as usize];
            *to = *to & !mask | bits & mask;
        }
        self.block.counters.warp_collectives += 1;
        Ok(())
    }

    pub fn reduce(
        &mut self,
        i: &Instruction,
        (atomic, kind): (Atomic, Kind),
        mask: u32,
    ) -> Result<(), Fault> {
        self.meet(i.a, mask)?;
        let masks = self.warp.registers.narrow[i.a as usize].0;
        let values = self.warp.registers.narrow[i.b as usize].0;
        let mut out = [0u32; LANES];
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            let members = (0..LANES).filter(|one| masks[lane] & mask & 1 << one != 0);
            let values = members.map(|one| u64::from(values[one]));
            out[lane] = values
                .reduce(|all, one| combined(atomic, kind, all, one, 0))
                .unwrap_or(0) as u32;
        }
        put(&mut self.warp.registers.narrow[i.d as usize], out, mask);
        self.block.counters.warp_collectives += 1;
        Ok(())
    }

    /// `__syncwarp`: what its lanes did is known to them from now on.
    pub fn sync_warp(&mut self, i: &Instruction, mask: u32) -> Result<(), Fault> {
        self.meet(i.a, mask)?;
        let masks = self.warp.registers.narrow[i.a as usize].0;
        let mut rest = mask;
        while rest != 0 {
            let members = masks[rest.trailing_zeros() as usize];
            self.block.advance(self.warp, members)?;
            rest &= !members;
        }
        Ok(())
    }
}
