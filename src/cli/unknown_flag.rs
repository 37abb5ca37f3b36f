//! What was meant by a flag that there is none of: by its spelling, by its words, and by what others
//! call the same thing.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use vitcuda::Error;

/// Names that others give to flags of ours, and what to say where there is none like it.
const MEANINGS: &[(&[&str], &str)] = &[
    (
        &[
            "arch",
            "backbone",
            "checkpoint",
            "ckpt",
            "pretrained",
            "weights",
        ],
        "model",
    ),
    (&["epoch", "max-epochs", "n-epochs", "num-epochs"], "epochs"),
    (
        &["iterations", "iters", "max-iters", "num-steps", "steps"],
        "max-steps",
    ),
    (&["batchsize", "bsz", "mini-batch-size"], "batch-size"),
    (
        &[
            "experiment",
            "exp",
            "name",
            "output",
            "project",
            "save-dir",
            "work-dir",
        ],
        "output-dir",
    ),
    (
        &["crop-size", "input-size", "resolution", "size"],
        "image-size",
    ),
    (&["sched", "scheduler", "schedule"], "lr-scheduler-type"),
    (&["warmup", "warmup-epochs"], "warmup-ratio"),
    (
        &["clip", "clip-grad", "clip-norm", "gradient-clip-val"],
        "max-grad-norm",
    ),
    (&["smoothing"], "label-smoothing-factor"),
    (
        &["aa", "aug", "augmentation", "auto-augment", "hflip"],
        "augment",
    ),
    (&["amp", "dtype", "half", "mixed-precision"], "precision"),
    (&["accelerator", "cpu", "cuda", "gpu", "gpus"], "device"),
    (
        &[
            "accum",
            "accumulate",
            "grad-accum-steps",
            "iters-to-accumulate",
        ],
        "gradient-accumulation-steps",
    ),
    (&["early-stopping"], "early-stopping-patience"),
    (
        &["test-size", "val-split", "valid-pct"],
        "validation-fraction",
    ),
    (&["val", "val-dir", "valid-dir"], "validation-dir"),
    (&["fraction", "limit", "subset"], "train-samples"),
    (&["conf", "confidence"], "threshold"),
    (&["k", "topk"], "top-k"),
    (&["j", "num-workers"], "threads"),
];

/// At most so many are named.
const SHOWN: usize = 3;

/// The error of a command line with an unknown flag; `None` where clap complains of something else.
pub fn error(complaint: &clap::Error, command: &clap::Command) -> Option<Error> {
    if complaint.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(given)) = complaint.get(ContextKind::InvalidArg) else {
        return None;
    };
    let name = given.strip_prefix("--")?;
    let path = command.get_bin_name().unwrap_or(command.get_name());
    let meant: Vec<String> = meant(name, &flags(command));
    let help = match &meant[..] {
        [] => format!("`{path} --help` lists its flags"),
        [one] => format!("did you mean {one}? (`{path} --help` lists all)"),
        [others @ .., last] => format!("did you mean {} or {last}?", others.join(", ")),
    };
    Some(Error::usage(format!("{path} has no flag --{name}"), help))
}

/// The subcommand that `words` name, built.
pub fn subcommand(mut command: clap::Command, words: &[std::ffi::OsString]) -> clap::Command {
    command.build();
    for word in words.iter().skip(1) {
        if let Some(found) = command.find_subcommand(word) {
            command = found.clone();
        }
    }
    command
}

/// A flag's own name and all that lead to it.
struct Flag {
    name: String,
    spellings: Vec<String>,
}

fn flags(command: &clap::Command) -> Vec<Flag> {
    let flag = |argument: &clap::Arg| {
        let name = argument.get_long()?.to_owned();
        let aliases = argument.get_all_aliases().unwrap_or_default();
        let mut spellings = vec![name.clone()];
        spellings.extend(aliases.into_iter().map(str::to_owned));
        Some(Flag { name, spellings })
    };
    command.get_arguments().filter_map(flag).collect()
}

