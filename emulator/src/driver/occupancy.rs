//! Occupancy, by threads, blocks, shared memory and a guess of the registers.

use std::ffi::{c_int, c_uint};

use super::context::reserved_shared;
use super::kernels::{max_threads, registers};
use super::state::{Function, State, working};
use super::{Out, api};
use crate::device::{self, Device};
use crate::status::Result;

fn blocks(function: &Function, device: &Device, threads: u32, shared: usize) -> u32 {
    let warps = threads.div_ceil(32);
    if threads == 0
        || threads > max_threads(&function.kernel)
        || shared > function.max_dynamic_shared as usize
    {
        return 0;
    }
    let each = shared as u32 + reserved_shared(device);
    let by_shared = device
        .shared_per_multiprocessor
        .checked_div(each)
        .unwrap_or(u32::MAX);
    let by_registers = device::REGISTERS / (registers(&function.kernel) * 32) / warps;
    let by_threads = device.threads_per_multiprocessor / (warps * 32);
    by_shared
        .min(by_registers)
        .min(by_threads)
        .min(device.blocks_per_multiprocessor)
}

fn query<T>(function: usize, f: impl FnOnce(&State, &Function, &Device) -> T) -> Result<T> {
    let (mut state, context) = working()?;
    state.load_function(function)?;
    let found = &state.functions[&function];
    Ok(f(&state, found, state.device(context)))
}

api! {
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(out: Out<c_int>, function: usize, threads: c_int, shared: usize) {
        out.give(query(function, |_, one, device| blocks(one, device, threads.max(0) as u32, shared))? as c_int)
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(out: Out<c_int>, function: usize, threads: c_int, shared: usize, _flags: c_uint) {
        out.give(query(function, |_, one, device| blocks(one, device, threads.max(0) as u32, shared))? as c_int)
    }

    fn cuOccupancyAvailableDynamicSMemPerBlock(out: Out<usize>, function: usize, count: c_int, _threads: c_int) {
        let bytes = query(function, |_, _, device| {
            let each = device.shared_per_multiprocessor / count.max(1) as u32;
            each.saturating_sub(reserved_shared(device)).min(device.shared_optin)
        })?;
        out.give(bytes as usize)
    }

    fn cuOccupancyMaxPotentialBlockSize(grid: Out<c_int>, block: Out<c_int>, function: usize, _shared_of: usize, shared: usize, limit: c_int) {
        potential(grid, block, function, shared, limit)
    }

    fn cuOccupancyMaxPotentialBlockSizeWithFlags(grid: Out<c_int>, block: Out<c_int>, function: usize, _shared_of: usize, shared: usize, limit: c_int, _flags: c_uint) {
        potential(grid, block, function, shared, limit)
    }
}

fn potential(
    grid: Out<c_int>,
    block: Out<c_int>,
    function: usize,
    shared: usize,
    limit: c_int,
) -> Result<()> {
    let (best, count, multiprocessors) = query(function, |_, one, device| {
        let limit = if limit > 0 {
            limit as u32
        } else {
            max_threads(&one.kernel)
        };
        let sizes = (32..=limit.max(32))
            .step_by(32)
            .map(|threads| (threads, blocks(one, device, threads, shared)));
        let (threads, count) = sizes
            .max_by_key(|&(threads, count)| (threads * count, threads))
            .unwrap_or((32, 0));
        (threads, count, device.multiprocessors)
    })?;
    grid.give((count * multiprocessors) as c_int)?;
    block.give(best as c_int)
}
