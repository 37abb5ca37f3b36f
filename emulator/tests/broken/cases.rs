//! The table of wrong programs, and how each must end.

use cudarc::driver::DevicePtr;
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUgraphInstantiate_flags};
use cudarc::nvrtc::Ptx;

use crate::Case;
use crate::programs::*;

macro_rules! case {
    ($name:literal, $arch:literal, $status:ident, [$($message:literal),*], $run:expr) => {
        Case { name: $name, arch: $arch, status: stringify!($status), message: &[$($message),*], settings: &[], run: $run }
    };
}

#[rustfmt::skip] // a table: one line a case
pub const CASES: &[Case] = &[
    // Barriers and races: where a thread reads too early, its order decides between "race" and
    // "uninitialised".
    case!("missing __syncthreads", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `missing_barrier`", "of `x`", "thread (", "test.cu:"], |d| d.run("missing_barrier", 64)),
    case!("missing __syncthreads before shared memory is used again", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `missing_second_barrier`", "(race)"], |d| d.run("missing_second_barrier", 64)),
    case!("missing __syncwarp", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `missing_syncwarp`", "(race)"], |d| d.run("missing_syncwarp", 32)),
    case!("__syncwarp of half the warp does not order the other half", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `syncwarp_of_halves`", "of `x`", "(race)"], |d| d.run("syncwarp_of_halves", 32)),
    case!("ldmatrix without a barrier after the stores", 75, CUDA_ERROR_LAUNCH_FAILED, ["kernel `ldmatrix_too_early`", "ldmatrix.sync.aligned.m8n8.x1.shared.b16 at", "test.cu:", "(race)"], |d| d.run("ldmatrix_too_early", 32)),
    case!("a barrier some threads never reach", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `partial_barrier`", "block (", "thread (", "lanes 0-7 of warp 1 wait at the barrier", "lanes 8-31"], |d| d.run("partial_barrier", 64)),
    case!("two barriers that cannot meet", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `different_barriers`", "can never meet"], |d| d.run("different_barriers", 64)),
    case!("a barrier for a number of threads that is no whole warps", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `barrier_of_half_a_warp`", "barrier 1 is to wait for 40 threads"], |d| d.run("barrier_of_half_a_warp", 64)),
    case!("a barrier that some vote at and some do not", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `barriers_of_two_sorts`", "can never meet"], |d| d.run("barriers_of_two_sorts", 64)),
    case!("more barriers than a block's clock counts", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `synchronise_for_ever`", "bar.sync at test.cu:", "half a million times"], |d| d.run("synchronise_for_ever", 32)),
    // Divergence
    case!("divergent lanes at a shuffle", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `divergent_shuffle`", "shfl.sync.bfly.b32 at test.cu:", "lanes 16-31"], |d| d.run("divergent_shuffle", 32)),
    case!("divergent lanes at two shuffles", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `divergent_shuffles`", "divergent lanes", "can never meet"], |d| d.run("divergent_shuffles", 32)),
    case!("a shuffle from a lane outside the mask", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `shuffle_from_outside`", "which is not in the mask"], |d| d.run("shuffle_from_outside", 32)),
    case!("divergent lanes at a vote", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `divergent_vote`", "vote.sync.ballot.b32", "lane 3"], |d| d.run("divergent_vote", 32)),
    case!("divergent lanes at a vote for what is not", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `divergent_negated_vote`", "vote.sync.any.pred at test.cu:", "lane 3"], |d| d.run("divergent_negated_vote", 32)),
    case!("divergent lanes at ldmatrix", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `divergent_ldmatrix`", "ldmatrix", "never arrive: lanes 0-7"], |d| d.run("divergent_ldmatrix", 32)),
    case!("divergent lanes at mma", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `divergent_mma`", "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", "never arrive: lane 31"], |d| d.run("divergent_mma", 32)),
    case!("mma in a warp of 16 threads", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `whole_mma`", "lanes 16-31 do not exist"], |d| d.run("whole_mma", 16)),
    // Asynchronous copies
    case!("cp.async read before its wait", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `copy_not_waited`", "before that thread waited for it"], |d| copy(d, "copy_not_waited")),
    case!("cp.async waited for one group too few", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `copy_waited_too_little`", "before that thread waited for it"], |d| copy(d, "copy_waited_too_little")),
    case!("cp.async of another thread without a barrier", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `copy_without_barrier`", "of dynamic shared memory"], |d| copy(d, "copy_without_barrier")),
    case!("cp.async into a buffer still being read", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `copy_over_readers`", "cp.async.cg.shared.global at", "test.cu:", "(race)"], |d| copy(d, "copy_over_readers")),
    case!("misaligned cp.async", 80, CUDA_ERROR_MISALIGNED_ADDRESS, ["kernel `copy_misaligned`", "16 bytes at a misaligned address"], |d| copy(d, "copy_misaligned")),
    case!("cp.async past the end of its source", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `copy_out_of_bounds`", "cp.async.cg.shared.global at", "test.cu:", "past the end of a live allocation of 1024 bytes"], |d| copy(d, "copy_out_of_bounds")),
    case!("cp.async to a generic address", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `copy_to_a_generic_address`", "writes 16 bytes at the generic address"], |d| copy(d, "copy_to_a_generic_address")),
    case!("ldmatrix from a generic address", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `ldmatrix_from_a_generic_address`", "reads 16 bytes at the generic address"], |d| d.run("ldmatrix_from_a_generic_address", 32)),
    // Memory
    case!("global read out of bounds", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `read_beyond`", "thread (0, 0, 0)", "reads 4 bytes out of bounds", "0 bytes past the end of a live allocation of 400 bytes", "test.cu:"], |d| d.run_on("read_beyond", &mut d.zeros(100), &d.zeros(100), 100)),
    case!("global write out of bounds", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `write_before`", "writes 4 bytes out of bounds", "4 bytes before a live allocation"], |d| d.run_on("write_before", &mut d.zeros(100), &d.zeros(100), 100)),
    case!("global write past the end", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `write_beyond`", "thread (5, 0, 0)", "writes 4 bytes out of bounds", "0 bytes past the end of a live allocation of 512 bytes"], |d| d.run_on("write_beyond", &mut d.zeros(128), &d.zeros(128), 128)),
    case!("misaligned global access", 80, CUDA_ERROR_MISALIGNED_ADDRESS, ["kernel `copy_pack`", "reads 16 bytes at a misaligned address"], misaligned_pack),
    case!("misaligned global access inside a kernel", 80, CUDA_ERROR_MISALIGNED_ADDRESS, ["kernel `read_between`", "reads 4 bytes at a misaligned address"], |d| d.run_on("read_between", &mut d.zeros(100), &d.zeros(100), 2)),
    case!("shared access out of bounds", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `shared_beyond`", "writes 4 bytes at offset 256 of dynamic shared memory, which has 256 bytes"], |d| d.run_shared("shared_beyond", 64, 256)),
    case!("static shared access out of bounds", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `static_shared_beyond`", "offset 128 of `tile`, which has 128 bytes"], |d| d.run("static_shared_beyond", 33)),
    case!("shared access before the first variable", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `shared_before_the_first`", "thread (0, 0, 0)", "writes 4 bytes at offset -4 of `tile`, which has 128 bytes"], |d| d.run("shared_before_the_first", 32)),
    case!("shared access at a constant before the first variable", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `shared_just_before_the_first`", "reads 4 bytes at offset -4 of `tile`, which has 128 bytes"], |d| d.run("shared_just_before_the_first", 32)),
    case!("uninitialised shared memory", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `shared_uninitialised`", "reads uninitialised shared memory"], |d| d.run("shared_uninitialised", 32)),
    case!("an uninitialised byte of shared memory beside one that is written", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `shared_byte_uninitialised`", "reads uninitialised shared memory: offset 1 of `x`"], |d| d.run("shared_byte_uninitialised", 32)),
    case!("uninitialised global memory", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `sum_of`", "reads uninitialised global memory: ", "byte 0 of a live allocation of 400 bytes"], |d| { let fresh = unsafe { d.stream.alloc::<f32>(100) }?; d.run_on("sum_of", &mut d.zeros(100), &fresh, 100) }),
    case!("an atomic on uninitialised shared memory", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `atomic_uninitialised`", "atom.shared.add.u32 at test.cu:", "reads uninitialised shared memory: offset 0 of `count`"], |d| d.run("atomic_uninitialised", 64)),
    case!("an atomic on shared memory without a barrier after its store", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `atomic_after_a_store`", "of `count`"], |d| d.run("atomic_after_a_store", 64)),
    case!("a load of shared memory without a barrier after atomics", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `atomic_and_a_load`", "(race)"], |d| d.run("atomic_and_a_load", 64)),
    case!("an atomic on shared memory without a barrier after loads", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `atomic_after_a_load`", "(race)"], |d| d.run("atomic_after_a_load", 64)),
    case!("a pointer the host made up", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `follow`", "no device memory"], made_up_pointer),
    case!("a local array out of bounds", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `local_beyond`", "of its local memory of 32 bytes"], |d| d.run_on("local_beyond", &mut d.zeros(100), &d.zeros(100), 100)),
    case!("a value that is loaded too early, and used", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `speculated_and_used`", "reads uninitialised shared memory"], speculated_and_used),
    case!("uninitialised local memory", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `local_uninitialised`", "reads uninitialised local memory"], |d| d.run_on("local_uninitialised", &mut d.zeros(100), &d.zeros(100), 5)),
    case!("a register that nothing wrote", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `unwritten_register`", "reads register", "which was never written"], |d| d.run("unwritten_register", 32)),
    case!("recursion, whose stack has no bound", 80, CUDA_ERROR_INVALID_IMAGE, ["kernel `recursion`", "calls itself", "stack overflow"], recursion),
    case!("an instruction that is not known", 80, CUDA_ERROR_INVALID_IMAGE, ["kernel `unknown`", "test.cu:", "vadd.u32.u32.u32", "is not played"], unknown_instruction),
    // Races in global memory
    case!("two blocks write one place", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `blocks_write_one_place`", "writes what thread 0 of block", "(race)"], |d| d.run_blocks("blocks_write_one_place", 2)),
    case!("a block reads what another writes", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `blocks_read_what_others_write`", "of block", "(race)"], |d| d.run_blocks("blocks_read_what_others_write", 2)),
    case!("a block writes what another reads", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `blocks_write_what_others_read`", "(race)"], |d| d.run_blocks("blocks_write_what_others_read", 2)),
    case!("threads of a block without a barrier, in global memory", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `threads_without_barrier`", "(race)"], |d| d.run_blocks("threads_without_barrier", 1)),
    case!("lanes without __syncwarp, in global memory", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `lanes_without_syncwarp`", "(race)"], |d| d.run_blocks("lanes_without_syncwarp", 1)),
    case!("a lane writes what its warp reads at once", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `a_lane_writes_what_all_read`", "thread (0, 0, 0)", "writes what lanes of warp 0 reads with nothing between (race)"], |d| d.run("a_lane_writes_what_all_read", 32)),
    case!("lanes that write one place at once", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `lanes_write_one_place`", "writes what thread", "(race)"], |d| d.run_blocks("lanes_write_one_place", 1)),
    case!("a barrier of half the warps orders the others not", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `half_a_barrier`", "(race)"], |d| d.run("half_a_barrier", 64)),
    case!("integer division by zero", 80, CUDA_ERROR_LAUNCH_FAILED, ["kernel `divide`", "integer division by zero"], |d| d.run_on("divide", &mut d.zeros(64), &d.zeros(64), 0)),
    case!("use after free", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `sum_of`", "argument 1", "byte 0 of a freed allocation of 400 bytes"], use_after_free),
    case!("free while work is queued", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `sum_of`", "a freed allocation"], free_in_other_stream),
    case!("double free", 80, CUDA_ERROR_INVALID_VALUE, ["is freed a second time"], double_free),
    case!("copy past the end of an allocation", 80, CUDA_ERROR_INVALID_VALUE, ["cuMemcpyDtoH", "404 bytes"], copy_beyond),
    // Launches
    case!("a missing argument", 80, CUDA_ERROR_INVALID_VALUE, ["kernel `sum_of` has 3 parameters", "argument 2 is missing"], missing_argument),
    case!("packed arguments, one too few", 80, CUDA_ERROR_INVALID_VALUE, ["kernel `sum_of` takes 20 bytes of arguments (3 parameters); the launch brings 16 bytes"], packed_argument_too_few),
    case!("packed arguments, one too many", 80, CUDA_ERROR_INVALID_VALUE, ["kernel `sum_of` takes 20 bytes of arguments (3 parameters); the launch brings 32 bytes"], packed_argument_too_many),
    case!("packed arguments, one of another type", 80, CUDA_ERROR_INVALID_VALUE, ["kernel `sum_of` takes 20 bytes of arguments (3 parameters); the launch brings 24 bytes"], packed_argument_of_another_type),
    case!("an argument too many in an array without a length is not seen", 80, CUDA_SUCCESS, [], surplus_argument_in_an_array),
    case!("a number where a pointer belongs", 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["kernel `sum_of`: argument 1 should be a device pointer"], number_for_pointer),
    case!("a bool that is none", 80, CUDA_ERROR_INVALID_VALUE, ["argument 1 should be a bool and is 7"], no_bool),
    case!("too many threads", 80, CUDA_ERROR_INVALID_VALUE, ["2048 threads; 1 to 1024 are possible"], |d| d.run("whole_mma", 2048)),
    case!("more threads than __launch_bounds__", 80, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, ["its __launch_bounds__ are 64"], |d| d.run("bounded", 128)),
    case!("dynamic shared memory without opting in", 80, CUDA_ERROR_INVALID_VALUE, ["65536 bytes of dynamic shared memory; 49152 are allowed"], |d| d.run_shared("shared_beyond", 64, 65536)),
    case!("dynamic shared memory over the limit of sm_75", 75, CUDA_ERROR_INVALID_VALUE, ["100000 bytes of dynamic shared memory; this device has 65536"], |d| opt_in(d, 100_000)),
    case!("dynamic shared memory over the limit of sm_86", 86, CUDA_ERROR_INVALID_VALUE, ["this device has 101376"], |d| opt_in(d, 100 << 10)),
    case!("static and dynamic shared memory together over the limit", 80, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, ["static and dynamic shared memory come to 49280 bytes; 49152 are allowed"], |d| d.run_shared("static_shared_beyond", 32, 49152)),
    case!("an unknown kernel", 80, CUDA_ERROR_NOT_FOUND, ["no extern \"C\" kernel `nothing`"], |d| load(d, 80)?.load_function("nothing").map(drop)),
    case!("a cubin for another architecture", 75, CUDA_ERROR_NO_BINARY_FOR_GPU, ["the cubin is for sm_80, this device is sm_75"], |d| load(d, 80).map(drop)),
    case!("a cubin that is none", 80, CUDA_ERROR_INVALID_IMAGE, ["no cubin"], |d| d .context .load_module(Ptx::from_binary(vec![7; 1000])) .map(drop)),
    // Captures
    case!("synchronisation inside a capture", 80, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, ["cuStreamSynchronize waits for a stream that is being captured"], |d| { d.capture(); d.stream.synchronize() }),
    case!("a broken capture gives no graph", 80, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, ["the capture was broken by an earlier call"], |d| { d.capture(); let refused = d.context.synchronize(); assert!( refused.is_err(), "the whole context cannot be waited for, either" ); d.stream.end_capture(CUgraphInstantiate_flags(0)).map(drop) }),
    case!("allocation inside a capture", 80, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, ["memory is allocated while its stream is captured"], |d| { d.capture(); unsafe { d.stream.alloc::<f32>(4) }.map(drop) }),
    case!("a blocking copy inside a capture", 80, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, ["cuMemcpyHtoD while a stream is captured"], |d| { let x = d.zeros(4); let (pointer, _sync) = DevicePtr::device_ptr(&x, &d.stream); d.capture(); unsafe { result::memcpy_htod_sync(pointer, &[1.0f32; 4]) } }),
    case!("a capture that depends on work outside", 80, CUDA_ERROR_STREAM_CAPTURE_ISOLATION, ["recorded outside the capture"], |d| { let outside = d.context.new_stream()?.record_event(None)?; d.capture(); d.stream.wait(&outside) }),
    case!("a forked stream that never joins", 80, CUDA_ERROR_STREAM_CAPTURE_UNJOINED, ["a forked stream was not waited for"], unjoined),
    // Handles
    case!("a stream of nobody", 80, CUDA_ERROR_INVALID_HANDLE, ["is no stream of this context"], |_| unsafe { sys::cuStreamSynchronize(0x1234_5670 as sys::CUstream).result() }),
    case!("a destroyed event", 80, CUDA_ERROR_INVALID_HANDLE, ["is no event"], |d| { let event = d.stream.record_event(None)?; unsafe { sys::cuEventDestroy_v2(event.cu_event()).result()?; sys::cuEventSynchronize(event.cu_event()).result() } }),
    // Notes
    case!("float atomics are noted", 80, CUDA_SUCCESS, ["kernel `float_atomics`: 64 float atomics"], |d| d.run("float_atomics", 64)),
];
