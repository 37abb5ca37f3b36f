//! Pictures in terminals that can show them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// How a terminal takes a PNG file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// <https://sw.kovidgoyal.net/kitty/graphics-protocol>.
    Kitty,
    /// <https://iterm2.com/documentation-images.html>.
    Iterm,
}

impl Protocol {
    /// That of the terminal the program runs in, as its environment tells; asking the terminal
    /// itself would mean reading its keyboard.
    pub fn of_terminal() -> Option<Self> {
        let variable = |name| std::env::var(name).unwrap_or_default();
        Self::of(&variable("TERM"), &variable("TERM_PROGRAM"))
    }

    fn of(term: &str, program: &str) -> Option<Self> {
        match (term, program) {
            // Multiplexers swallow the sequences.
            _ if term.starts_with("screen") || term.starts_with("tmux") => None,
            ("xterm-kitty" | "xterm-ghostty", _) | (_, "ghostty") => Some(Self::Kitty),
            (_, "iTerm.app" | "WezTerm") => Some(Self::Iterm),
            _ => None,
        }
    }

    /// The sequence that shows a PNG file.
    pub fn show(self, png: &[u8]) -> String {
        let text = BASE64_STANDARD.encode(png);
        match self {
            Self::Iterm => format!("\x1b]1337;File=inline=1;size={}:{text}\x07", png.len()),
            Self::Kitty => {
                let mut sequence = String::new();
                let mut rest = text.as_str();
                let mut head = "a=T,f=100,";
                while !rest.is_empty() {
                    let (part, after) = rest.split_at(rest.len().min(4096));
                    let more = u8::from(!after.is_empty());
                    sequence += &format!("\x1b_G{head}m={more};{part}\x1b\\");
                    (rest, head) = (after, "");
                }
                sequence
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kitty_gets_pieces_that_say_whether_more_follow() {
        let sequence = Protocol::Kitty.show(&[7; 4000]);
        let pieces: Vec<&str> = sequence.split_terminator("\x1b\\").collect();
        assert_eq!(pieces.len(), 2);
        assert!(pieces[0].starts_with("\x1b_Ga=T,f=100,m=1;"));
        assert!(pieces[1].starts_with("\x1b_Gm=0;"));
    }

    #[test]
    fn terminals_are_known_by_their_names() {
        assert_eq!(Protocol::of("xterm-kitty", ""), Some(Protocol::Kitty));
        assert_eq!(
            Protocol::of("xterm-256color", "WezTerm"),
            Some(Protocol::Iterm)
        );
        assert_eq!(Protocol::of("tmux-256color", "iTerm.app"), None);
        assert_eq!(Protocol::of("dumb", ""), None);
    }
}
