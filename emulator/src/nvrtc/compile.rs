//! From `.cu` text to a shared object: preprocess, rewrite, compile, link.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use super::options::Options;
use super::rewrite::{Declaration, rewrite};
use super::{PRELUDE, fnv1a, interface};

/// What is compiled into the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every load and store is judged (the default).
    Checked,
    /// `VITCUDA_EMULATOR_CHECKS=off`: guard pages and poison only.
    Fast,
    /// `VITCUDA_EMULATOR_CHECKS=address`: AddressSanitizer, whose library must be preloaded.
    AddressSanitizer,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Checked => "checked",
            Self::Fast => "fast",
            Self::AddressSanitizer => "address",
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Checked => &[
                "-fsanitize=thread",
                "--param",
                "tsan-instrument-func-entry-exit=0",
            ],
            Self::Fast => &[],
            Self::AddressSanitizer => &["-fsanitize=address", "-fno-omit-frame-pointer"],
        }
    }
}

/// The mode that the environment asks for.
pub fn mode() -> Mode {
    match std::env::var("VITCUDA_EMULATOR_CHECKS").as_deref() {
        Ok("off") => Mode::Fast,
        Ok("address") => Mode::AddressSanitizer,
        _ => Mode::Checked,
    }
}

/// A program to compile.
pub struct Source<'a> {
    pub name: &'a str,
    pub text: &'a str,
    /// Names and texts of in-memory headers.
    pub headers: &'a [(String, String)],
}

/// The shared object, and the compiler's messages; without an object, why.
pub struct Compiled {
    pub object: Option<Vec<u8>>,
    pub log: String,
}

/// Compiles; looks in the folder `VITCUDA_EMULATOR_CACHE` first, if there is one.
pub fn compile(source: &Source, options: &Options) -> Compiled {
    let cached = std::env::var_os("VITCUDA_EMULATOR_CACHE").map(|dir| {
        let headers = source
            .headers
            .iter()
            .flat_map(|(name, text)| [name.as_str(), text.as_str()]);
        let texts = [source.name, source.text].into_iter().chain(headers);
        let request = format!("{options:?} {} {:?}", interface(), compiler());
        let bytes = texts
            .flat_map(|text| text.bytes().chain([0]))
            .chain(request.bytes());
        PathBuf::from(dir).join(format!("{:016x}.so", fnv1a(bytes)))
    });
    if let Some(object) = cached.as_ref().and_then(|path| std::fs::read(path).ok()) {
        return Compiled {
            object: Some(object),
            log: String::new(),
        };
    }
    let folder = match Folder::new() {
        Ok(folder) => folder,
        Err(error) => {
            return Compiled {
                object: None,
                log: format!("nvrtc: error: no folder for temporary files: {error}\n"),
            };
        }
    };
    let mut log = String::new();
    let object = build(&folder.0, source, options, &mut log);
    // The person knows the file by the name they gave, not by where it was put.
    let prefix = format!("{}/", folder.0.display());
    log = log.replace(&prefix, "");
    if let Err(reason) = &object {
        log.push_str(&reason.replace(&prefix, ""));
    }
    let object = object.ok();
    if let (Some(path), Some(object)) = (cached, &object) {
        let partial = path.with_extension(std::process::id().to_string());
        let written =
            std::fs::write(&partial, object).and_then(|()| std::fs::rename(&partial, &path));
        if let Err(error) = written {
            log.push_str(&format!(
                "vitcuda emulator: cannot cache in {}: {error}\n",
                path.display()
            ));
        }
    }
    Compiled { object, log }
}

