//! The letters of DejaVu Sans that `fonts/` holds.

use std::sync::LazyLock;

use ttf_parser::{Face, GlyphId, OutlineBuilder};

use crate::outline::Outline;

static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let packed = include_bytes!(concat!(env!("OUT_DIR"), "/outlines.zst"));
    zstd::decode_all(&packed[..]).expect("build.rs has packed it")
});

static FACE: LazyLock<Face> =
    LazyLock::new(|| Face::parse(&FILE, 0).expect("build.rs has read it"));

pub struct Glyph(GlyphId);

/// The outline of a letter, if the font has it.
pub fn find(letter: char) -> Option<Glyph> {
    FACE.glyph_index(letter).map(Glyph)
}

impl Glyph {
    /// Adds the letter that begins at `x`; how far it is from there to the next one.
    pub fn draw(&self, path: &mut Outline, x: f32, size: f32) -> f32 {
        let scale = size / f32::from(FACE.units_per_em());
        FACE.outline_glyph(self.0, &mut Pen { path, x, scale });
        f32::from(FACE.glyph_hor_advance(self.0).unwrap_or(0)) * scale
    }
}

/// Takes an outline in units of the font, y upwards.
struct Pen<'a> {
    path: &'a mut Outline,
    x: f32,
    scale: f32,
}

impl Pen<'_> {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Pen<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let (control, to) = (self.at(x1, y1), self.at(x, y));
        self.path.curve_to(control, to);
    }

    fn curve_to(&mut self, _: f32, _: f32, _: f32, _: f32, x: f32, y: f32) {
        self.line_to(x, y); // TrueType has none
    }

    fn close(&mut self) {} // as every border is
}
