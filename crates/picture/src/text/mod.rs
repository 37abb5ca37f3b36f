//! Text in any script, from fonts that the program brings: outlines of DejaVu Sans, and GNU
//! Unifont's dots for every other character of Unicode's basic plane. What neither has is a box.
//!
//! Letters stand in logical order, from left to right, unshaped: those of Arabic do not join, and
//! vowel signs stand on the letter they follow.

mod dots;
mod kind;
mod outlines;

use super::outline::Outline;

/// What shows where a text was cut.
const ELLIPSIS: char = '…';

/// The width of `text` in letters of `size` pixels.
pub fn width(text: &str, size: f32) -> f32 {
    let mut line = Line::new(size);
    text.chars().for_each(|letter| line.push(letter));
    line.pen
}

/// As much of `text` as fits into `room` pixels, with an ellipsis if that is not all of it.
pub fn fit(text: &str, size: f32, room: f32) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let room = room - width(ELLIPSIS.encode_utf8(&mut [0; 4]), size);
    let mut line = Line::new(size);
    let fits = text.chars().take_while(|&letter| {
        line.push(letter);
        line.pen <= room
    });
    let kept: String = fits.collect();
    format!("{}{ELLIPSIS}", kept.trim_end())
}

/// The outline of `text` in letters of `size` pixels, from the origin on, which is on the
/// baseline.
pub(super) fn outline(text: &str, size: f32) -> Outline {
    let mut line = Line::new(size);
    text.chars().for_each(|letter| line.push(letter));
    line.path
}

/// A line of text as far as it is written.
struct Line {
    size: f32,
    /// Where the next letter begins.
    pen: f32,
    path: Outline,
}

impl Line {
    fn new(size: f32) -> Self {
        Self {
            size,
            pen: 0.0,
            path: Outline::default(),
        }
    }

    fn push(&mut self, letter: char) {
        if is_invisible(letter) {
            return;
        }
        if let Some(glyph) = outlines::find(letter) {
            self.pen += glyph.draw(&mut self.path, self.pen, self.size);
        } else if let Some(glyph) = dots::find(letter) {
            let width = glyph.width(self.size);
            if glyph.is_mark() {
                self.pen = (self.pen - width).max(0.0);
            }
            glyph.draw(&mut self.path, self.pen, self.size);
            self.pen += width;
        } else {
            self.push_box();
        }
    }

    /// What no font has is seen to be missing.
    fn push_box(&mut self) {
        let (size, line) = (self.size, self.size / 16.0);
        let (left, right) = (self.pen + line, self.pen + 0.6 * size - line);
        let (top, bottom) = (-0.75 * size, 0.0);
        let sides = [
            (left, top, right, top + line),
            (left, bottom - line, right, bottom),
            (left, top, left + line, bottom),
            (right - line, top, right, bottom),
        ];
        for (left, top, right, bottom) in sides {
            self.path.add_box(left, top, right, bottom);
        }
        self.pen += 0.6 * size;
    }
}

/// Joiners, marks of direction, and selectors of variants.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_has_letters_of_its_own() {
        for [one, other] in [
            ["é", "e"],
            ["Ж", "Ë"],
            ["α", "β"],
            ["ש", "ת"],
            ["ب", "ت"],
            ["ა", "ბ"],
            ["ա", "բ"],
            ["花", "卉"],
            ["あ", "ア"],
            ["한", "국"],
            ["ก", "ข"],
            ["क", "ख"],
            ["ก", "ก็"],
            ["क", "की"],
        ] {
            let [one, other] = [one, other].map(|text| outline(text, 16.0));
            assert_ne!(one, other);
        }
    }

    #[test]
    fn marks_take_no_room_and_what_is_missing_is_seen() {
        assert_eq!(width("ที่", 16.0), width("ท", 16.0));
        assert_eq!(width("e\u{301}", 16.0), width("e", 16.0));
        assert_eq!(width("\u{200f}a\u{fe0f}", 16.0), width("a", 16.0));
        assert_eq!(outline(" ", 16.0), Outline::default());
        for missing in ["😀", "\u{e000}", "\u{7}"] {
            assert_eq!(outline(missing, 16.0), outline("\u{10ffff}", 16.0));
            assert_ne!(outline(missing, 16.0), Outline::default());
        }
    }

    #[test]
    fn what_is_too_long_is_cut_where_it_is_measured() {
        assert_eq!(fit("花卉", 16.0, 32.0), "花卉");
        assert_eq!(fit("花卉分类", 16.0, 63.0), "花卉…");
        let [narrow, wide] = ["i", "W"].map(|letter| fit(&letter.repeat(100), 14.0, 100.0));
        assert!(narrow.chars().count() > 2 * wide.chars().count());
        for text in [narrow, wide] {
            assert!(text.ends_with('…') && width(&text, 14.0) <= 100.0, "{text}");
        }
    }
}
