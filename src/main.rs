mod cli;

#[global_allocator]
static ALLOCATOR: vitcuda::memory::Allocator = vitcuda::memory::Allocator;

fn main() -> std::process::ExitCode {
    cli::main()
}
