//! White paper to draw on.

use tiny_skia::{Color, FillRule, LineJoin, Paint, Path, PathBuilder, Pixmap, Stroke, Transform};

use super::{Rgb, text};

/// Paper on which places and lengths are given in units of `scale` pixels, from the upper left
/// corner on.
pub struct Canvas {
    pixels: Pixmap,
    scale: f32,
}

/// A colour, and how much of it covers what is below.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ink {
    pub colour: [u8; 3],
    pub opacity: f32,
}

/// Which end of a text its place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lettering {
    pub size: f32,
    pub bold: bool,
    pub anchor: Anchor,
}

impl Canvas {
    /// Longest side in pixels; beyond it, places would be rounded.
    pub const LONGEST: f32 = 32767.0;

    /// Panics unless both sides are from 1 to [`Self::LONGEST`] pixels.
    pub fn new(width: f32, height: f32, scale: f32) -> Self {
        let [width, height] = [width, height].map(|side| (side * scale).ceil());
        assert!(width.max(height) <= Self::LONGEST, "{width} × {height}");
        let mut pixels = Pixmap::new(width as u32, height as u32).expect("a pixel or more");
        pixels.fill(Color::WHITE);
        Self { pixels, scale }
    }

    /// A line through the points.
    pub fn line(&mut self, points: &[(f32, f32)], width: f32, ink: Ink) {
        if let Some(path) = through(points, false) {
            self.stroke(&path, width, ink);
        }
    }

    /// The area between the points.
    pub fn area(&mut self, points: &[(f32, f32)], ink: Ink) {
        if let Some(path) = through(points, true) {
            self.fill(&path, self.scaled(), ink);
        }
    }

    pub fn dot(&mut self, (x, y): (f32, f32), radius: f32, ink: Ink) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            self.fill(&path, self.scaled(), ink);
        }
    }

    /// Writes a line whose baseline goes through `at`.
    pub fn text(&mut self, at: (f32, f32), text: &str, how: Lettering, ink: Ink) {
        // In pixels: letters made of dots are sharp only if dots fall onto pixels.
        let size = how.size * self.scale;
        let Some(path) = text::outline(text, size) else {
            return;
        };
        let before = match how.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => text::width(text, size) / 2.0,
            Anchor::End => text::width(text, size),
        };
        let x = (at.0 * self.scale - before).round();
        let place = Transform::from_translate(x, (at.1 * self.scale).round());
        self.fill(&path, place, ink);
        if how.bold {
            let stroke = Stroke {
                width: size / 24.0,
                ..Stroke::default()
            };
            self.pixels
                .stroke_path(&path, &paint(ink), &stroke, place, None);
        }
    }

    pub fn into_rgb(self) -> Rgb {
        let (width, height) = (self.pixels.width() as usize, self.pixels.height() as usize);
        // Opaque, as the paper is.
        let pixels = self.pixels.data().chunks_exact(4);
        let pixels = pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]);
        Rgb::new(width, height, pixels.collect())
    }

    fn scaled(&self) -> Transform {
        Transform::from_scale(self.scale, self.scale)
    }

    fn fill(&mut self, path: &Path, place: Transform, ink: Ink) {
        let paint = paint(ink);
        self.pixels
            .fill_path(path, &paint, FillRule::Winding, place, None);
    }

    fn stroke(&mut self, path: &Path, width: f32, ink: Ink) {
        let stroke = Stroke {
            width,
            line_join: LineJoin::Round,
            ..Stroke::default()
        };
        let place = self.scaled();
        self.pixels
            .stroke_path(path, &paint(ink), &stroke, place, None);
    }
}

fn through(points: &[(f32, f32)], closed: bool) -> Option<Path> {
    let (&(x, y), rest) = points.split_first()?;
    let mut path = PathBuilder::new();
    path.move_to(x, y);
    for &(x, y) in rest {
        path.line_to(x, y);
    }
    if closed {
        path.close();
    }
    path.finish()
}

fn paint(ink: Ink) -> Paint<'static> {
    let [red, green, blue] = ink.colour;
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, (255.0 * ink.opacity).round() as u8);
    paint
}
