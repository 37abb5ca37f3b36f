//! From a [`Specialisation`] to a cubin: out of the cache, or through NVRTC.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::cache::{Cache, Found};
use super::element::ElementType;
use super::kernel::{Header, Source, Specialisation};
use super::kernels::{HEADERS, SOURCES};
use super::nvrtc::{Compiled, Failure, Nvrtc};
use super::patch::Patch;
use super::target::target;
use crate::error::{Error, Result};
use crate::fnv::fnv1a;

/// Compiles for one architecture and element type.
#[derive(Debug)]
pub struct Compiler {
    nvrtc: Arc<Nvrtc>,
    cache: Cache,
    /// 75 for sm_75.
    arch: u32,
    element: ElementType,
    notices: Mutex<Vec<String>>,
    patch: Mutex<Option<Patch>>,
}

/// Lines of a compiler's log in an error message; the report has all.
const LOG_LINES: usize = 12;

impl Compiler {
    /// For a GPU of `capability`: (major, minor). NVRTC must have been found for it.
    pub fn new(
        nvrtc: Arc<Nvrtc>,
        cache: Cache,
        capability: (u32, u32),
        element: ElementType,
    ) -> Self {
        let arch = target(&nvrtc.architectures, capability);
        let arch = arch.expect("an NVRTC that was found for this GPU");
        Self {
            nvrtc,
            cache,
            arch,
            element,
            notices: Mutex::default(),
            patch: Mutex::default(),
        }
    }

    /// The NVRTC in use.
    pub fn nvrtc(&self) -> &Nvrtc {
        &self.nvrtc
    }

