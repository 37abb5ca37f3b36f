//! Atomics, one lane at a time of all CPU threads. Those of global memory take no part in races.

use std::sync::Mutex;

use super::access::{outside, read_raw, read_slice, write_raw, write_slice};
use super::failure::Fault;
use super::vector::LANES;
use super::warp::Turn;
use crate::memory::{self, INITIALISED, LIVE};
use crate::ptx::program::*;

impl Turn<'_> {
    pub fn atomic(
        &mut self,
        i: &Instruction,
        op: (Access, Width, Atomic, Kind, bool),
        mask: u32,
    ) -> Result<(), Fault> {
        let (access, width, atomic, kind, silent) = op;
        let (space, addresses, bytes) = self.find(i, access, width, mask, "adds to")?;
        let registers = &self.warp.registers;
        let b = registers.widest(i.b, access.wide);
        let c = registers.widest(i.c, access.wide);
        let mut old = [0; LANES];
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            let address = addresses[lane];
            self.judge_atomic(space, address, bytes, lane as u32)?;
            // One at a time, of all CPU threads.
            static LOCK: Mutex<()> = Mutex::new(());
            let _locked = LOCK.lock();
            if space == Space::Shared {
                old[lane] = read_slice(&self.block.shared.bytes, address, access.bytes);
                let new = combined(atomic, kind, old[lane], b[lane], c[lane]);
                write_slice(&mut self.block.shared.bytes, address, new, access.bytes);
            } else {
                // SAFETY: judged to lie in live memory.
                unsafe {
                    old[lane] = read_raw(address, access.bytes);
                    write_raw(
                        address,
                        combined(atomic, kind, old[lane], b[lane], c[lane]),
                        access.bytes,
                    );
                }
            }
            self.block.counters.atomics += 1;
            self.block.counters.float_atomics += u64::from(kind == Kind::F32);
        }
        if !silent {
            let registers = &mut self.warp.registers;
            registers.put_widest(i.d, access.wide, old, mask);
        }
        Ok(())
    }

    fn judge_atomic(
        &mut self,
        space: Space,
        address: usize,
        bytes: usize,
        lane: u32,
    ) -> Result<(), Fault> {
        if space == Space::Shared {
            let shared = &mut self.block.shared;
            if let Some(text) = shared.outside(address, bytes) {
                return Err(Fault::address(lane, format!("adds to {text}")));
            }
            let wrong = shared.atomic(address, bytes, &self.warp.clock, lane);
            return wrong.map_or(Ok(()), |text| Err(Fault::misuse(lane, text)));
        }
        if !memory::is_device_range(address, bytes) || !memory::all_have(address, bytes, LIVE) {
            return Err(outside((lane, address), bytes, "adds to"));
        }
        if let Some(at) = memory::first_without(address, bytes, INITIALISED) {
            let text = format!(
                "reads uninitialised global memory: {}",
                memory::describe(at)
            );
            return Err(Fault::address(lane, text));
        }
        let counters = &mut self.block.counters;
        counters.global_read += bytes as u64;
        counters.global_written += bytes as u64;
        counters.global_read_distinct += memory::touch_read(address, bytes);
        counters.global_written_distinct += memory::touch_written(address, bytes);
        Ok(())
    }
}

/// What an atomic leaves in memory.
pub fn combined(atomic: Atomic, kind: Kind, old: u64, b: u64, c: u64) -> u64 {
    let signed = |x: u64| {
        if kind == Kind::S32 {
            i64::from(x as i32)
        } else {
            x as i64
        }
    };
    let is_signed = matches!(kind, Kind::S32 | Kind::S64);
    match atomic {
        Atomic::Add if kind == Kind::F32 => {
            u64::from((f32::from_bits(old as u32) + f32::from_bits(b as u32)).to_bits())
        }
        Atomic::Add => old.wrapping_add(b),
        Atomic::And => old & b,
        Atomic::Or => old | b,
        Atomic::Xor => old ^ b,
        Atomic::Min if is_signed => {
            if signed(b) < signed(old) {
                b
            } else {
                old
            }
        }
        Atomic::Max if is_signed => {
            if signed(b) > signed(old) {
                b
            } else {
                old
            }
        }
        Atomic::Min => old.min(b),
        Atomic::Max => old.max(b),
        Atomic::Exchange => b,
        Atomic::CompareExchange => {
            if old == b {
                c
            } else {
                old
            }
        }
        Atomic::Increment => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        Atomic::Decrement => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
    }
}
