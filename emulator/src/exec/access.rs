//! Loads and stores: each lane's address is judged, then the bytes move.

use std::rc::Rc;

use super::doubt::ILLEGAL;
use super::failure::Fault;
use super::race::Who;
use super::shared::bank_conflicts;
use super::vector::{LANES, Lanes};
use super::warp::Turn;
use crate::memory::{self, INITIALISED, LIVE};
use crate::ptx::program::*;

/// Generic addresses of shared and of local memory: offsets from here. No device memory is near, and the
/// lower half of one is no address in its space.
pub const SHARED_WINDOW: u64 = 1 << 60 | 1 << 24;
pub const LOCAL_WINDOW: u64 = 1 << 61 | 1 << 24;
/// Bytes of a memory transaction.
const SECTOR: usize = 32;

/// Doubtful lanes, and why those of the first kind are.
type Doubtful = Option<(u32, Rc<str>)>;

/// Lanes whose bytes lie one behind the other, or at one place (`step` 0).
#[derive(Debug, Clone, Copy)]
struct Run {
    address: usize,
    bytes: usize,
    lane: u32,
    mask: u32,
    step: usize,
}

impl Run {
    /// Its first and its last sector.
    #[inline(always)]
    fn sectors(&self) -> (usize, usize) {
        (
            self.address / SECTOR,
            (self.address + self.bytes - 1) / SECTOR,
        )
    }
}

/// An access cut into runs.
struct Runs {
    all: [Run; LANES],
    count: usize,
}

impl Runs {
    #[inline(always)]
    fn of(addresses: &[usize; LANES], mask: u32, bytes: usize) -> Self {
        let nothing = Run {
            address: 0,
            bytes: 0,
            lane: 0,
            mask: 0,
            step: 0,
        };
        let mut runs = Self {
            all: [nothing; LANES],
            count: 0,
        };
        let first = addresses[0];
        if mask == u32::MAX
            && (0..LANES).fold(true, |all, lane| {
                all & (addresses[lane] == first + lane * bytes)
            })
        {
            runs.all[0] = Run {
                address: first,
                bytes: bytes * LANES,
                lane: 0,
                mask,
                step: bytes,
            };
            runs.count = 1;
            return runs;
        }
        let mut rest = mask;
        while rest != 0 {
            let lane = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            runs.put(addresses[lane], lane, bytes);
        }
        runs
    }

    /// Adds a lane to the last run, or begins one.
    #[inline(always)]
    fn put(&mut self, address: usize, lane: usize, bytes: usize) {
        if let Some(last) = self.count.checked_sub(1).map(|at| &mut self.all[at]) {
            let next_lane = LANES - last.mask.leading_zeros() as usize;
            if last.step != 0 && next_lane == lane && address == last.address + last.bytes {
                last.bytes += bytes;
                last.mask |= 1 << lane;
                return;
            }
            if last.bytes == bytes && address == last.address {
                last.step = 0;
                last.mask |= 1 << lane;
                return;
            }
        }
        self.all[self.count] = Run {
            address,
            bytes,
            lane: lane as u32,
            mask: 1 << lane,
            step: bytes,
        };
        self.count += 1;
    }

    #[inline(always)]
    fn each(&self) -> impl Iterator<Item = &Run> {
        self.all[..self.count].iter()
    }

    /// Distinct 32-byte sectors that the access touches.
    #[inline(always)]
    fn sectors(&self) -> u64 {
        // Most accesses go upward: a sector is new, or the one touched last.
        let (mut count, mut next) = (0, 0);
        for run in self.each() {
            let (first, last) = run.sectors();
            if first + 1 < next {
                return self.sectors_in_any_order();
            }
            count += last + 1 - first.max(next);
            next = last + 1;
        }
        count as u64
    }

    #[inline(never)]
    fn sectors_in_any_order(&self) -> u64 {
        let mut all: Vec<usize> = self
            .each()
            .flat_map(|run| run.sectors().0..=run.sectors().1)
            .collect();
        all.sort_unstable();
        all.dedup();
        all.len() as u64
    }
}

