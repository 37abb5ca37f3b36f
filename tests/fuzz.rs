//! Every input that was once too much for a parser, and the fuzzer that finds such (`fuzz/`).

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use vitcuda_fuzz::allocator::Counting;
use vitcuda_fuzz::judge::{Limit, Verdict, judge, processor_time};
use vitcuda_fuzz::mutate::{Format, mutate};
use vitcuda_fuzz::rng::Rng;
use vitcuda_fuzz::session::folder;
use vitcuda_fuzz::targets::{TARGETS, Target};
use vitcuda_fuzz::{Input, corpus};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Memory is counted for the whole process.
    arguments.test_threads = Some(1);
    let mut trials = vec![
        Trial::test("faults are told from good behaviour", faults_are_told),
        Trial::test("a seed makes the same inputs each time", seeds_repeat),
        Trial::test("known faults are of files that are there", known_are_there),
    ];
    for target in &TARGETS {
        let name = format!("{}: its corpus is accepted or refused", target.name);
        trials.push(Trial::test(name, move || seeds_behave(target)));
        let name = format!("{}: no fault comes back", target.name);
        trials.push(Trial::test(name, move || regressions(target)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The files of the corpus behave, and some of them are what the parser wants: from there mutations
/// get to its end.
fn seeds_behave(target: &'static Target) -> Result<(), Failed> {
    let folder = folder(target);
    let known = corpus::known();
    let mut accepted = 0;
    for input in corpus::seeds(target) {
        if known.contains_key(&format!("{}/{}", target.name, input.name)) {
            continue;
        }
        match judge(target, &input, folder.path()) {
            Verdict::Fault(fault) => return Err(format!("{}: {}", input.name, fault.text).into()),
            Verdict::Accepted => accepted += 1,
            Verdict::Refused | Verdict::GaveUp => {}
        }
    }
    match accepted {
        0 => Err("no file of the corpus is accepted".into()),
        _ => Ok(()),
    }
}

/// Mended faults stay mended, and those on the list of known ones are still there.
fn regressions(target: &'static Target) -> Result<(), Failed> {
    let folder = folder(target);
    let known = corpus::known();
    let mut wrong = Vec::new();
    for input in corpus::regressions(target) {
        let file = format!("{}/{}", target.name, input.name);
        let verdict = judge(target, &input, folder.path());
        match (verdict, known.get(&file)) {
            (Verdict::Fault(_), Some(_)) => {}
            (Verdict::Fault(fault), None) => wrong.push(format!("{file}: {}", fault.text)),
            (_, Some(reason)) => wrong.push(format!(
                "{file} shows no fault any more: take it off fuzz/known.txt ({reason})"
            )),
            (_, None) => {}
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

fn known_are_there() -> Result<(), Failed> {
    let files = TARGETS.iter().flat_map(|target| {
        let inputs = corpus::regressions(target).into_iter();
        inputs.map(|input| format!("{}/{}", target.name, input.name))
    });
    let files: BTreeSet<String> = files.collect();
    let known = corpus::known();
    let absent = known.keys().find(|&file| !files.contains(file));
    match absent {
        Some(file) => Err(format!("fuzz/regressions/{file} is not there").into()),
        None => Ok(()),
    }
}

const TIME: Duration = Duration::from_millis(100);

/// A parser with every fault, one for each first byte.
fn faulty(input: &Input, _: &Path) -> bool {
    let caught = |f: fn()| std::panic::catch_unwind(f).is_err();
    match input.bytes[0] {
        b'a' => true,
        b'r' => false,
        b'p' => panic!("planted"),
        b'c' => caught(|| panic!("planted")), // what is caught counts too
        b'o' => !caught(|| serde_json::json!(1)["x"] = serde_json::Value::Null), // not our code
        b'l' => Vec::<u8>::with_capacity(5000).is_empty(),
        b'm' => {
            let parts: Vec<Vec<u8>> = (0..9).map(|_| vec![1; 600]).collect();
            !parts.is_empty()
        }
        b't' => {
            let end = processor_time() + 2 * TIME;
            while processor_time() < end {}
            true
        }
        other => unreachable!("{other}"),
    }
}

fn faults_are_told() -> Result<(), Failed> {
    let target = Target {
        name: "faulty",
        format: Format::Csv,
        limit: Limit {
            base: 4000,
            per_byte: 1,
            time: TIME,
        },
        corpora: &[],
        prepare: |_| {},
        run: faulty,
    };
    for (byte, wanted) in [
        (b'a', "Accepted"),
        (b'r', "Refused"),
        (b'p', "panic at tests/fuzz.rs"),
        (b'c', "panic at tests/fuzz.rs"),
        (b'o', "GaveUp"),
        (
            b'l',
            "a request of 5000 bytes, for a file of 1 at most 4001",
        ),
        (b'm', "bytes held at once, for a file of 1 at most 4001"),
        (b't', "s of processor time"),
    ] {
        let input = Input {
            name: String::new(),
            bytes: vec![byte],
        };
        let verdict = match judge(&target, &input, Path::new("")) {
            Verdict::Fault(fault) => fault.text,
            other => format!("{other:?}"),
        };
        if !verdict.contains(wanted) {
            return Err(format!("`{}` is {verdict}, wanted {wanted}", char::from(byte)).into());
        }
    }
    Ok(())
}

fn seeds_repeat() -> Result<(), Failed> {
    for target in &TARGETS {
        let seeds = corpus::seeds(target);
        let make = |seed: u64| -> Vec<Vec<u8>> {
            let input = |index| {
                let mut rng = Rng::new(seed, index);
                let (first, other) = (rng.pick(&seeds), rng.pick(&seeds));
                mutate(target.format, &first.bytes, &other.bytes, &mut rng)
            };
            (0..200).map(input).collect()
        };
        let first = make(1);
        if first != make(1) || first == make(2) {
            return Err(format!("{}: inputs do not follow from the seed", target.name).into());
        }
        let distinct: BTreeSet<&Vec<u8>> = first.iter().collect();
        if distinct.len() < 150 {
            return Err(format!("{}: {} of 200 differ", target.name, distinct.len()).into());
        }
    }
    Ok(())
}
