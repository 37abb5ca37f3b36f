//! The kernel headers compile with NVIDIA's own NVRTC, for every architecture, with no include path.
//!
//! `VITCUDA_NVRTC` names the library (`pip install nvidia-cuda-nvrtc` brings one); without it the
//! tests are reported as ignored, with `VITCUDA_REQUIRE_NVRTC=1`, as in CI, they fail.

use std::ffi::{CString, c_char, c_int};

use libtest_mimic::{Arguments, Failed, Trial};

const HEADERS: [(&str, &str); 2] = [
    ("common.cuh", include_str!("../../kernels/common.cuh")),
    ("mma.cuh", include_str!("../../kernels/mma.cuh")),
];
const SOURCES: [(&str, &str); 6] = [
    ("language.cu", include_str!("kernels/language.cu")),
    ("numbers.cu", include_str!("kernels/numbers.cu")),
    ("gemm.cu", include_str!("kernels/gemm.cu")),
    ("primitives.cu", include_str!("kernels/primitives.cu")),
    ("simple.cu", include_str!("kernels/simple.cu")),
    ("broken.cu", include_str!("kernels/broken.cu")),
];

fn main() {
    let library = std::env::var("VITCUDA_NVRTC").ok();
    let required = std::env::var("VITCUDA_REQUIRE_NVRTC").is_ok_and(|value| value == "1");
    let mut tests = Vec::new();
    for arch in [75, 80, 86, 89, 90, 100, 120] {
        for options in [&[][..], &["-DVITCUDA_BF16"]] {
            if arch < 80 && !options.is_empty() {
                continue;
            }
            let library = library.clone();
            let name = format!("sm_{arch} {}", options.concat());
            let test = Trial::test(name, move || {
                let library = library.ok_or("VITCUDA_NVRTC names no library")?;
                SOURCES
                    .iter()
                    .try_for_each(|source| compile(&library, source, arch, options))
            });
            tests.push(
                test.with_ignored_flag(std::env::var_os("VITCUDA_NVRTC").is_none() && !required),
            );
        }
    }
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

fn compile(
    library: &str,
    (name, source): &(&str, &str),
    arch: u32,
    options: &[&str],
) -> Result<(), Failed> {
    type Create = unsafe extern "C" fn(
        *mut usize,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int;
    type Compile = unsafe extern "C" fn(usize, c_int, *const *const c_char) -> c_int;
    let text = |text: &str| CString::new(text).expect("no zero bytes in sources");
    let pointers = |strings: &[CString]| strings.iter().map(|one| one.as_ptr()).collect::<Vec<_>>();
    let names = HEADERS.map(|(name, _)| text(name));
    let headers = HEADERS.map(|(_, header)| text(header));
    let mut arguments = vec![
        text(&format!("--gpu-architecture=sm_{arch}")),
        text("--std=c++17"),
        text("--ptxas-options=-v"),
    ];
    arguments.extend(options.iter().map(|one| text(one)));
    let (file, source) = (text(name), text(source));
    // SAFETY: the signatures are NVRTC's.
    let (result, log) = unsafe {
        let nvrtc = libloading::Library::new(library)?;
        let mut program = 0;
        let create: libloading::Symbol<Create> = nvrtc.get(b"nvrtcCreateProgram")?;
        create(
            &mut program,
            source.as_ptr(),
            file.as_ptr(),
            2,
            pointers(&headers).as_ptr(),
            pointers(&names).as_ptr(),
        );
        let compile: libloading::Symbol<Compile> = nvrtc.get(b"nvrtcCompileProgram")?;
        let result = compile(
            program,
            arguments.len() as c_int,
            pointers(&arguments).as_ptr(),
        );
        let size: libloading::Symbol<unsafe extern "C" fn(usize, *mut usize) -> c_int> =
            nvrtc.get(b"nvrtcGetProgramLogSize")?;
        let mut bytes = 0;
        size(program, &mut bytes);
        let mut log = vec![0u8; bytes];
        let get: libloading::Symbol<unsafe extern "C" fn(usize, *mut c_char) -> c_int> =
            nvrtc.get(b"nvrtcGetProgramLog")?;
        get(program, log.as_mut_ptr().cast());
        // NVRTC does not like to be unloaded and loaded again.
        std::mem::forget(nvrtc);
        (result, String::from_utf8_lossy(&log).into_owned())
    };
    match result {
        0 => Ok(()),
        code => Err(format!("{name}: NVRTC result {code}\n{log}").into()),
    }
}
