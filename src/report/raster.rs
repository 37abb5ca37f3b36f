//! Charts as pixels.

use super::chart::{Chart, RIGHT};
use super::shape::{BAND_OPACITY, CURVE_WIDTH, Coordinate, DOT_RADIUS, Shape, Stroke, Style};
use vitcuda_picture::{Anchor, Canvas, Ink, Lettering, fit};

/// The colour of texts and axes on paper.
pub const TEXT: &str = "#222222";

impl Chart {
    /// Draws the chart onto `canvas`, `top` units below its upper edge.
    pub fn draw(&self, canvas: &mut Canvas, top: f64) {
        for shape in self.shapes() {
            draw(canvas, top, &shape);
        }
    }
}

fn draw(canvas: &mut Canvas, top: f64, shape: &Shape) {
    let place = |(x, y): (f64, f64)| (x as f32, (top + y) as f32);
    let laid = |(x, y): (Coordinate, Coordinate)| place((x.pixels(), y.pixels()));
    let places = |points: &[(f64, f64)]| points.iter().map(|&at| place(at)).collect::<Vec<_>>();
    match shape {
        &Shape::Line { from, to, stroke } => {
            let (width, ink) = match stroke {
                Stroke::Axis { opacity } => (1.0, ink(TEXT, opacity)),
                Stroke::Legend(colour) => (Stroke::LEGEND_WIDTH, ink(colour, 1.0)),
            };
            canvas.line(&[laid(from), laid(to)], width as f32, ink);
        }
        Shape::Text {
            at,
            text,
            anchor,
            style,
        } => {
            write(canvas, laid(*at), text, *anchor, *style);
        }
        Shape::Band { outline, colour } => {
            canvas.area(&places(outline), ink(colour, BAND_OPACITY));
        }
        Shape::Curve { points, colour } => {
            canvas.line(&places(points), CURVE_WIDTH as f32, ink(colour, 1.0));
        }
        &Shape::Dot { at, colour } => canvas.dot(place(at), DOT_RADIUS as f32, ink(colour, 1.0)),
    }
}

fn write(canvas: &mut Canvas, at: (f32, f32), text: &str, anchor: Anchor, style: Style) {
    let (size, bold, opacity) = match style {
        Style::Title => (Style::TITLE_SIZE, true, 1.0),
        Style::Label => (Style::LABEL_SIZE, false, 1.0),
        Style::Faint => (Style::LABEL_SIZE, false, Style::FAINT_OPACITY),
    };
    let how = Lettering {
        size: size as f32,
        bold,
        anchor,
    };
    // Names of runs can be long; they begin at the left, as titles do.
    let room = match anchor {
        Anchor::Start => (Chart::WIDTH - RIGHT) as f32 - at.0,
        Anchor::Middle | Anchor::End => f32::INFINITY,
    };
    canvas.text(at, &fit(text, how.size, room), how, ink(TEXT, opacity));
}

/// `colour` is written as in `#0072b2`.
fn ink(colour: &str, opacity: f64) -> Ink {
    let part = |i: usize| u8::from_str_radix(&colour[i..i + 2], 16).expect("two digits");
    Ink {
        colour: [1, 3, 5].map(part),
        opacity: opacity as f32,
    }
}
