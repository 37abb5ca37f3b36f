//! `cargo bench --bench step [-- FLAGS]`: `vitcuda bench --step`.

mod vitcuda_bench;

fn main() -> std::process::ExitCode {
    vitcuda_bench::run("--step")
}
