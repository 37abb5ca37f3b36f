//! What became of a mutation, and which net caught it.

use super::super::mutation::REFUSAL;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Caught {
        net: &'static str,
        /// The first thing that was said about it.
        message: String,
    },
    Survived,
    /// Nothing is known about it: the record does not fit the kernels, or a test did not start.
    NotTried(String),
}

/// Words of a message, and the net that says them; the first that fit decide.
const NETS: [(&str, &[&str]); 11] = [
    ("compiler", &["cannot compile"]),
    (
        "copy not waited for",
        &["waited for", "unfinished cp.async", "copy still under way"],
    ),
    ("race", &["race", "with no barrier between"]),
    (
        "uninitialised",
        &["uninitialised", "never written", "before anything wrote"],
    ),
    (
        "out of bounds",
        &[
            "out of bounds",
            "no device memory",
            "no shared memory",
            "null pointer",
        ],
    ),
    (
        "misaligned",
        &["misaligned", "not aligned", "no multiple of"],
    ),
    (
        "barrier or collective",
        &["deadlock", "barrier", "collective", "diverge", "lanes"],
    ),
    ("bank conflicts", &["bank conflict"]),
    ("bytes moved", &["bytes of global memory"]),
    ("order of threads", &[", run ", "seed "]),
    (
        "numbers",
        &[
            "off by",
            "should be",
            " is not ",
            "assertion",
            "test panicked",
        ],
    ),
];

impl Outcome {
    pub fn hangs() -> Self {
        Self::Caught {
            net: "hangs",
            message: String::new(),
        }
    }

    /// Of what a failed run printed.
    pub fn of(output: &str) -> Self {
        if let Some((_, refused)) = output.split_once(REFUSAL) {
            return Self::NotTried(refused.lines().next().unwrap_or_default().to_owned());
        }
        let message = first_message(output);
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        let net = NETS.into_iter().find(|(_, words)| says(words));
        Self::Caught {
            net: net.map_or("other", |(net, _)| net),
            message,
        }
    }
}

/// The emulator's first message where it stopped a kernel, else the first failed test's.
fn first_message(output: &str) -> String {
    const EMULATOR: &str = "vitcuda emulator: ";
    let emulators = output
        .lines()
        .find_map(|line| Some(line.split_once(EMULATOR)?.1));
    // libtest-mimic prints `---- NAME ----`, and below it what went wrong.
    let of_test = || {
        let (_, failures) = output.split_once("\nfailures:\n")?;
        let (_, behind) = failures.split_once("---- ")?;
        let mut lines = behind.lines().skip(1);
        lines.find(|line| !line.trim().is_empty() && !line.contains("panicked at"))
    };
    let message = emulators.or_else(of_test);
    let message = message.or_else(|| output.lines().rfind(|line| !line.trim().is_empty()));
    message.unwrap_or("it said nothing").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The net, and the message.
    fn caught(output: &str) -> (&'static str, String) {
        match Outcome::of(output) {
            Outcome::Caught { net, message } => (net, message),
            other => panic!("{other:?}"),
        }
    }

    fn failed(message: &str) -> String {
        format!("test a ... FAILED\n\nfailures:\n\n---- a ----\n{message}\n\n\nfailures:\n    a\n")
    }

    #[test]
    fn the_message_of_the_failed_test_names_the_net() {
        for (message, net) in [
            (
                "cross_entropy: output 0: off by 1e-3, 1e-5 is the budget",
                "numbers",
            ),
            ("dx, run 2: value 3 is 1, should be 2", "order of threads"),
            (
                "linear_forward: 12 bank conflicts of ldmatrix",
                "bank conflicts",
            ),
            ("912 bytes of global memory, 800 expected", "bytes moved"),
            ("NVRTC 13.5 cannot compile linear.cu for sm_80", "compiler"),
            ("something else altogether", "other"),
        ] {
            assert_eq!(caught(&failed(message)), (net, message.to_owned()));
        }
    }

    #[test]
    fn what_the_emulator_said_comes_first() {
        let said = "kernel `k`, thread (1, 0, 0): writes what thread 0 read with no barrier between (race)";
        let output = format!(
            "test a ... vitcuda emulator: {said}\n{}",
            failed("a copy from the GPU: unspecified launch failure")
        );
        assert_eq!(caught(&output), ("race", said.to_owned()));
    }

    #[test]
    fn a_record_that_does_not_fit_is_not_caught() {
        let output = failed(&format!("cannot compile:\n  {REFUSAL}`x` wants to find"));
        let expected = Outcome::NotTried("`x` wants to find".into());
        assert_eq!(Outcome::of(&output), expected);
    }
}