#[inline(always)]
fn extended(value: u64, bytes: u32, sign_to: u32) -> u64 {
    match (bytes, sign_to) {
        (_, 0) => value,
        (1, 2) => value as i8 as u16 as u64,
        (1, _) => value as i8 as i64 as u64,
        (2, _) => value as i16 as i64 as u64,
        _ => value as i32 as i64 as u64,
    }
}

impl Turn<'_> {
    /// The address of each lane.
    #[inline(always)]
    pub fn addresses(&self, register: u32, width: Width, offset: i64) -> [usize; LANES] {
        let mut out = [0; LANES];
        match width {
            Width::Wide => {
                let from = &self.warp.registers.wide[register as usize];
                for lane in 0..LANES {
                    out[lane] = from.0[lane].wrapping_add(offset as u64) as usize;
                }
            }
            Width::Narrow => {
                let from = &self.warp.registers.narrow[register as usize];
                for lane in 0..LANES {
                    out[lane] = from.0[lane].wrapping_add(offset as u32) as usize;
                }
            }
        }
        out
    }

    /// The space that generic addresses lead to, with addresses in it.
    fn resolve(
        &self,
        space: Space,
        addresses: &mut [usize; LANES],
        mask: u32,
    ) -> Result<Space, Fault> {
        if space != Space::Generic {
            return Ok(space);
        }
        let space_of = |address: usize| match address as u64 {
            a if a >= LOCAL_WINDOW => Space::Local,
            a if a >= SHARED_WINDOW => Space::Shared,
            _ => Space::Global,
        };
        let first = mask.trailing_zeros() as usize % LANES;
        let space = space_of(addresses[first]);
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            if space_of(addresses[lane]) != space {
                return Err(Fault::misuse(
                    lane as u32,
                    "lanes access different spaces at once: not played",
                ));
            }
            addresses[lane] -= match space {
                Space::Local => LOCAL_WINDOW as usize,
                Space::Shared => SHARED_WINDOW as usize,
                _ => 0,
            };
        }
        Ok(space)
    }

    #[inline(always)]
    pub fn aligned(
        &self,
        addresses: &[usize; LANES],
        mask: u32,
        bytes: usize,
        verb: &str,
    ) -> Result<(), Fault> {
        let wrong = |lane: &usize| mask >> lane & 1 != 0 && !addresses[*lane].is_multiple_of(bytes);
        if addresses.iter().fold(0, |all, one| all | one) % bytes == 0 {
            return Ok(());
        }
        (0..LANES).find(wrong).map_or(Ok(()), |lane| {
            let text = format!(
                "{verb} {bytes} bytes at a misaligned address: {:#x}",
                addresses[lane]
            );
            Err(Fault::misaligned(lane as u32, text))
        })
    }

    /// Where an access goes: its space, addresses in it, aligned, and the bytes of a lane.
    #[inline(always)]
    pub fn find(
        &self,
        i: &Instruction,
        access: Access,
        width: Width,
        mask: u32,
        verb: &str,
    ) -> Result<(Space, [usize; LANES], usize), Fault> {
        let mut addresses = self.addresses(i.a, width, access.offset);
        let bytes = (access.bytes * access.count) as usize;
        let space = self.resolve(access.space, &mut addresses, mask)?;
        self.aligned(&addresses, mask, bytes, verb)?;
        Ok((space, addresses, bytes))
    }

    fn who(&self) -> Who<'_> {
        Who {
            clock: &self.warp.clock,
            place: self.block.place,
        }
    }

    // ---------------------------------------------------------------------------------- loads

    #[inline(always)]
    pub fn load(
        &mut self,
        i: &Instruction,
        access: Access,
        width: Width,
        mask: u32,
    ) -> Result<(), Fault> {
        let (space, addresses, bytes) = self.find(i, access, width, mask, "reads")?;
        let doubtful = match space {
            Space::Shared => self.judge_shared_read(&addresses, mask, bytes)?,
            Space::Local => self.judge_local(&addresses, mask, bytes, false)?,
            _ => self.judge_global_read(&addresses, mask, bytes)?,
        };
        let list = self.program.list(i);
        for (element, &register) in list.iter().enumerate() {
            let at = element * access.bytes as usize;
            self.load_element(space, &addresses, at, (access, register), mask);
        }
        if let Some((lanes, why)) = doubtful {
            let file = if access.wide {
                File::Wide
            } else {
                File::Narrow
            };
            for &register in list {
                self.warp.doubt.set((file, register), mask, lanes, &why);
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn load_element(
        &mut self,
        space: Space,
        addresses: &[usize; LANES],
        at: usize,
        (access, register): (Access, u32),
        mask: u32,
    ) {
        let mut values = [0u64; LANES];
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            let address = addresses[lane] + at;
            let value = match space {
                Space::Shared => read_slice(&self.block.shared.bytes, address, access.bytes),
                Space::Local => read_slice(&self.warp.local[lane], address, access.bytes),
                // SAFETY: judged to lie in live memory.
                _ => unsafe { read_raw(address, access.bytes) },
            };
            values[lane] = extended(value, access.bytes, access.sign_to);
        }
        let registers = &mut self.warp.registers;
        registers.put_widest(register, access.wide, values, mask);
    }

    #[inline(always)]
    fn judge_shared_read(
        &mut self,
        addresses: &[usize; LANES],
        mask: u32,
        bytes: usize,
    ) -> Result<Doubtful, Fault> {
        let mut doubtful: Doubtful = None;
        let block = &mut *self.block;
        block.counters.shared_bank_conflicts += bank_conflicts(addresses, mask, bytes);
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            let address = addresses[lane];
            if let Some(text) = block.shared.outside(address, bytes) {
                return Err(Fault::address(lane as u32, format!("reads {text}")));
            }
            if let Some(text) =
                block
                    .shared
                    .read(address, bytes, &self.warp.clock, Some(lane as u32))
            {
                doubt(&mut doubtful, 1 << lane, text);
            }
        }
        Ok(doubtful)
    }

    #[inline(always)]
    pub fn judge_global_read(
        &mut self,
        addresses: &[usize; LANES],
        mask: u32,
        bytes: usize,
    ) -> Result<Doubtful, Fault> {
        let mut doubtful: Doubtful = None;
        let (mut touched, mut requested) = (0, 0);
        let who = self.who();
        let runs = Runs::of(addresses, mask, bytes);
        for run in runs.each() {
            let inside = memory::is_device_range(run.address, run.bytes);
            if !inside || !memory::all_have(run.address, run.bytes, LIVE | INITIALISED) {
                if !inside || !memory::all_have(run.address, run.bytes, LIVE) {
                    return Err(leaves(run, bytes, "reads"));
                }
                for lane in (0..LANES).filter(|lane| run.mask >> lane & 1 != 0) {
                    if let Some(at) = memory::first_without(addresses[lane], bytes, INITIALISED) {
                        let text = format!(
                            "{ILLEGAL}reads uninitialised global memory: {}",
                            memory::describe(at)
                        );
                        doubt(&mut doubtful, 1 << lane, text);
                    }
                }
            }
            touched += memory::touch_read(run.address, run.bytes);
            requested += (run.mask.count_ones() as usize * bytes) as u64;
            if let Some((lane, text)) = who.read(run.address, run.bytes, run.lane, run.step) {
                doubt(
                    &mut doubtful,
                    1 << lane,
                    format!("{text}: {}", memory::describe(addresses[lane as usize])),
                );
            }
        }
        let counters = &mut self.block.counters;
        counters.global_read += requested;
        counters.global_read_distinct += touched;
        counters.global_sectors += runs.sectors();
        counters.global_sectors_least += requested.div_ceil(SECTOR as u64);
        Ok(doubtful)
    }

    /// Local memory of each lane: its own bytes, and whether they were written.
    fn judge_local(
        &mut self,
        addresses: &[usize; LANES],
        mask: u32,
        bytes: usize,
        write: bool,
    ) -> Result<Doubtful, Fault> {
        let size = self.program.local_bytes as usize;
        let mut doubtful: Doubtful = None;
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            let (from, to) = (addresses[lane], addresses[lane].wrapping_add(bytes));
            if to > size || to < from {
                let text = format!(
                    "accesses byte {} of its local memory of {size} bytes (stack)",
                    from as i64
                );
                return Err(Fault::address(lane as u32, text));
            }
            let written = &mut self.warp.local_written[lane][from..to];
            if write {
                written.fill(true);
            } else if written.contains(&false) {
                doubt(
                    &mut doubtful,
                    1 << lane,
                    "reads uninitialised local memory".to_owned(),
                );
            }
        }
        Ok(doubtful)
    }

    // --------------------------------------------------------------------------------- stores

    #[inline(always)]
    pub fn store(
        &mut self,
        i: &Instruction,
        access: Access,
        width: Width,
        mask: u32,
    ) -> Result<(), Fault> {
        let (space, addresses, bytes) = self.find(i, access, width, mask, "writes")?;
        match space {
            Space::Shared => self.judge_shared_write(&addresses, mask, bytes)?,
            Space::Local => drop(self.judge_local(&addresses, mask, bytes, true)?),
            _ => self.judge_global_write(&addresses, mask, bytes)?,
        }
        for (element, &register) in self.program.list(i).iter().enumerate() {
            let at = element * access.bytes as usize;
            let values = self.warp.registers.widest(register, access.wide);
            for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
                let address = addresses[lane] + at;
                match space {
                    Space::Shared => write_slice(
                        &mut self.block.shared.bytes,
                        address,
                        values[lane],
                        access.bytes,
                    ),
                    Space::Local => write_slice(
                        &mut self.warp.local[lane],
                        address,
                        values[lane],
                        access.bytes,
                    ),
                    // SAFETY: judged to lie in live memory.
                    _ => unsafe { write_raw(address, values[lane], access.bytes) },
                }
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn judge_shared_write(
        &mut self,
        addresses: &[usize; LANES],
        mask: u32,
        bytes: usize,
    ) -> Result<(), Fault> {
        let block = &mut *self.block;
        block.counters.shared_bank_conflicts += bank_conflicts(addresses, mask, bytes);
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            let address = addresses[lane];
            if let Some(text) = block.shared.outside(address, bytes) {
                return Err(Fault::address(lane as u32, format!("writes {text}")));
            }
            if let Some(text) =
                block
                    .shared
                    .write(address, bytes, &self.warp.clock, lane as u32, false)
            {
                return Err(Fault::misuse(lane as u32, text));
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn judge_global_write(
        &mut self,
        addresses: &[usize; LANES],
        mask: u32,
        bytes: usize,
    ) -> Result<(), Fault> {
        let (mut touched, mut requested) = (0, 0);
        let who = self.who();
        let runs = Runs::of(addresses, mask, bytes);
        for run in runs.each() {
            if !memory::is_device_range(run.address, run.bytes)
                || !memory::all_have(run.address, run.bytes, LIVE)
            {
                return Err(leaves(run, bytes, "writes"));
            }
            requested += (run.mask.count_ones() as usize * bytes) as u64;
            let wrong = if run.step == 0 {
                // Several lanes, one place: only one of them can be right.
                let lanes = (0..LANES as u32).filter(|lane| run.mask >> lane & 1 != 0);
                lanes
                    .into_iter()
                    .find_map(|lane| who.write(run.address, bytes, lane, bytes))
            } else {
                who.write(run.address, run.bytes, run.lane, run.step)
            };
            touched += memory::touch_written(run.address, run.bytes);
            if let Some((lane, text)) = wrong {
                let place = memory::describe(addresses[lane as usize]);
                return Err(Fault::misuse(lane, format!("{text}: {place}")));
            }
        }
        let counters = &mut self.block.counters;
        counters.global_written += requested;
        counters.global_written_distinct += touched;
        counters.global_sectors += runs.sectors();
        counters.global_sectors_least += requested.div_ceil(SECTOR as u64);
        Ok(())
    }

    /// `cvta`: between generic addresses and those of a space.
    pub fn convert(
        &mut self,
        i: &Instruction,
        (to_generic, space, wide): (bool, Space, bool),
        mask: u32,
    ) -> Result<(), Fault> {
        let window = match space {
            Space::Shared => SHARED_WINDOW,
            Space::Local => LOCAL_WINDOW,
            _ => 0,
        };
        let registers = &mut self.warp.registers;
        if wide {
            let from: Lanes<u64> = registers.wide[i.a as usize];
            let out = from.0.map(|x| {
                if to_generic {
                    x.wrapping_add(window)
                } else {
                    x.wrapping_sub(window)
                }
            });
            super::vector::put(&mut registers.wide[i.d as usize], out, mask);
        } else if window == 0 {
            let out = registers.narrow[i.a as usize].0;
            super::vector::put(&mut registers.narrow[i.d as usize], out, mask);
        } else {
            return Err(Fault::misuse(
                0,
                "generic addresses of 32 bits are not played",
            ));
        }
        Ok(())
    }

    /// `ld.param`: the same for all lanes.
    pub fn parameter(
        &mut self,
        i: &Instruction,
        (offset, bytes, sign_to, wide): (u32, u32, u32, bool),
        mask: u32,
    ) {
        let value = read_slice(&self.launch.arguments, offset as usize, bytes);
        let value = extended(value, bytes, sign_to);
        let registers = &mut self.warp.registers;
        registers.put_widest(i.d, wide, [value; LANES], mask);
    }
}

fn doubt(doubtful: &mut Doubtful, lanes: u32, text: String) {
    match doubtful {
        Some((all, _)) => *all |= lanes,
        None => *doubtful = Some((lanes, text.into())),
    }
}

/// The first lane of a run that leaves live memory.
fn leaves(run: &Run, bytes: usize, verb: &str) -> Fault {
    let lanes = (0..LANES as u32).filter(|lane| run.mask >> lane & 1 != 0);
    let mut places = lanes
        .enumerate()
        .map(|(i, lane)| (lane, run.address + i * run.step));
    let wrong = |&(_, address): &(u32, usize)| {
        !memory::is_device_range(address, bytes) || !memory::all_have(address, bytes, LIVE)
    };
    outside(
        places.find(wrong).unwrap_or((run.lane, run.address)),
        bytes,
        verb,
    )
}

/// A lane accesses `bytes` at an address where not all of them are live.
pub fn outside((lane, address): (u32, usize), bytes: usize, verb: &str) -> Fault {
    let text = if memory::is_device_range(address, bytes) {
        let at = memory::first_without(address, bytes, LIVE).unwrap_or(address);
        format!(
            "{verb} {bytes} bytes out of bounds: {}",
            memory::describe(at)
        )
    } else {
        format!("{verb} {bytes} bytes at {}", memory::describe(address))
    };
    Fault::address(lane, text)
}

#[inline(always)]
pub fn read_slice(from: &[u8], address: usize, bytes: u32) -> u64 {
    let at = |n: usize| &from[address..address + n];
    match bytes {
        1 => u64::from(from[address]),
        2 => u64::from(u16::from_le_bytes(at(2).try_into().expect("two bytes"))),
        4 => u64::from(u32::from_le_bytes(at(4).try_into().expect("four bytes"))),
        _ => u64::from_le_bytes(at(8).try_into().expect("eight bytes")),
    }
}

#[inline(always)]
pub fn write_slice(to: &mut [u8], address: usize, value: u64, bytes: u32) {
    let mut put = |value: &[u8]| to[address..address + value.len()].copy_from_slice(value);
    match bytes {
        1 => put(&[value as u8]),
        2 => put(&(value as u16).to_le_bytes()),
        4 => put(&(value as u32).to_le_bytes()),
        _ => put(&value.to_le_bytes()),
    }
}

/// # Safety
/// The bytes are live device memory.
#[inline(always)]
pub unsafe fn read_raw(address: usize, bytes: u32) -> u64 {
    // SAFETY: says the caller.
    unsafe {
        match bytes {
            1 => u64::from((address as *const u8).read()),
            2 => u64::from((address as *const u16).read_unaligned()),
            4 => u64::from((address as *const u32).read_unaligned()),
            _ => (address as *const u64).read_unaligned(),
        }
    }
}

/// # Safety
/// The bytes are live device memory.
#[inline(always)]
pub unsafe fn write_raw(address: usize, value: u64, bytes: u32) {
    // SAFETY: says the caller.
    unsafe {
        match bytes {
            1 => (address as *mut u8).write(value as u8),
            2 => (address as *mut u16).write_unaligned(value as u16),
            4 => (address as *mut u32).write_unaligned(value as u32),
            _ => (address as *mut u64).write_unaligned(value),
        }
    }
}
