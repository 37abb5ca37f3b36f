//! White paper to draw on.

use super::outline::Outline;
use super::{Rgb, text};

/// Paper on which places and lengths are given in units of `scale` pixels, from the upper left
/// corner on.
pub struct Canvas {
    pixels: Rgb,
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
    /// Longest side in pixels; beyond it, memory would run short.
    pub const LONGEST: f32 = 32767.0;

    /// Panics unless both sides are from 1 to [`Self::LONGEST`] pixels.
    pub fn new(width: f32, height: f32, scale: f32) -> Self {
        let [width, height] = [width, height].map(|side| (side * scale).ceil());
        assert!(width.max(height) <= Self::LONGEST, "{width} × {height}");
        let (width, height) = (width as usize, height as usize);
        let pixels = Rgb::new(width, height, vec![255; 3 * width * height]);
        Self { pixels, scale }
    }

    /// A line through the points.
    pub fn line(&mut self, points: &[(f32, f32)], width: f32, ink: Ink) {
        let mut area = Outline::default();
        area.add_line(&self.scaled(points), width * self.scale);
        self.fill(&area, ink);
    }

    /// The area between the points.
    pub fn area(&mut self, points: &[(f32, f32)], ink: Ink) {
        let mut area = Outline::default();
        area.add(self.scaled(points));
        self.fill(&area, ink);
    }

    pub fn dot(&mut self, (x, y): (f32, f32), radius: f32, ink: Ink) {
        let (x, y) = (x * self.scale, y * self.scale);
        let mut area = Outline::default();
        area.add_circle((x, y), radius * self.scale);
        self.fill(&area, ink);
    }

    /// Writes a line whose baseline goes through `at`.
    pub fn text(&mut self, at: (f32, f32), text: &str, how: Lettering, ink: Ink) {
        // In pixels: letters made of dots are sharp only if dots fall onto pixels.
        let size = how.size * self.scale;
        let before = match how.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => text::width(text, size) / 2.0,
            Anchor::End => text::width(text, size),
        };
        let x = (at.0 * self.scale - before).round();
        let letters = text::outline(text, size).moved(x, (at.1 * self.scale).round());
        self.fill(&letters, ink);
        if how.bold {
            self.fill(&letters.moved(size / 20.0, 0.0), ink);
        }
    }

    pub fn into_rgb(self) -> Rgb {
        self.pixels
    }

    fn scaled(&self, points: &[(f32, f32)]) -> Vec<(f32, f32)> {
        let scaled = |&(x, y): &(f32, f32)| (x * self.scale, y * self.scale);
        points.iter().map(scaled).collect()
    }

    fn fill(&mut self, area: &Outline, ink: Ink) {
        let Rgb {
            width,
            height,
            pixels,
        } = &mut self.pixels;
        area.cover(*width, *height, |y, covered| {
            let row = &mut pixels[3 * *width * y..][..3 * *width];
            for (pixel, &share) in row.chunks_exact_mut(3).zip(covered) {
                if share == 0.0 {
                    continue;
                }
                for (value, colour) in pixel.iter_mut().zip(ink.colour) {
                    let (below, above) = (f32::from(*value), f32::from(colour));
                    *value = (below + (above - below) * share.min(1.0) * ink.opacity).round() as u8;
                }
            }
        });
    }
}
