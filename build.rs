//! Reads `kernels/` and writes `kernels.rs`, which `src/device/kernels.rs` includes: the texts with
//! their hashes, and for each kernel a struct with one typed field a parameter, so that a parameter
//! that was renamed, added or retyped in the CUDA text does not compile in Rust.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "src/fnv.rs"]
mod fnv;
#[path = "build/linker.rs"]
mod linker;
#[path = "build/signature.rs"]
mod signature;

use signature::{Kernel, Parameter};

fn main() {
    let folder = Path::new("kernels");
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=src/fnv.rs");
    let headers = texts(folder, "cuh");
    let sources = texts(folder, "cu");
    let mut out = String::new();
    embed(&mut out, &headers, &sources);
    let mut names: Vec<String> = Vec::new();
    for (file, text) in &sources {
        let kernels = signature::kernels(text).unwrap_or_else(|problem| {
            panic!("kernels/{file}: {problem}");
        });
        for kernel in kernels {
            assert!(
                !names.contains(&kernel.name),
                "kernels/{file}: {} is the name of another kernel, too",
                kernel.name
            );
            define(&mut out, file, &kernel);
            names.push(kernel.name);
        }
    }
    writeln!(
        out,
        "\n/// Names of all kernels.\npub const NAMES: &[&str] = &{names:?};"
    )
    .unwrap();
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(folder.join("kernels.rs"), out).expect("cargo's output folder is writable");
    linker::fold_equal_functions();
}

/// Names and texts of the files with this extension, sorted by name.
fn texts(folder: &Path, extension: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).expect("the folder of the kernels");
    let mut found: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| {
            let name = path.file_name().expect("a file").to_str().expect("ASCII");
            let text = fs::read_to_string(&path).expect("kernels are text");
            (name.to_owned(), text)
        })
        .collect();
    found.sort();
    found
}

/// The texts. A source's hash covers the headers, all of them: which ones it includes is not worth
/// finding out for the few compilations that this would save.
fn embed(out: &mut String, headers: &[(String, String)], sources: &[(String, String)]) {
    let text = |name: &str| {
        format!("include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/kernels/{name}\"))")
    };
    let common: String = headers
        .iter()
        .map(|(name, text)| format!("{name}\n{text}\n"))
        .collect();
    writeln!(
        out,
        "/// The headers, for NVRTC.\npub const HEADERS: &[Header] = &["
    )
    .unwrap();
    for (name, _) in headers {
        let text = text(name);
        writeln!(out, "    Header {{ name: {name:?}, text: {text} }},").unwrap();
    }
    writeln!(
        out,
        "];\n\n/// The files with kernels.\npub const SOURCES: &[Source] = &["
    )
    .unwrap();
    for (name, source) in sources {
        let hash = fnv::fnv1a(format!("{common}{name}\n{source}").as_bytes());
        let text = text(name);
        writeln!(
            out,
            "    Source {{ name: {name:?}, text: {text}, hash: {hash:#034x} }},"
        )
        .unwrap();
    }
    writeln!(out, "];").unwrap();
}

fn define(out: &mut String, file: &str, kernel: &Kernel) {
    let Kernel { name, parameters } = kernel;
    let camel = camel_case(name);
    writeln!(out, "\n/// `{name}` of `kernels/{file}`.").unwrap();
    writeln!(out, "#[derive(Debug, Clone, Copy)]\npub struct {camel} {{").unwrap();
    for Parameter { name, c, rust, .. } in parameters {
        writeln!(out, "    /// `{c} {name}`\n    pub {name}: {rust},").unwrap();
    }
    writeln!(out, "}}\n\nimpl Kernel for {camel} {{").unwrap();
    writeln!(out, "    const FILE: &'static str = {file:?};").unwrap();
    writeln!(out, "    const NAME: &'static str = {name:?};").unwrap();
    writeln!(out, "    fn arguments(&self, to: &mut Arguments) {{").unwrap();
    for Parameter { name, .. } in parameters {
        writeln!(out, "        to.push(self.{name});").unwrap();
    }
    writeln!(out, "    }}\n}}").unwrap();
}

fn camel_case(name: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('_')
        .filter(|w| !w.is_empty())
        .map(word)
        .collect()
}
