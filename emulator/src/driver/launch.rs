//! Launches: everything the driver can know to be wrong before a thread runs.

use std::ffi::{c_uint, c_void};
use std::sync::Arc;

use super::kernels::max_threads;
use super::queue::Op;
use super::state::working;
use super::{api, refuse};
use crate::exec::Launch;
use crate::memory;
use crate::module::Kernel;
use crate::status::{Result, Status};

/// Keys of the `extra` array of `cuLaunchKernel`.
const BUFFER_POINTER: usize = 1;
const BUFFER_SIZE: usize = 2;
const DEVICE_BLOCK_LIMITS: [u32; 3] = [1024, 1024, 64];

/// Reads memory of this process that may not be there.
pub fn read_host(address: usize, bytes: usize) -> Option<Vec<u8>> {
    let mut found = vec![0u8; bytes];
    let local = libc::iovec {
        iov_base: found.as_mut_ptr().cast(),
        iov_len: bytes,
    };
    let remote = libc::iovec {
        iov_base: address as *mut c_void,
        iov_len: bytes,
    };
    // SAFETY: the kernel checks the remote side, `found` has room for the local one.
    let read = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
    (read == bytes as isize).then_some(found)
}

/// The arguments as the kernel reads them, from the array of pointers or the packed buffer.
///
/// # Safety
/// `extra` is null, or leads to pairs of key and value up to a zero key.
unsafe fn arguments(
    kernel: &Kernel,
    pointers: *const usize,
    extra: *const usize,
) -> Result<Vec<u8>> {
    let count = kernel.program.parameters.len();
    let name = &kernel.program.name;
    if !extra.is_null() {
        // SAFETY: not null; the rest says the caller.
        return unsafe { packed(kernel, extra) };
    }
    let mut bytes = vec![0; kernel.program.parameter_bytes as usize];
    if count == 0 {
        return Ok(bytes);
    }
    let table = (!pointers.is_null())
        .then(|| read_host(pointers as usize, 8 * count))
        .flatten();
    let Some(table) = table else {
        return refuse(
            Status::ERROR_INVALID_VALUE,
            format!(
                "kernel `{name}` has {count} parameters; the launch brings no array of that many arguments"
            ),
        );
    };
    let addresses = table
        .chunks(8)
        .map(|word| usize::from_ne_bytes(word.try_into().expect("eight bytes")));
    for (i, (parameter, address)) in kernel.program.parameters.iter().zip(addresses).enumerate() {
        let value = (address >= 4096)
            .then(|| read_host(address, parameter.bytes as usize))
            .flatten();
        let Some(value) = value else {
            return refuse(
                Status::ERROR_INVALID_VALUE,
                format!(
                    "kernel `{name}` has {count} parameters; argument {i} is missing ({address:#x} is not readable)"
                ),
            );
        };
        bytes[parameter.offset as usize..][..value.len()].copy_from_slice(&value);
    }
    Ok(bytes)
}

/// # Safety
/// `extra` leads to pairs of key and value up to a zero key; that of the size, to one.
unsafe fn packed(kernel: &Kernel, mut extra: *const usize) -> Result<Vec<u8>> {
    let (mut buffer, mut size) = (0usize, None);
    // SAFETY: says the caller.
    unsafe {
        while *extra != 0 {
            match *extra {
                BUFFER_POINTER => buffer = *extra.add(1),
                BUFFER_SIZE => size = Some(*(*extra.add(1) as *const usize)),
                _ => return Err(Status::ERROR_INVALID_VALUE),
            }
            extra = extra.add(2);
        }
    }
    let wanted = kernel.program.parameter_bytes as usize;
    if size != Some(wanted) {
        let given = size.map_or("none".to_owned(), |bytes| format!("{bytes} bytes"));
        return refuse(
            Status::ERROR_INVALID_VALUE,
            format!(
                "kernel `{}` takes {wanted} bytes of arguments ({} parameters); the launch brings {given}",
                kernel.program.name,
                kernel.program.parameters.len()
            ),
        );
    }
    read_host(buffer, wanted).map_or_else(
        || {
            refuse(
                Status::ERROR_INVALID_VALUE,
                "the argument buffer is not readable",
            )
        },
        Ok,
    )
}

/// Checks that pointer arguments point into live memory.
pub fn check_pointers(launch: &Launch) -> Result<()> {
    let name = &launch.kernel.program.name;
    for (index, address) in launch.device_pointers() {
        // Null is an optional argument.
        if address != 0 && memory::find(address).is_none() {
            return refuse(
                Status::ERROR_ILLEGAL_ADDRESS,
                format!(
                    "kernel `{name}`: argument {index} should be a device pointer and is {}",
                    memory::describe(address)
                ),
            );
        }
    }
    Ok(())
}

struct Geometry {
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    stream: usize,
}

