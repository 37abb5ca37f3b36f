//! GNU Unifont: letters of 16 rows of dots.

use std::sync::LazyLock;

use super::kind;
use crate::outline::Outline;

/// Rows of a letter, and the size at which a dot is a pixel.
const ROWS: usize = 16;

/// Rows above the baseline.
const ASCENT: f32 = 14.0;

/// Characters of the basic plane.
const PLANE: usize = 1 << 16;

struct Font {
    /// The kind of each character, then the dots of those that have some.
    bytes: Vec<u8>,
    /// Where the dots of each character begin.
    starts: Vec<u32>,
}

static FONT: LazyLock<Font> = LazyLock::new(|| {
    let packed = include_bytes!(concat!(env!("OUT_DIR"), "/dots.zst"));
    let bytes = zstd::decode_all(&packed[..]).expect("build.rs has packed it");
    let mut start = PLANE as u32;
    let starts = bytes[..PLANE].iter().map(|&kind| {
        let here = start;
        start += (ROWS * bands(kind)) as u32;
        here
    });
    let starts = starts.collect();
    Font { bytes, starts }
});

/// How often eight columns a letter has.
fn bands(kind: u8) -> usize {
    usize::from(kind & (kind::HALF | kind::FULL))
}

pub struct Glyph {
    kind: u8,
    dots: &'static [u8],
}

/// The dots of a letter, if the font has it.
pub fn find(letter: char) -> Option<Glyph> {
    let code = letter as usize;
    let kind = *FONT.bytes[..PLANE].get(code)?;
    let start = FONT.starts[code] as usize;
    (kind != kind::NONE).then(|| Glyph {
        kind,
        dots: &FONT.bytes[start..start + ROWS * bands(kind)],
    })
}

impl Glyph {
    /// Whether it is drawn onto the letter before.
    pub fn is_mark(&self) -> bool {
        self.kind & kind::MARK != 0
    }

    pub fn width(&self, size: f32) -> f32 {
        self.columns() as f32 * size / ROWS as f32
    }

    fn columns(&self) -> usize {
        8 * bands(self.kind)
    }

    fn is_set(&self, row: usize, column: usize) -> bool {
        column < self.columns() && self.dots[column / 8 * ROWS + row] << (column % 8) & 0x80 != 0
    }

    /// Adds the letter that begins at the pixel nearest to `x`: a box for each row of dots without
    /// a gap.
    pub fn draw(&self, path: &mut Outline, x: f32, size: f32) {
        let dot = size / ROWS as f32;
        for row in 0..ROWS {
            let top = (row as f32 - ASCENT) * dot;
            let mut column = 0;
            while column < self.columns() {
                let first = column;
                while self.is_set(row, column) {
                    column += 1;
                }
                if column > first {
                    let at = |column: usize| x.round() + column as f32 * dot;
                    path.add_box(at(first), top, at(column), top + dot);
                }
                column += 1;
            }
        }
    }
}
