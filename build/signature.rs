//! Finds the kernels of a CUDA text and the types of their parameters.
//!
//! No parser of C++: kernels are written as `extern "C" __global__ void __launch_bounds__(…)
//! name(type name, …)` with types of a short list, and whatever is not is refused by name.

/// A `__global__` function.
#[derive(Debug, PartialEq)]
pub struct Kernel {
    pub name: String,
    pub parameters: Vec<Parameter>,
}

/// A parameter of a kernel.
#[derive(Debug, PartialEq)]
pub struct Parameter {
    pub name: String,
    /// Type as in the text.
    pub c: String,
    /// Type of the field.
    pub rust: String,
}

/// The kernels of `text`, in its order, or what is wrong with one.
pub fn kernels(text: &str) -> Result<Vec<Kernel>, String> {
    let text = without_comments(text);
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("__global__") {
        let before = rest[..at].trim_end();
        rest = &rest[at + "__global__".len()..];
        let (kernel, after) = kernel(rest).map_err(|problem| {
            let line: String = rest.trim_start().chars().take(60).collect();
            format!("`__global__ {line}`: {problem}")
        })?;
        if !before.ends_with("extern \"C\"") {
            return Err(format!("{}: kernels are extern \"C\"", kernel.name));
        }
        found.push(kernel);
        rest = after;
    }
    Ok(found)
}

fn kernel(text: &str) -> Result<(Kernel, &str), String> {
    let text = text.trim_start();
    let text = text.strip_prefix("void").ok_or("a kernel returns void")?;
    let text = text.trim_start();
    let bounds = text
        .strip_prefix("__launch_bounds__")
        .ok_or("a kernel has __launch_bounds__")?;
    let (_, text) = parentheses(bounds.trim_start())?;
    let text = text.trim_start();
    let end = text.find(|c: char| !is_word(c)).ok_or("no name")?;
    let (name, text) = text.split_at(end);
    let (list, after) = parentheses(text.trim_start())?;
    let parameters = match list.trim() {
        "" => Vec::new(),
        list => list.split(',').map(parameter).collect::<Result<_, _>>()?,
    };
    let name = name.to_owned();
    Ok((Kernel { name, parameters }, after))
}

/// What is in the parentheses that `text` starts with, and what comes after them.
fn parentheses(text: &str) -> Result<(&str, &str), String> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 => break,
            _ => {}
        }
        if depth == 0 {
            return Ok((&text[1..at], &text[at + 1..]));
        }
    }
    Err("parentheses expected".into())
}

fn parameter(text: &str) -> Result<Parameter, String> {
    let text = text.trim();
    let start = text.rfind(|c: char| !is_word(c)).map_or(0, |at| at + 1);
    let (c, name) = text.split_at(start);
    let c = c.replace("__restrict__", " ");
    let c = c.split_whitespace().collect::<Vec<_>>().join(" ");
    let c = c.replace(" *", "*");
    let plain = c.strip_prefix("const ").unwrap_or(&c);
    let rust = match plain.strip_suffix('*') {
        Some(target) => format!("Ptr<{}>", pointee(target)?),
        None => scalar(plain)
            .ok_or_else(|| format!("`{text}`: a scalar is int, unsigned, long long or float"))?
            .to_owned(),
    };
    let name = name.to_owned();
    Ok(Parameter { name, c, rust })
}

fn scalar(c: &str) -> Option<&'static str> {
    Some(match c {
        "int" => "i32",
        "unsigned" | "unsigned int" => "u32",
        "long long" => "i64",
        "float" => "f32",
        _ => return None,
    })
}

fn pointee(c: &str) -> Result<String, String> {
    let known = match c {
        "element" => Some("Element"),
        "unsigned char" => Some("u8"),
        _ => scalar(c),
    };
    let is_struct = c.starts_with(|c: char| c.is_ascii_uppercase()) && c.chars().all(is_word);
    match known {
        Some(rust) => Ok(rust.to_owned()),
        None if is_struct => Ok(format!("super::structs::{c}")),
        None => Err(format!(
            "`{c}*`: a pointer is to element, float, int, unsigned, unsigned char, long long or a struct"
        )),
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// `text` with a space in place of each comment.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('/') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = if rest.starts_with("//") {
            rest.find('\n')
        } else if rest.starts_with("/*") {
            rest.find("*/").map(|end| end + 2)
        } else {
            out.push('/');
            Some(1)
        };
        let comment = rest.starts_with("//") || rest.starts_with("/*");
        if comment {
            out.push(' ');
        }
        rest = &rest[end.unwrap_or(rest.len())..];
    }
    out + rest
}