/// Refuses a grid or block that the device or the kernel cannot have.
fn judge_threads(kernel: &Kernel, grid: [u32; 3], block: [u32; 3]) -> Result<()> {
    let name = &kernel.program.name;
    let too_large = block
        .iter()
        .zip(DEVICE_BLOCK_LIMITS)
        .any(|(&n, limit)| n > limit);
    let threads = block.iter().map(|&n| n as u64).product::<u64>();
    if threads == 0 || too_large || threads > 1024 {
        return refuse(
            Status::ERROR_INVALID_VALUE,
            format!(
                "kernel `{name}`: block {block:?} has {threads} threads; 1 to 1024 are possible"
            ),
        );
    }
    if threads > max_threads(kernel) as u64 {
        return refuse(
            Status::ERROR_LAUNCH_OUT_OF_RESOURCES,
            format!(
                "kernel `{name}`: block {block:?} has {threads} threads, its __launch_bounds__ are {}",
                kernel.program.max_threads
            ),
        );
    }
    if grid.contains(&0) || grid[0] > i32::MAX as u32 || grid[1] > 65535 || grid[2] > 65535 {
        return refuse(
            Status::ERROR_INVALID_VALUE,
            format!("kernel `{name}`: grid {grid:?} is empty or too large"),
        );
    }
    Ok(())
}

/// Refuses a byte that the kernel takes for a truth value and that is neither 0 nor 1.
fn judge_truths(kernel: &Kernel, arguments: &[u8]) -> Result<()> {
    let name = &kernel.program.name;
    for (i, parameter) in kernel
        .program
        .parameters
        .iter()
        .enumerate()
        .filter(|(_, one)| one.truth)
    {
        let value = arguments[parameter.offset as usize];
        if value > 1 {
            return refuse(
                Status::ERROR_INVALID_VALUE,
                format!("kernel `{name}`: argument {i} should be a bool and is {value}"),
            );
        }
    }
    Ok(())
}

/// # Safety
/// As [`arguments`]: the array of pointers is read as memory that may not be there.
unsafe fn launch(
    function: usize,
    geometry: Geometry,
    pointers: *const usize,
    extra: *const usize,
) -> Result<()> {
    let (mut state, context) = working()?;
    let stream = state.stream(context, geometry.stream)?;
    if !state.functions.contains_key(&function) {
        return refuse(
            Status::ERROR_INVALID_HANDLE,
            format!("{function:#x} is no function"),
        );
    }
    state.load_function(function)?;
    let found = &state.functions[&function];
    if found.context != context {
        return refuse(
            Status::ERROR_INVALID_HANDLE,
            format!(
                "kernel `{}` belongs to another context",
                found.kernel.program.name
            ),
        );
    }
    let kernel = found.kernel.clone();
    let allowed = found.max_dynamic_shared;
    let device = state.device(context);
    let (grid, block, name) = (geometry.grid, geometry.block, &kernel.program.name);
    judge_threads(&kernel, grid, block)?;
    if geometry.shared > allowed {
        return refuse(
            Status::ERROR_INVALID_VALUE,
            format!(
                "kernel `{name}`: {} bytes of dynamic shared memory; {allowed} are allowed (this device can give {} by cuFuncSetAttribute)",
                geometry.shared, device.shared_optin
            ),
        );
    }
    // SAFETY: says the caller.
    let arguments = unsafe { arguments(&kernel, pointers, extra)? };
    judge_truths(&kernel, &arguments)?;
    // Of static and dynamic shared memory together; the attribute is about the dynamic part alone.
    let limit = match allowed {
        crate::device::SHARED_DEFAULT => allowed,
        _ => device.shared_optin,
    };
    let all = kernel.program.static_shared + geometry.shared;
    if all > limit {
        return refuse(
            Status::ERROR_LAUNCH_OUT_OF_RESOURCES,
            format!(
                "kernel `{name}`: static and dynamic shared memory come to {all} bytes; {limit} are allowed"
            ),
        );
    }
    let launch = Arc::new(Launch {
        kernel,
        grid,
        block,
        dynamic_shared: geometry.shared,
        arch: device.arch,
        arguments,
    });
    check_pointers(&launch)?;
    state.enqueue(stream, Op::Kernel(launch))
}

/// `CUlaunchConfig`.
#[repr(C)]
struct Config {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared: c_uint,
    stream: usize,
    attributes: *const c_void,
    attribute_count: c_uint,
}

api! {
    fn cuLaunchKernel(
        function: usize,
        grid_x: c_uint, grid_y: c_uint, grid_z: c_uint,
        block_x: c_uint, block_y: c_uint, block_z: c_uint,
        shared: c_uint,
        stream: usize,
        arguments: *const usize,
        extra: *const usize,
    ) {
        let geometry = Geometry { grid: [grid_x, grid_y, grid_z], block: [block_x, block_y, block_z], shared, stream };
        // SAFETY: the driver API's contract.
        unsafe { launch(function, geometry, arguments, extra) }
    }

    fn cuLaunchKernelEx(config: *const c_void, function: usize, arguments: *const usize, extra: *const usize) {
        if config.is_null() {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        // SAFETY: the driver API's contract: not null, so a `CUlaunchConfig`.
        let config = unsafe { &*config.cast::<Config>() };
        if config.attribute_count != 0 && !config.attributes.is_null() {
            return refuse(Status::ERROR_NOT_SUPPORTED, "launch attributes (clusters, programmatic launches) are not played");
        }
        let geometry = Geometry { grid: config.grid, block: config.block, shared: config.shared, stream: config.stream };
        // SAFETY: the driver API's contract.
        unsafe { launch(function, geometry, arguments, extra) }
    }
}