fn build(
    folder: &Path,
    source: &Source,
    options: &Options,
    log: &mut String,
) -> Result<Vec<u8>, String> {
    let write = |name: &str, text: &str| -> Result<PathBuf, String> {
        let path = folder.join(name);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&path, text))
            .map_err(|error| format!("nvrtc: error: cannot write {}: {error}\n", path.display()))?;
        Ok(path)
    };
    let prelude = format!("#pragma GCC system_header\n{}", PRELUDE.concat());
    let prelude = write("vitcuda_prelude.h", &prelude)?;
    for (name, text) in source.headers {
        write(name, text)?;
    }
    let main = write(source.name, source.text)?;
    let preprocessed = run(
        Command::new(compiler())
            .args([
                "-E",
                "-x",
                "c++",
                "-nostdinc",
                "-D__CUDACC__",
                "-D__CUDACC_RTC__",
                "-D__NVCC__",
            ])
            .arg("-DVITCUDA_EMULATOR=1")
            .arg(format!("-D__CUDA_ARCH__={}0", options.arch))
            .args(&options.preprocessor)
            .arg("-I")
            .arg(folder)
            .arg("-include")
            .arg(prelude)
            .arg(main),
        log,
    )?;
    let text =
        String::from_utf8_lossy(&preprocessed).replace(&format!("{}/", folder.display()), "");
    let rewritten = rewrite(&text)?;
    let unit = write(
        "unit.ii",
        &format!("{}{}", rewritten.text, entry_table(&rewritten.kernels)),
    )?;
    let standard = options
        .preprocessor
        .last()
        .map_or("-std=c++17", String::as_str);
    let contract = if options.contract {
        "-ffp-contract=fast"
    } else {
        "-ffp-contract=off"
    };
    let (object, library) = (folder.join("unit.o"), folder.join("unit.so"));
    run(
        Command::new(compiler())
            .args([
                "-c",
                "-x",
                "c++-cpp-output",
                standard,
                "-O2",
                "-g1",
                "-fPIC",
                "-march=native",
                contract,
            ])
            .args([
                "-fno-strict-aliasing",
                "-fno-math-errno",
                "-fno-trapping-math",
                "-fno-exceptions",
                "-fno-rtti",
            ])
            .args([
                "-fno-threadsafe-statics",
                "-fno-gnu-unique",
                "-Wno-attributes",
                "-Wno-unknown-pragmas",
                "-Wno-psabi",
            ])
            .args(mode().flags())
            .current_dir(folder)
            .arg(format!("-fdebug-prefix-map={}=.", folder.display()))
            .arg(unit)
            .arg("-o")
            .arg(&object),
        log,
    )?;
    run(
        Command::new(compiler())
            .args(["-shared", "-nodefaultlibs", "-Wl,-Bsymbolic", "-Wl,-z,now"])
            .arg(&object)
            .arg("-o")
            .arg(&library)
            .args(["-lm", "-lc", "-lgcc"]),
        log,
    )?;
    std::fs::read(&library).map_err(|error| format!("nvrtc: error: {error}\n"))
}

/// What the loader asks for, after the kernels (prelude/entry.h).
fn entry_table(kernels: &[Declaration]) -> String {
    let rows: String = kernels
        .iter()
        .map(|Declaration { name, bounds }| {
            let (threads, blocks) = bounds.clone().unwrap_or(("0".into(), "0".into()));
            let one = format!("vitcuda_kernel<decltype({name}), &{name}>");
            format!("{{\"{name}\", {one}::invoke, {one}::parameters, {one}::count, (vitcuda_u32)({threads}), (vitcuda_u32)({blocks})}},\n")
        })
        .collect();
    format!(
        "\n# 1 \"vitcuda_entries\" 3\n\
         static const vitcuda_kernel_info vitcuda_table[] = {{\n{rows}{{0, 0, 0, 0, 0, 0}}}};\n\
         extern \"C\" const vitcuda_kernel_info* vitcuda_kernels() {{ return vitcuda_table; }}\n\
         extern \"C\" {{ extern char __ehdr_start __attribute__((visibility(\"hidden\"))); extern char _end __attribute__((visibility(\"hidden\"))); }}\n\
         extern \"C\" __attribute__((no_sanitize(\"thread\"), no_sanitize(\"address\"))) void vitcuda_image(vitcuda_u64* ends) {{ ends[0] = (vitcuda_u64)&__ehdr_start; ends[1] = (vitcuda_u64)&_end; }}\n"
    )
}

fn compiler() -> std::ffi::OsString {
    std::env::var_os("VITCUDA_EMULATOR_CXX").unwrap_or_else(|| "c++".into())
}

/// Runs a step; its messages go to the log, its failure is the error (already logged).
fn run(command: &mut Command, log: &mut String) -> Result<Vec<u8>, String> {
    let name = Path::new(command.get_program())
        .file_name()
        .unwrap_or(OsStr::new("c++"))
        .to_owned();
    // In English whatever the person speaks: callers look for "error:".
    let output = command.env("LC_ALL", "C").output().map_err(|error| {
        format!(
            "nvrtc: error: the emulator needs a C++ compiler; {} does not start: {error}\n",
            name.display()
        )
    })?;
    log.push_str(&String::from_utf8_lossy(&output.stderr));
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::new()),
    }
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("vitcuda-emulator-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover in the temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
