//! Correct kernels and calls give correct results, through cudarc's safe API, on every architecture.

#[path = "../common/mod.rs"]
mod common;
mod element;
mod gemm;
mod kernels;
mod numbers;
mod primitives;
mod streams;

use std::sync::Arc;

use common::trial;
use cudarc::driver::{CudaContext, LaunchConfig};
use gemm::*;
use half::{bf16, f16};
use kernels::*;
use libtest_mimic::Arguments;
use numbers::*;
use primitives::*;
use streams::*;

const ARCHITECTURES: [u32; 6] = [75, 80, 86, 89, 90, 120];

/// Kernels of several tests.
const SIMPLE: &str = include_str!("../kernels/simple.cu");

fn main() {
    let names: Vec<String> = ARCHITECTURES.map(|arch| format!("sm_{arch}")).into();
    // One process plays them all, as devices 0 to 5.
    // SAFETY: no other thread yet.
    unsafe { std::env::set_var("VITCUDA_EMULATE", names.join(",")) };
    common::stand_first();
    let mut tests = Vec::new();
    let mut test = |name: String, ordinal: usize, body: fn(&Arc<CudaContext>)| {
        tests.push(trial(name, move || {
            body(&CudaContext::new(ordinal).expect("the device is played"));
            Ok(())
        }));
    };
    for (ordinal, arch) in ARCHITECTURES.into_iter().enumerate() {
        test(format!("sm_{arch}: device attributes"), ordinal, attributes);
        test(format!("sm_{arch}: gemm f16 equals f64"), ordinal, gemm_f16);
    }
    test(
        "ldmatrix hands out fragments as PTX defines them".into(),
        1,
        ldmatrix_layouts,
    );
    test("mma.m16n8k8 f16 equals f64".into(), 0, mma_k8);
    test("mma.m16n8k16 f16 equals f64".into(), 1, mma_k16::<f16>);
    test("mma.m16n8k16 bf16 equals f64".into(), 1, mma_k16::<bf16>);
    test("cp.async copies, and fills with zeros".into(), 1, copies);
    test("cp.async of 12 bytes of 16".into(), 1, three_words);
    test(
        "f16 conversions equal the half crate's".into(),
        0,
        conversions::<f16>,
    );
    test(
        "bf16 conversions equal the half crate's".into(),
        1,
        conversions::<bf16>,
    );
    test("gemm bf16 equals f64".into(), 1, gemm_bf16);
    test("vector add, odd size".into(), 1, add);
    test("layer norm statistics equal f64".into(), 1, normalise);
    test("votes and shuffles".into(), 1, warp_functions);
    test("barriers with numbers and counts".into(), 1, named_barriers);
    test("shared variables of one name".into(), 1, shared_names);
    test("corners of the language".into(), 1, language);
    test("comparisons, NaN among the operands".into(), 1, comparisons);
    test("registers of 16 bits".into(), 1, sixteen_bits);
    test("floats to integers, NaN among them".into(), 1, to_integers);
    test(
        "approximations of subnormal numbers".into(),
        1,
        approximations,
    );
    test("integer atomics".into(), 1, atomics);
    test("atomics in shared memory".into(), 1, shared_atomics);
    test(
        "bank conflicts and sectors, counted by hand".into(),
        1,
        access_costs,
    );
    test("__syncwarp of some lanes".into(), 1, groups_of_lanes);
    test("bytes of shared memory".into(), 1, shared_bytes);
    test("lanes meet where one has returned".into(), 1, some_exit);
    test("a value that is loaded and not used".into(), 1, speculation);
    test("capture and replay of a graph".into(), 1, graph);
    test("fork and join inside a capture".into(), 1, forked_capture);
    test("two streams and an event".into(), 1, streams);
    test("work waits for the host to wait".into(), 1, laziness);
    test("event timing".into(), 1, timing);
    test("pinned memory is read when the copy runs".into(), 1, pinned);
    test("memory is given back".into(), 1, memory);
    test("counters of a gemm".into(), 1, gemm_counters);
    test("gemm speed, sm_80".into(), 1, gemm_speed);
    test("elementwise speed".into(), 1, elementwise_speed);
    test("gemm speed, sm_75".into(), 0, gemm_speed);
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1); // counters and memory are the process's
    libtest_mimic::run(&arguments, tests).exit();
}

fn config(grid: u32, block: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (grid, 1, 1),
        block_dim: (block, 1, 1),
        shared_mem_bytes: 0,
    }
}

fn attributes(context: &Arc<CudaContext>) {
    use cudarc::driver::sys::CUdevice_attribute as A;
    let (major, minor) = context.compute_capability().expect("it has one");
    let kib = |attribute| context.attribute(attribute).expect("known") / 1024;
    let optin = kib(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    let expected = match major * 10 + minor {
        75 => 64,
        80 => 163,
        90 => 227,
        _ => 99,
    };
    assert_eq!(optin, expected);
    assert_eq!(kib(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK), 48);
    assert_eq!(
        context
            .attribute(A::CU_DEVICE_ATTRIBUTE_WARP_SIZE)
            .expect("known"),
        32
    );
    assert!(context.name().expect("it has one").contains("emulator"));
}
