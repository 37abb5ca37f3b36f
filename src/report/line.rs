//! Lines for terminals, and texts from outside in them: names of classes and files, the hub's words.

/// `text` with all that a terminal would act on, or that would change the order in which it is read,
/// written out (`\u{1b}`, `\t`); line breaks stay.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_shown(c) {
            shown.push(c)
        } else {
            shown.extend(c.escape_default())
        }
    }
    shown
}

fn is_shown(c: char) -> bool {
    // Marks, embeddings, overrides and isolates of direction; separators of lines; no-break space of
    // no width.
    let is_invisible = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' | '\u{feff}');
    c == '\n' || !(c.is_control() || is_invisible)
}

/// Whether a stream takes colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    Shown,
    LeftOut,
}

/// A line on its way to a terminal: the only escapes in it are its colours.
#[derive(Debug, Clone)]
pub struct Line {
    text: String,
    colours: Colours,
}

impl Line {
    /// An empty line.
    pub fn new(colours: Colours) -> Self {
        Self {
            text: String::new(),
            colours,
        }
    }

    /// Adds text as it is to be read.
    #[must_use]
    pub fn plain(mut self, text: &str) -> Self {
        self.text += &escaped(text);
        self
    }

    /// Adds text in the colour `code`.
    #[must_use]
    pub fn painted(mut self, code: &str, text: &str) -> Self {
        let text = escaped(text);
        match self.colours {
            Colours::Shown => self.text += &format!("\x1b[{code}m{text}\x1b[0m"),
            Colours::LeftOut => self.text += &text,
        }
        self
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_written_out() {
        assert_eq!(
            escaped("a\x1b[31mb\u{9b}2Jc\rd\te\nf"),
            "a\\u{1b}[31mb\\u{9b}2Jc\\rd\\te\nf"
        );
        assert_eq!(escaped("gnp.\u{202e}exe"), "gnp.\\u{202e}exe");
        assert_eq!(escaped("Bär 👩‍🔬 ★ \\"), "Bär 👩‍🔬 ★ \\");
    }

    #[test]
    fn colours_are_the_only_escapes_of_a_line() {
        let line = |colours| Line::new(colours).painted("1", "a\x1b").plain("\x1bb");
        assert_eq!(line(Colours::LeftOut).to_string(), "a\\u{1b}\\u{1b}b");
        assert_eq!(
            line(Colours::Shown).to_string(),
            "\x1b[1ma\\u{1b}\x1b[0m\\u{1b}b"
        );
    }
}
