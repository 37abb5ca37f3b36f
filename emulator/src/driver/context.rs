//! Initialisation, devices, contexts.

use std::ffi::{c_char, c_int, c_uint};

use super::state::{CURRENT, initialised, ready, state, working};
use super::{Out, api, refuse, release};
use crate::counters;
use crate::device::{self, Device, devices};
use crate::status::{Result, Status};

fn device(ordinal: c_int) -> Result<&'static Device> {
    drop(initialised()?);
    let known = usize::try_from(ordinal).ok().and_then(|i| devices().get(i));
    known.copied().ok_or(Status::ERROR_INVALID_DEVICE)
}

api! {
    fn cuInit(flags: c_uint) {
        if flags != 0 {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        release::wanted()?;
        if devices().is_empty() {
            return Err(Status::ERROR_NO_DEVICE);
        }
        state().initialised = true;
        Ok(())
    }

    fn cuDriverGetVersion(version: Out<c_int>) { version.give(release::wanted()?.number() as c_int) }

    fn cuDeviceGetCount(count: Out<c_int>) {
        drop(initialised()?);
        count.give(devices().len() as c_int)
    }

    fn cuDeviceGet(out: Out<c_int>, ordinal: c_int) {
        device(ordinal)?;
        out.give(ordinal)
    }

    fn cuDeviceGetName(name: *mut c_char, capacity: c_int, ordinal: c_int) {
        let text = device(ordinal)?.name.as_bytes();
        let capacity = usize::try_from(capacity).ok().filter(|&n| n > 0 && !name.is_null());
        let count = text.len().min(capacity.ok_or(Status::ERROR_INVALID_VALUE)? - 1);
        // SAFETY: the driver API's contract: room for `capacity` characters, more than `count`.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr().cast(), name, count);
            *name.add(count) = 0;
        }
        Ok(())
    }

    fn cuDeviceGetUuid(out: Out<[u8; 16]>, ordinal: c_int) { out.give(uuid(ordinal)?) }
    fn cuDeviceGetUuid_v2(out: Out<[u8; 16]>, ordinal: c_int) { out.give(uuid(ordinal)?) }

    fn cuDeviceTotalMem_v2(bytes: Out<usize>, ordinal: c_int) {
        device(ordinal)?;
        bytes.give(device::memory_bytes())
    }

    fn cuDeviceGetAttribute(value: Out<c_int>, attribute: c_int, ordinal: c_int) {
        let found = self::attribute(device(ordinal)?, attribute);
        value.give(found.ok_or(Status::ERROR_INVALID_VALUE)?)
    }

    fn cuDeviceGetP2PAttribute(value: Out<c_int>, _attribute: c_int, _from: c_int, _to: c_int) { value.give(0) }
    fn cuDeviceCanAccessPeer(can: Out<c_int>, _from: c_int, _to: c_int) { can.give(0) }

    fn cuDevicePrimaryCtxRetain(context: Out<usize>, ordinal: c_int) {
        device(ordinal)?;
        let mut state = state();
        let device = ordinal as usize;
        let handle = match state.primary.get_mut(&device) {
            Some((handle, count)) => {
                *count += 1;
                *handle
            }
            None => {
                let handle = state.new_context(device);
                state.primary.insert(device, (handle, 1));
                handle
            }
        };
        context.give(handle)
    }

    fn cuDevicePrimaryCtxRelease_v2(ordinal: c_int) {
        device(ordinal)?;
        let mut state = state();
        let device = ordinal as usize;
        let Some((context, count)) = state.primary.get_mut(&device) else {
            return Err(Status::ERROR_INVALID_CONTEXT);
        };
        *count -= 1;
        if *count == 0 {
            let context = *context;
            state.primary.remove(&device);
            let failed = state.failed.is_some();
            if !failed {
                // Errors of unfinished work have nobody left to hear them.
                let _ = state.finish_all(context);
            }
            state.contexts.remove(&context);
            state.streams.retain(|_, stream| stream.context != context);
        }
        Ok(())
    }

    fn cuDevicePrimaryCtxGetState(ordinal: c_int, flags: Out<c_uint>, active: Out<c_int>) {
        device(ordinal)?;
        let is_active = state().primary.contains_key(&(ordinal as usize));
        flags.give(0)?;
        active.give(c_int::from(is_active))
    }

    fn cuDevicePrimaryCtxSetFlags_v2(ordinal: c_int, _flags: c_uint) { device(ordinal).map(drop) }

    fn cuCtxCreate_v2(context: Out<usize>, _flags: c_uint, ordinal: c_int) { create(context, ordinal) }
    fn cuCtxCreate_v3(context: Out<usize>, _affinity: *mut u8, _count: c_int, _flags: c_uint, ordinal: c_int) { create(context, ordinal) }
    fn cuCtxCreate_v4(context: Out<usize>, _parameters: *mut u8, _flags: c_uint, ordinal: c_int) { create(context, ordinal) }

    fn cuCtxDestroy_v2(context: usize) {
        let mut state = initialised()?;
        state.contexts.remove(&context).ok_or(Status::ERROR_INVALID_CONTEXT)?;
        state.streams.retain(|_, stream| stream.context != context);
        CURRENT.with_borrow_mut(|stack| stack.retain(|&one| one != context));
        Ok(())
    }

    fn cuCtxSetCurrent(context: usize) {
        let state = initialised()?;
        if context != 0 && !state.contexts.contains_key(&context) {
            return refuse(Status::ERROR_INVALID_CONTEXT, format!("{context:#x} is no context"));
        }
        CURRENT.with_borrow_mut(|stack| {
            stack.pop();
            stack.extend((context != 0).then_some(context));
        });
        Ok(())
    }

    fn cuCtxPushCurrent_v2(context: usize) {
        if !initialised()?.contexts.contains_key(&context) {
            return Err(Status::ERROR_INVALID_CONTEXT);
        }
        CURRENT.with_borrow_mut(|stack| stack.push(context));
        Ok(())
    }

    fn cuCtxPopCurrent_v2(context: Out<usize>) {
        let top = CURRENT.with_borrow_mut(Vec::pop).ok_or(Status::ERROR_INVALID_CONTEXT)?;
        context.offer(top);
        Ok(())
    }

    fn cuCtxGetCurrent(context: Out<usize>) {
        drop(initialised()?);
        context.give(CURRENT.with_borrow(|stack| stack.last().copied().unwrap_or(0)))
    }

    fn cuCtxGetDevice(ordinal: Out<c_int>) {
        let (state, context) = working()?;
        ordinal.give(state.contexts[&context].device as c_int)
    }

    fn cuCtxGetApiVersion(_context: usize, version: Out<c_uint>) { version.give(3020) }
    fn cuCtxSetFlags(_flags: c_uint) { ready() }
    fn cuCtxGetFlags(flags: Out<c_uint>) { flags.give(0) }
    fn cuCtxSetLimit(_limit: c_int, _value: usize) { ready() }
    fn cuCtxGetLimit(value: Out<usize>, _limit: c_int) { value.give(1024) }
    fn cuCtxSetCacheConfig(_config: c_int) { ready() }
    fn cuCtxGetCacheConfig(config: Out<c_int>) { config.give(0) }

    fn cuCtxGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) {
        ready()?;
        least.give(0)?;
        greatest.give(-5)
    }

    fn cuCtxSynchronize() {
        let (mut state, context) = working()?;
        let own: Vec<usize> = state.streams.iter().filter(|(_, one)| one.context == context).map(|(&handle, _)| handle).collect();
        state.refuse_wait("cuCtxSynchronize", |stream| own.contains(&stream))?;
        state.refuse_in_capture("cuCtxSynchronize")?;
        counters::book_host_synchronisation("cuCtxSynchronize");
        state.finish_all(context)
    }

    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) {
        let (mut state, context) = working()?;
        state.refuse_in_capture("cuMemGetInfo")?;
        free.give(device::free_bytes(state.contexts[&context].device))?;
        total.give(device::memory_bytes())?;
        device::let_others_allocate();
        Ok(())
    }

    fn cuProfilerStart() { Ok(()) }
    fn cuProfilerStop() { Ok(()) }
}

