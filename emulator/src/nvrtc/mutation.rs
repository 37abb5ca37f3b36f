//! Single slips in the kernels, on purpose: what the tests must catch.
//!
//! `emulator/mutations.txt` lists them. With `VITCUDA_EMULATOR_MUTATION` set to a name of the list, the
//! compiler gets that one slip in the text of its file; `scripts/mutate.sh` does so with each in turn, and
//! the tests named beside it must fail. A record looks like this:
//!
//! ```text
//! [norm-without-eps]
//! file layer_norm.cu
//! test kernels layer_norm N=3 C=33 forward: sm_80 f16
//! - (1.0f / WIDTH) + eps)
//! + (1.0f / WIDTH))
//! ```
//!
//! `test BINARY FILTER`, as often as needed. Lines behind `- ` are the text to find, once in the file, and
//! those behind `+ ` what takes its place; without them it is taken away. `equivalent REASON` stands in the
//! records that change no result.
#![allow(dead_code)] // the emulator applies them, its tests and `examples/mutate.rs` read the rest

use std::borrow::Cow;

/// The environment variable that names the mutation to apply.
pub const VARIABLE: &str = "VITCUDA_EMULATOR_MUTATION";
/// How every refusal of [`apply`] begins: what failed then is not the mutated kernel.
pub const REFUSAL: &str = "no mutation applied: ";

const LIST: &str = include_str!("../../mutations.txt");

/// One slip, and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mutation {
    pub name: String,
    /// Of `kernels/`.
    pub file: String,
    /// What should fail.
    pub tests: Vec<Filter>,
    /// Why no result changes, where none does.
    pub equivalent: Option<String>,
    pub find: String,
    pub replacement: String,
}

/// Tests of a test binary: those whose names contain `pattern`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filter {
    pub binary: String,
    pub pattern: String,
}

impl Mutation {
    /// `text` with the slip; it must be possible in exactly one place.
    pub fn applied_to(&self, text: &str) -> Result<String, String> {
        match text.matches(&self.find).count() {
            1 => Ok(text.replacen(&self.find, &self.replacement, 1)),
            count => Err(format!(
                "{REFUSAL}`{}` wants to find its text once in {}, and finds it {count} times; \
                 change its record in emulator/mutations.txt",
                self.name, self.file
            )),
        }
    }
}

/// The text of `file_name` as it is to be compiled: with the mutation that the environment names if that
/// is one of this file, as it is otherwise.
pub fn apply<'a>(file_name: &str, text: &'a str) -> Result<Cow<'a, str>, String> {
    match std::env::var(VARIABLE) {
        Ok(name) => apply_named(&all()?, &name, file_name, text),
        Err(_) => Ok(Cow::Borrowed(text)),
    }
}

fn apply_named<'a>(
    list: &[Mutation],
    name: &str,
    file_name: &str,
    text: &'a str,
) -> Result<Cow<'a, str>, String> {
    let Some(mutation) = list.iter().find(|one| one.name == name) else {
        return Err(format!(
            "{REFUSAL}{VARIABLE} is `{name}`, which emulator/mutations.txt does not have"
        ));
    };
    if mutation.file != file_name {
        return Ok(Cow::Borrowed(text));
    }
    mutation.applied_to(text).map(Cow::Owned)
}

/// The whole list.
pub fn all() -> Result<Vec<Mutation>, String> {
    parse(LIST)
}

fn parse(list: &str) -> Result<Vec<Mutation>, String> {
    let mut found: Vec<Mutation> = Vec::new();
    for (number, line) in (1..).zip(list.lines()) {
        let wrong = |what: &str| Err(format!("{REFUSAL}mutations.txt:{number}: {what}: `{line}`"));
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            found.push(Mutation {
                name: name.to_owned(),
                ..Mutation::default()
            });
            continue;
        }
        let Some(record) = found.last_mut() else {
            return wrong("a record begins with its [name]");
        };
        if line.ends_with(' ') {
            return wrong("a space at the end, which an editor may take away");
        }
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "file" => record.file = rest.to_owned(),
            "test" => match rest.split_once(' ') {
                Some((binary, pattern)) => record.tests.push(Filter {
                    binary: binary.to_owned(),
                    pattern: pattern.to_owned(),
                }),
                None => return wrong("`test BINARY FILTER` is wanted"),
            },
            "equivalent" => record.equivalent = Some(rest.to_owned()),
            "-" if record.find.is_empty() => record.find.push_str(rest),
            "-" => push_line(&mut record.find, rest),
            "+" if record.replacement.is_empty() => record.replacement.push_str(rest),
            "+" => push_line(&mut record.replacement, rest),
            _ => return wrong("`file`, `test`, `equivalent`, `-` or `+` is wanted"),
        }
    }
    Ok(found)
}

fn push_line(text: &mut String, line: &str) {
    text.push('\n');
    text.push_str(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "# Words\n\n[swapped]\nfile a.cu\ntest kernels linear N=7 \
                       backward\ntest cuda tiny\n- a\n-   b;\n+ b\n\n[taken]\nfile b.cuh\n\
                       equivalent nobody reads it\n- c;\n";

    fn two() -> Vec<Mutation> {
        parse(TWO).expect("it is in order")
    }

    #[test]
    fn a_list_is_read() {
        let filter = |binary: &str, pattern: &str| Filter {
            binary: binary.into(),
            pattern: pattern.into(),
        };
        let expected = [
            Mutation {
                name: "swapped".into(),
                file: "a.cu".into(),
                tests: vec![
                    filter("kernels", "linear N=7 backward"),
                    filter("cuda", "tiny"),
                ],
                equivalent: None,
                find: "a\n  b;".into(),
                replacement: "b".into(),
            },
            Mutation {
                name: "taken".into(),
                file: "b.cuh".into(),
                tests: vec![],
                equivalent: Some("nobody reads it".into()),
                find: "c;".into(),
                replacement: String::new(),
            },
        ];
        assert_eq!(two(), expected);
    }

    #[test]
    fn what_is_not_in_order_is_named_with_its_line() {
        for (list, mentions) in [
            ("file a.cu", "mutations.txt:1: a record begins"),
            ("[a]\nfind x", "mutations.txt:2: `file`"),
            ("[a]\ntest kernels", "mutations.txt:2: `test BINARY"),
            ("[a]\n- x ", "mutations.txt:2: a space at the end"),
        ] {
            let refused = parse(list).expect_err(list);
            assert!(refused.starts_with(REFUSAL), "{refused}");
            assert!(refused.contains(mentions), "{refused}");
        }
    }

    #[test]
    fn one_place_is_changed_and_no_other_file() {
        let list = two();
        let apply = |name, file, text| apply_named(&list, name, file, text);
        assert_eq!(
            apply("swapped", "a.cu", "x a\n  b; y").as_deref(),
            Ok("x b y")
        );
        assert_eq!(apply("swapped", "b.cuh", "c;").as_deref(), Ok("c;"));
        assert_eq!(apply("taken", "b.cuh", "c;").as_deref(), Ok(""));
    }

    #[test]
    fn what_cannot_be_applied_is_refused() {
        let list = two();
        for (name, text, mentions) in [
            ("taken", "nothing", "0 times"),
            ("taken", "c; c;", "2 times"),
            ("unknown", "c;", "does not have"),
        ] {
            let refused = apply_named(&list, name, "b.cuh", text).expect_err(mentions);
            assert!(refused.starts_with(REFUSAL), "{refused}");
            assert!(refused.contains(mentions), "{refused}");
        }
    }
}
