//! A fault planted into the kernels' text, to prove that a check finds it. Nothing of it reaches the
//! cache of compiled kernels.

use std::borrow::Cow;

/// One place of one file in `kernels/`, and what is to stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patch {
    /// Its name in `kernels/`: a source or a header.
    pub file: &'static str,
    /// Stands there exactly once.
    pub find: &'static str,
    pub replacement: &'static str,
}

impl Patch {
    /// Whether what `source` is compiled to may change.
    pub fn concerns(&self, source: &str) -> bool {
        // Which headers a source includes is not worth finding out.
        self.file == source || self.file.ends_with(".cuh")
    }

    /// The text of `file` with the fault in it, if it is the one.
    ///
    /// # Panics
    /// If the place is not there, or there twice.
    pub fn apply<'a>(&self, file: &str, text: &'a str) -> Cow<'a, str> {
        if file != self.file {
            return Cow::Borrowed(text);
        }
        let places = text.matches(self.find).count();
        assert_eq!(places, 1, "{file}: places of a patch: {}", self.find);
        Cow::Owned(text.replacen(self.find, self.replacement, 1))
    }
}
