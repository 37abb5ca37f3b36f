//! What `build.rs` reads out of the kernels' text, and what it refuses.

#[path = "../build/signature.rs"]
mod signature;

use signature::{Parameter, kernels};

fn parameter(name: &str, c: &str, rust: &str) -> Parameter {
    Parameter {
        name: name.into(),
        c: c.into(),
        rust: rust.into(),
    }
}

#[test]
fn types_and_names_are_read() {
    let text = r#"
        // extern "C" __global__ void in_a_comment(bool x) {}
        /* __global__ void in_another(bool x) {} */
        __device__ void helper(bool any) {}
        extern "C" __global__ void __launch_bounds__(THREADS, (A + B) / 2)
        one(element* y, const float* __restrict__ x, // a comment, with commas
            unsigned char *image, StepState* state,
            int rows, unsigned seed, long long offset, float eps) { rows / 2; }
        extern "C" __global__ void __launch_bounds__(32) two() {}
    "#;
    let [one, two] = &kernels(text).unwrap()[..] else {
        panic!("two kernels");
    };
    assert_eq!((&*one.name, &*two.name), ("one", "two"));
    assert_eq!(two.parameters, []);
    assert_eq!(
        one.parameters,
        [
            parameter("y", "element*", "Ptr<Element>"),
            parameter("x", "const float*", "Ptr<f32>"),
            parameter("image", "unsigned char*", "Ptr<u8>"),
            parameter("state", "StepState*", "Ptr<super::structs::StepState>"),
            parameter("rows", "int", "i32"),
            parameter("seed", "unsigned", "u32"),
            parameter("offset", "long long", "i64"),
            parameter("eps", "float", "f32"),
        ]
    );
}

#[test]
fn what_the_host_could_not_pass_is_refused() {
    let refusal = |text: &str| kernels(text).unwrap_err();
    for (parameters, named) in [
        ("bool on", "bool on"),
        ("double x", "double x"),
        ("size_t n", "size_t n"),
        ("double* x", "double*"),
        ("const void* x", "void*"),
        ("float** x", "float**"),
        // Aligned to 64 bytes, which packed arguments are not.
        ("const CUtensorMap map", "CUtensorMap map"),
    ] {
        let text =
            format!("extern \"C\" __global__ void __launch_bounds__(32) k({parameters}) {{}}");
        assert!(refusal(&text).contains(named), "{}", refusal(&text));
    }
    let plain = "__global__ void __launch_bounds__(32) k(int n) {}";
    assert!(refusal(plain).contains("extern \"C\""));
    let unbounded = "extern \"C\" __global__ void k(int n) {}";
    assert!(refusal(unbounded).contains("__launch_bounds__"));
    let cut = "extern \"C\" __global__ void __launch_bounds__(32) k(int n";
    assert!(refusal(cut).contains("parentheses"));
}