/// The flags that `given` may stand for, as they are written.
fn meant(given: &str, flags: &[Flag]) -> Vec<String> {
    let given = given.to_lowercase().replace('_', "-");
    let known = |name: &str| flags.iter().any(|flag| flag.name == name);
    let meaning = MEANINGS.iter().find(|(names, _)| names.contains(&&*given));
    let found: Vec<&str> = match meaning {
        Some((_, ours)) if known(ours) => vec![ours],
        _ => {
            let near = nearest(&given, flags);
            if near.is_empty() {
                of_words(&given, flags)
            } else {
                near
            }
        }
    };
    found
        .iter()
        .take(SHOWN)
        .map(|name| format!("--{name}"))
        .collect()
}

/// The flags of the smallest edit distance, if a third of the letters, or fewer, differ.
fn nearest<'a>(given: &str, flags: &'a [Flag]) -> Vec<&'a str> {
    let most = (given.chars().count() / 3).clamp(1, 4);
    let distance = |flag: &Flag| {
        let spellings = flag.spellings.iter();
        spellings.map(|s| strsim::osa_distance(given, s)).min()
    };
    let distances: Vec<_> = flags.iter().map(distance).collect();
    let Some(least) = distances
        .iter()
        .flatten()
        .min()
        .filter(|&&least| least <= most)
    else {
        return Vec::new();
    };
    let near = flags
        .iter()
        .zip(&distances)
        .filter(|(_, d)| d.as_ref() == Some(least));
    near.map(|(flag, _)| &*flag.name).collect()
}

/// The flags one of whose names holds all the words of `given`, or whose words `given` holds; those
/// with the fewest other words first.
fn of_words<'a>(given: &str, flags: &'a [Flag]) -> Vec<&'a str> {
    let words: Vec<&str> = given.split('-').collect();
    let others = |spelling: &String| {
        let theirs: Vec<&str> = spelling.split('-').collect();
        let inside = |a: &[&str], b: &[&str]| a.iter().all(|word| b.contains(word));
        (inside(&words, &theirs) || inside(&theirs, &words))
            .then(|| words.len().abs_diff(theirs.len()))
    };
    let mut found: Vec<(usize, &str)> = flags
        .iter()
        .filter_map(|flag| {
            let fewest = flag.spellings.iter().filter_map(others).min();
            fewest.map(|count| (count, &*flag.name))
        })
        .collect();
    found.sort_by_key(|(count, _)| *count);
    found.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn meant_in(command: &str, given: &str) -> Vec<String> {
        let words = ["vitcuda", command].map(Into::into);
        meant(given, &flags(&subcommand(Cli::command(), &words)))
    }

    #[test]
    fn by_spelling_by_words_and_by_meaning() {
        for (given, ours) in [
            ("lerning-rate", "--learning-rate"),
            ("learning_rat", "--learning-rate"),
            ("bacth-size", "--batch-size"),
            ("weights", "--model"),
            ("pretrained", "--model"),
            ("smoothing", "--label-smoothing-factor"),
            ("accumulation", "--gradient-accumulation-steps"),
            ("scheduler-type", "--lr-scheduler-type"),
            ("optimizer-epsilon", ""),
            ("amp", "--precision"),
        ] {
            let found = meant_in("train", given);
            assert_eq!(found.first().map_or("", |f| f), ours, "{given}: {found:?}");
        }
        assert_eq!(meant_in("predict", "top"), ["--top-k"]);
        assert_eq!(meant_in("info", "epochs"), [""; 0]);
    }

    #[test]
    fn every_meaning_is_a_flag() {
        let words = |command: &str| ["vitcuda".into(), command.into()];
        let all: Vec<Flag> = ["train", "predict"]
            .iter()
            .flat_map(|command| flags(&subcommand(Cli::command(), &words(command))))
            .collect();
        for (_, ours) in MEANINGS {
            assert!(all.iter().any(|flag| flag.name == *ours), "{ours}");
        }
    }
}
