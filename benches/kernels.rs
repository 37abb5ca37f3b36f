//! `cargo bench --bench kernels [-- FLAGS]`: `vitcuda bench --kernels`, on the first usable GPU or
//! else on the CPU.

mod vitcuda_bench;

fn main() -> std::process::ExitCode {
    vitcuda_bench::run("--kernels")
}
