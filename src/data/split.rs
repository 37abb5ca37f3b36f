//! Which images train and which validate, as index lists.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::rng::Mt19937;

/// Two lists of indices without a common one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indices {
    pub train: Vec<usize>,
    pub validation: Vec<usize>,
}

/// `train` and `validation` of `n` images, drawn as a Python script would:
///
/// ```python
/// random.seed(seed)
/// train = random.sample(range(n), train)
/// rest = sorted(set(range(n)) - set(train))
/// validation = random.sample(rest, validation)
/// ```
pub fn sampled(n: usize, train: usize, validation: usize, seed: u64) -> Result<Indices> {
    check_count("--train-samples", train, n)?;
    check_count("--eval-samples", validation, n)?;
    if train + validation > n {
        return Err(Error::usage(
            format!(
                "--train-samples {train} and --eval-samples {validation} are more than the {n} images there are"
            ),
            format!("ask for at most {n} together"),
        ));
    }
    let mut random = Mt19937::python(seed);
    let train = random.sample(n, train);
    let taken: HashSet<usize> = train.iter().copied().collect();
    let rest: Vec<usize> = (0..n).filter(|i| !taken.contains(i)).collect();
    let validation = random.sample(rest.len(), validation);
    let validation = validation.into_iter().map(|i| rest[i]).collect();
    Ok(Indices { train, validation })
}

/// `count` of `n` images, as Python's `random.seed(seed); random.sample(range(n), count)`.
/// `flag` is what the person set, for the error when there are fewer.
pub fn sample(n: usize, count: usize, seed: u64, flag: &str) -> Result<Vec<usize>> {
    check_count(flag, count, n)?;
    Ok(Mt19937::python(seed).sample(n, count))
}

/// The share `fraction` of each class for validation, the rest for training, both in ascending
/// order. A class of two images or more has at least one on either side; a single image trains.
pub fn stratified(labels: &[u32], fraction: f64, seed: u64) -> Result<Indices> {
    check_fraction(fraction)?;
    let classes = labels.iter().max().map_or(0, |&last| last as usize + 1);
    let mut by_class = vec![Vec::new(); classes];
    for (index, &label) in labels.iter().enumerate() {
        by_class[label as usize].push(index);
    }
    let mut random = Mt19937::python(seed);
    let mut validation: Vec<usize> = Vec::new();
    for members in by_class.iter().filter(|members| members.len() > 1) {
        let share = (members.len() as f64 * fraction).round() as usize;
        let count = share.clamp(1, members.len() - 1);
        validation.extend(
            random
                .sample(members.len(), count)
                .iter()
                .map(|&i| members[i]),
        );
    }
    validation.sort_unstable();
    let train = (0..labels.len()).filter(|i| validation.binary_search(i).is_err());
    Ok(Indices {
        train: train.collect(),
        validation,
    })
}

/// How many of `n` images the share `fraction` is, at least 1.
pub fn share(n: usize, fraction: f64) -> Result<usize> {
    check_fraction(fraction)?;
    Ok(((n as f64 * fraction).round() as usize).max(1))
}

fn check_fraction(fraction: f64) -> Result<()> {
    if fraction > 0.0 && fraction < 1.0 {
        Ok(())
    } else {
        Err(Error::usage(
            format!("--validation-fraction {fraction} is no share of the images"),
            "give a number between 0 and 1, such as 0.15",
        ))
    }
}

fn check_count(flag: &str, count: usize, n: usize) -> Result<()> {
    match count {
        0 => Err(Error::usage(
            format!("{flag} 0 leaves nothing"),
            format!("give a number from 1 to {n}, or leave the flag out"),
        )),
        _ if count > n => Err(Error::usage(
            format!("{flag} {count}: there are only {n} images"),
            format!("give a number from 1 to {n}, or leave the flag out"),
        )),
        _ => Ok(()),
    }
}
