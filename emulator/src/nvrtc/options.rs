//! NVRTC's options: what they become for the C++ compiler, and which are refused.

/// What a program asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// `__CUDA_ARCH__ / 10`.
    pub arch: u32,
    /// `-D`, `-U`, `-I`, `-include` and `-std=` for the preprocessor.
    pub preprocessor: Vec<String>,
    /// `--fmad`: contract a·b + c.
    pub contract: bool,
}

/// Options that change nothing here. The kernels run unoptimised by them: fast maths would hide
/// NaN, registers and debug information are the GPU compiler's.
const WITHOUT_EFFECT: &[&str] = &[
    "--use_fast_math",
    "-use_fast_math",
    "--ftz",
    "-ftz",
    "--prec-sqrt",
    "-prec-sqrt",
    "--prec-div",
    "-prec-div",
    "--extra-device-vectorization",
    "-extra-device-vectorization",
    "--ptxas-options",
    "-Xptxas",
    "--maxrregcount",
    "-maxrregcount",
    "--generate-line-info",
    "-lineinfo",
    "--device-debug",
    "-G",
    "--restrict",
    "-restrict",
    "--disable-warnings",
    "-w",
    "--diag-suppress",
    "-diag-suppress",
    "--diag-warn",
    "-diag-warn",
    "--diag-error",
    "-diag-error",
    "--display-error-number",
    "-err-no",
    "--no-display-error-number",
    "-no-err-no",
    "--device-as-default-execution-space",
    "-default-device",
    "--builtin-move-forward",
    "--builtin-initializer-list",
    "--dopt",
    "-dopt",
    "--split-compile",
    "-split-compile",
    "--time",
    "-time",
    "--minimal",
    "-minimal",
    "--relocatable-device-code",
    "-rdc",
    "--device-c",
    "-dc",
    "--device-w",
    "-dw",
    "--device-int128",
    "-device-int128",
    "--no-cache",
    "-no-cache",
    "--fast-compile",
    "-Ofc",
];
/// Of those, the ones whose value may be the next argument.
const WITH_VALUE: &[&str] = &[
    "-Xptxas",
    "--ptxas-options",
    "--maxrregcount",
    "-maxrregcount",
];

/// Reads the options of `nvrtcCompileProgram`; the error is the line for the program log.
pub fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options {
        arch: 75,
        preprocessor: Vec::new(),
        contract: true,
    };
    let mut standard = "-std=c++17".to_owned();
    let mut rest = arguments.iter().map(|one| one.trim());
    while let Some(argument) = rest.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) if !is_short(name) => (name, Some(value)),
            _ => (argument, None),
        };
        let mut needed = |what: &str| {
            let next = value
                .map(str::to_owned)
                .or_else(|| rest.next().map(str::to_owned));
            next.ok_or_else(|| format!("nvrtc: error: option {what} needs a value"))
        };
        match name {
            "--gpu-architecture" | "-arch" | "--gpu-arch" => {
                options.arch = architecture(&needed(name)?)?
            }
            "--define-macro" | "-D" => options.preprocessor.push(format!("-D{}", needed(name)?)),
            "--undefine-macro" | "-U" => options.preprocessor.push(format!("-U{}", needed(name)?)),
            "--include-path" | "-I" => options.preprocessor.push(format!("-I{}", needed(name)?)),
            "--pre-include" | "-include" => options
                .preprocessor
                .extend(["-include".into(), needed(name)?]),
            "--std" | "-std" => standard = format!("-std={}", needed(name)?),
            "--fmad" | "-fmad" => options.contract = needed(name)? == "true",
            _ if is_short(name) => options.preprocessor.push(argument.to_owned()),
            _ if WITHOUT_EFFECT.contains(&name) => {
                if WITH_VALUE.contains(&name) && value.is_none() {
                    needed(name)?;
                }
            }
            _ => return Err(format!("nvrtc: error: unrecognized option {argument}")),
        }
    }
    options.preprocessor.push(standard);
    Ok(options)
}

/// `-DNAME…`, `-UNAME`, `-Ipath` in one word.
fn is_short(argument: &str) -> bool {
    argument.len() > 2
        && (argument.starts_with("-D") || argument.starts_with("-U") || argument.starts_with("-I"))
}

/// `sm_80`, `compute_80`, `sm_90a`, `sm_100f`: the number.
fn architecture(text: &str) -> Result<u32, String> {
    let digits = text
        .strip_prefix("sm_")
        .or_else(|| text.strip_prefix("compute_"));
    let digits = digits.map(|rest| rest.trim_end_matches(['a', 'f']));
    let number = digits.and_then(|digits| digits.parse().ok());
    number
        .filter(|arch| super::api::ARCHITECTURES.contains(arch))
        .map(|arch| arch as u32)
        .ok_or_else(|| format!("nvrtc: error: invalid value for --gpu-architecture ({text})"))
}
