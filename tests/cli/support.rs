//! Running the binary and looking at what it said.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;

use image::{Rgb, RgbImage};

/// Of this process alone: what is said once a day is said to each run of the tests.
static CACHE: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

/// The binary, with nothing inherited that changes what it does.
pub fn vitcuda() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitcuda"));
    for variable in ["VITCUDA_DEVICE", "VITCUDA_THREADS", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command.env("VITCUDA_CACHE", CACHE.path());
    command.env("HF_HUB_OFFLINE", "1"); // no test asks anybody outside this machine
    command
}

/// What a run said and how it ended.
pub struct Said {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            code: output.status.code(),
        }
    }
}

/// Runs the binary with these words, on the CPU, in `folder`.
pub fn run_in(folder: &Path, words: &[&str]) -> Said {
    let output = vitcuda()
        .env("VITCUDA_DEVICE", "cpu")
        .current_dir(folder)
        .args(words)
        .output();
    output.expect("the binary starts").into()
}

/// Runs the binary with the words of `line`, on the CPU, in a folder of its own.
pub fn run(line: &str) -> Said {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), &line.split_whitespace().collect::<Vec<_>>())
}

impl Said {
    /// The same, after checking that it went well.
    #[track_caller]
    pub fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "stderr: {}", self.stderr);
        self
    }

    /// Checks that it failed with this exit code, as `error: …` and a line of help, and printed
    /// nothing on stdout.
    #[track_caller]
    pub fn failed(self, code: i32) -> Self {
        let said = self.ended_early(code);
        assert_eq!(said.stdout, "");
        said
    }

    /// The same of a run that had begun: its table so far is on stdout.
    #[track_caller]
    pub fn ended_early(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stderr: {}", self.stderr);
        assert!(self.stderr.contains("error: "), "stderr: {}", self.stderr);
        self
    }

    /// Checks that stderr holds each of these texts.
    #[track_caller]
    pub fn mentions(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(
                self.stderr.contains(text),
                "`{text}` is not in stderr: {}",
                self.stderr
            );
        }
        self
    }

    /// stdout, one JSON value a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse = |line| serde_json::from_str(line).expect(line);
        self.stdout.lines().map(parse).collect()
    }
}

/// A folder of class folders, `images` of each: `red` ones and `blue` ones, in many shades.
pub fn red_and_blue(folder: &Path, images: u8) {
    for (class, channel) in [("blue", 2), ("red", 0)] {
        let class = folder.join(class);
        std::fs::create_dir_all(&class).unwrap();
        for i in 0..images {
            let mut colour = [3 * i, 5 * i, 3 * i];
            colour[channel] = 255 - 2 * i;
            let image = RgbImage::from_pixel(12, 10, Rgb(colour));
            image.save(class.join(format!("{i:02}.png"))).unwrap();
        }
    }
}