fn uuid(ordinal: c_int) -> Result<[u8; 16]> {
    let arch = device(ordinal)?.arch as u8;
    let mut bytes = *b"vitcuda-emulated";
    bytes[14] = arch;
    bytes[15] = ordinal as u8;
    Ok(bytes)
}

fn create(context: Out<usize>, ordinal: c_int) -> Result<()> {
    device(ordinal)?;
    let handle = state().new_context(ordinal as usize);
    CURRENT.with_borrow_mut(|stack| stack.push(handle));
    context.give(handle)
}

/// `CUdevice_attribute` by number; `None` for those nobody asked for yet.
fn attribute(device: &Device, number: c_int) -> Option<c_int> {
    let value: u32 = match number {
        1..=3 => device::MAX_THREADS, // threads a block, block x, block y
        4 => 64,
        5 => i32::MAX as u32,
        6 | 7 => 65535,
        8 => device::SHARED_DEFAULT,
        9 => 64 << 10, // constant memory
        10 => 32,      // warp size
        11 => i32::MAX as u32,
        12 | 82 => device::REGISTERS, // a block, a multiprocessor
        13 => device.clock_khz,
        14 => 512,
        16 => device.multiprocessors,
        19 | 31 | 41 => 1, // host memory mapped, concurrent kernels, unified addresses
        17 | 18 | 20 | 32 => 0, // no timeout, not integrated, default mode, no ECC
        33 | 34 | 50 => 0, // PCI bus, device, domain
        36 => device.memory_clock_khz,
        37 => device.memory_bus_bits,
        38 => device.l2_bytes,
        39 => device.threads_per_multiprocessor,
        40 => 2, // copy engines
        75 => device.arch / 10,
        76 => device.arch % 10,
        78..=80 => 1, // stream priorities, L1 for global and local memory
        81 => device.shared_per_multiprocessor,
        83 | 88 | 89 => 0, // managed memory, pageable access
        95 => 0,           // cooperative launches are not played
        97 => device.shared_optin,
        106 => device.blocks_per_multiprocessor,
        108 | 109 => 0, // persisting L2
        111 => reserved_shared(device),
        115 => 1, // memory pools
        _ => return None,
    };
    Some(value as c_int)
}

/// Shared memory of a block that the driver keeps for itself.
pub fn reserved_shared(device: &Device) -> u32 {
    if device.arch >= 80 {
        device::SHARED_RESERVED
    } else {
        0
    }
}