    /// The cache in use.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// What the person should know, each line once: a cache that cannot be written.
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock().expect("no panic while it is held"))
    }

    fn notice(&self, line: String) {
        let mut notices = self.notices.lock().expect("no panic while it is held");
        if !notices.contains(&line) {
            notices.push(line);
        }
    }

    /// From now on the text has this fault, until another is planted or none; the one before.
    pub(super) fn plant(&self, patch: Option<Patch>) -> Option<Patch> {
        std::mem::replace(
            &mut *self.patch.lock().expect("no panic while it is held"),
            patch,
        )
    }

    /// The fault that is in the text of `spec`.
    fn planted(&self, spec: &Specialisation) -> Option<Patch> {
        let patch = *self.patch.lock().expect("no panic while it is held");
        patch.filter(|patch| patch.concerns(spec.file))
    }

    /// The cubin of `spec`, from the cache where it has it.
    ///
    /// [`Error::Device`] with the compiler's messages where NVRTC refuses the text.
    pub fn compile(&self, spec: &Specialisation) -> Result<Compiled> {
        if self.planted(spec).is_some() {
            return self.compile_anew(spec);
        }
        let key = self.key(spec);
        match self.cache.read(&key) {
            Found::Entry(compiled) => return Ok(compiled),
            Found::Nothing => {}
            Found::Damaged(path, what) => self.notice(format!(
                "a compiled kernel is damaged and made anew: {}: {what}",
                path.display()
            )),
        }
        self.compile_anew(spec)
    }

    /// Compiles, whatever the cache has, and puts the result there.
    pub fn compile_anew(&self, spec: &Specialisation) -> Result<Compiled> {
        if let Some(patch) = self.planted(spec) {
            return self.compile_patched(spec, patch);
        }
        let compiled = self
            .nvrtc
            .compile(source(spec), HEADERS, &self.options(spec))
            .map_err(|failure| self.report(spec, &failure))?;
        if let Err(error) = self.cache.write(&self.key(spec), &compiled) {
            self.notice(format!(
                "compiled kernels are not kept ({error}); let VITCUDA_CACHE name a folder that can be written"
            ));
        }
        Ok(compiled)
    }

    /// With a fault in the text, and nothing left behind.
    fn compile_patched(&self, spec: &Specialisation, patch: Patch) -> Result<Compiled> {
        let Source { name, text, hash } = *source(spec);
        let text = patch.apply(name, text);
        let patched = HEADERS
            .iter()
            .map(|header| patch.apply(header.name, header.text));
        let patched: Vec<_> = patched.collect();
        let headers = HEADERS.iter().zip(&patched);
        let headers: Vec<Header> = headers
            .map(|(&Header { name, .. }, text)| Header { name, text })
            .collect();
        let source = Source {
            name,
            text: &text,
            hash,
        };
        self.nvrtc
            .compile(&source, &headers, &self.options(spec))
            .map_err(|failure| self.report(spec, &failure))
    }

    fn options(&self, spec: &Specialisation) -> Vec<String> {
        let mut options = vec![
            format!("--gpu-architecture=sm_{}", self.arch),
            "--std=c++17".to_owned(),
            "--generate-line-info".to_owned(),
            "--ptxas-options=-v".to_owned(),
            // NVRTC before 13.2 refuses generic lambdas in a kernel, "functions without execution
            // space annotations". With this option 12.0 takes them; objects with templates in the
            // place of lambdas would do as well, and take their captures apart by hand.
            "--device-as-default-execution-space".to_owned(),
        ];
        if self.element == ElementType::Bf16 {
            options.push("-DVITCUDA_BF16".to_owned());
        }
        let defines = spec.defines.iter();
        options.extend(defines.map(|(name, value)| format!("-D{name}={value}")));
        options
    }

    /// All that the cubin depends on.
    fn key(&self, spec: &Specialisation) -> String {
        let source = source(spec);
        let (major, minor) = self.nvrtc.version;
        format!(
            "{} {:032x}\n{}\nNVRTC {major}.{minor}, {} bytes",
            source.name,
            source.hash,
            self.options(spec).join(" "),
            self.nvrtc.size,
        )
    }

    /// The error for a text that does not compile; writes everything about it into a file.
    fn report(&self, spec: &Specialisation, failure: &Failure) -> Error {
        let (major, minor) = self.nvrtc.version;
        let key = self.key(spec);
        let text = format!(
            "vitcuda {} could not compile a kernel.\n\n{key}\nNVRTC file: {}\n{}\n\n{}\n\n---- {}\n{}",
            env!("CARGO_PKG_VERSION"),
            self.nvrtc.path.display(),
            failure.status,
            failure.log,
            spec.file,
            source(spec).text,
        );
        let name = format!("nvrtc-failure-{:032x}.txt", fnv1a(key.as_bytes()));
        let help = match self.keep_report(&name, &text) {
            Some(path) => format!(
                "this is a bug of vitcuda or of this NVRTC; the whole log is in {}",
                path.display()
            ),
            None => "this is a bug of vitcuda or of this NVRTC".to_owned(),
        };
        let mut lines: Vec<&str> = failure.log.lines().collect();
        let more = lines.len().saturating_sub(LOG_LINES);
        lines.truncate(LOG_LINES);
        let rest = match more {
            0 => String::new(),
            more => format!("\n  … {more} more lines"),
        };
        Error::device(
            format!(
                "NVRTC {major}.{minor} cannot compile {spec} for sm_{} ({}):\n  {}{rest}",
                self.arch,
                failure.status,
                lines.join("\n  ")
            ),
            help,
        )
    }

    /// Beside the cache, or where temporary files go.
    fn keep_report(&self, name: &str, text: &str) -> Option<PathBuf> {
        let folders = self.cache.folder().cloned().into_iter();
        let mut paths = folders
            .chain([std::env::temp_dir()])
            .map(|folder| folder.join(name));
        paths.find(|path| {
            let folder = path.parent().expect("it was joined to one");
            std::fs::create_dir_all(folder).is_ok() && std::fs::write(path, text).is_ok()
        })
    }
}

fn source(spec: &Specialisation) -> &'static Source<'static> {
    SOURCES
        .iter()
        .find(|source| source.name == spec.file)
        .expect("specialisations are made from generated kernels")
}
