//! A chart of curves.

use super::shape::Coordinate::{Laid, Placed};
use super::shape::{Shape, Stroke, Style};
use vitcuda_picture::Anchor;

/// Colours of curves, told apart by colour-blind people too (Okabe and Ito).
pub const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#888888",
];

/// What the vertical axis shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Numbers from 0.
    Loss,
    /// Shares, in per cent, as much of 0 to 100 as is needed.
    Share,
}

/// Whether the places of a curve's points are marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Points {
    Marked,
    Plain,
}

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    pub name: String,
    pub colour: &'static str,
    pub points: Points,
    /// (x, y) by rising x; a y that is not finite interrupts the curve.
    pub line: Vec<(f64, f64)>,
    /// (x, low, high) of an area behind it.
    pub band: Vec<(f64, f64, f64)>,
}

/// Some curves over the same axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    pub title: String,
    pub x_label: &'static str,
    pub values: Values,
    pub curves: Vec<Curve>,
}

/// Pixels around the plotted area.
const LEFT: f64 = 58.0;
pub(super) const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;
/// Height of a line of the legend.
const LEGEND: f64 = 18.0;
/// Size of the plotted area.
const WIDTH: f64 = 566.0;
const HEIGHT: f64 = 220.0;

impl Chart {
    /// Width in pixels.
    pub const WIDTH: f64 = LEFT + WIDTH + RIGHT;

    /// Height in pixels, which grows with the legend.
    pub fn height(&self) -> f64 {
        TOP + HEIGHT + BOTTOM + LEGEND * self.curves.len() as f64
    }

    /// What the chart consists of, in the order it is drawn in.
    pub(super) fn shapes(&self) -> Vec<Shape> {
        let mut shapes = vec![Shape::Text {
            at: (Laid(LEFT), Laid(20.0)),
            text: self.title.clone(),
            anchor: Anchor::Start,
            style: Style::Title,
        }];
        let [x, y] = [self.x_axis(), self.y_axis()];
        self.draw_axes(&mut shapes, &x, &y);
        for curve in &self.curves {
            curve.draw(&mut shapes, &x, &y);
        }
        self.draw_legend(&mut shapes);
        shapes
    }

    fn x_axis(&self) -> Axis {
        let xs = self.curves.iter().flat_map(|c| &c.line).map(|&(x, _)| x);
        let (low, high) = range(xs).unwrap_or((0.0, 1.0));
        Axis::new(low.min(0.0), high, LEFT, LEFT + WIDTH)
    }

    fn y_axis(&self) -> Axis {
        let curves = self.curves.iter();
        let ys = curves.flat_map(|c| {
            let band = c.band.iter().flat_map(|&(_, low, high)| [low, high]);
            c.line.iter().map(|&(_, y)| y).chain(band)
        });
        let (low, high) = range(ys).unwrap_or((0.0, 1.0));
        let (low, high) = match self.values {
            Values::Loss => (low.min(0.0), high),
            Values::Share => {
                let low = low.min(high - 0.05).max(0.0);
                (low, high.max(low + 0.05))
            }
        };
        Axis::new(low, high, TOP + HEIGHT, TOP)
    }

    fn draw_axes(&self, shapes: &mut Vec<Shape>, x: &Axis, y: &Axis) {
        let (left, right, bottom) = (Laid(LEFT), Laid(LEFT + WIDTH), TOP + HEIGHT);
        for tick in y.ticks() {
            let at = y.place(tick);
            shapes.push(Shape::Line {
                from: (left, Placed(at)),
                to: (right, Placed(at)),
                stroke: Stroke::Axis { opacity: 0.15 },
            });
            shapes.push(Shape::Text {
                at: (Placed(LEFT - 8.0), Placed(at + 4.0)),
                text: self.tick_text(tick, y.step),
                anchor: Anchor::End,
                style: Style::Label,
            });
        }
        for tick in x.ticks() {
            let at = Placed(x.place(tick));
            shapes.push(Shape::Line {
                from: (at, Laid(bottom)),
                to: (at, Laid(bottom + 4.0)),
                stroke: Stroke::Axis { opacity: 0.5 },
            });
            shapes.push(Shape::Text {
                at: (at, Laid(bottom + 18.0)),
                text: plain(tick, x.step),
                anchor: Anchor::Middle,
                style: Style::Label,
            });
        }
        shapes.push(Shape::Line {
            from: (left, Laid(bottom)),
            to: (right, Laid(bottom)),
            stroke: Stroke::Axis { opacity: 0.5 },
        });
        shapes.push(Shape::Text {
            at: (right, Laid(bottom + 34.0)),
            text: self.x_label.to_owned(),
            anchor: Anchor::End,
            style: Style::Faint,
        });
    }

    fn tick_text(&self, value: f64, step: f64) -> String {
        match self.values {
            Values::Loss => plain(value, step),
            Values::Share => format!("{} %", plain(100.0 * value, 100.0 * step)),
        }
    }

    fn draw_legend(&self, shapes: &mut Vec<Shape>) {
        for (i, curve) in self.curves.iter().enumerate() {
            let y = TOP + HEIGHT + BOTTOM + LEGEND * i as f64;
            shapes.push(Shape::Line {
                from: (Laid(LEFT), Laid(y)),
                to: (Laid(LEFT + 22.0), Laid(y)),
                stroke: Stroke::Legend(curve.colour),
            });
            shapes.push(Shape::Text {
                at: (Laid(LEFT + 30.0), Laid(y + 4.0)),
                text: curve.name.clone(),
                anchor: Anchor::Start,
                style: Style::Label,
            });
        }
    }
}

impl Curve {
    fn draw(&self, shapes: &mut Vec<Shape>, x: &Axis, y: &Axis) {
        let colour = self.colour;
        let at = |&(px, py): &(f64, f64)| (x.place(px), y.place(py));
        if !self.band.is_empty() {
            let low = self.band.iter().map(|&(px, low, _)| at(&(px, low)));
            let high = self.band.iter().rev().map(|&(px, _, high)| at(&(px, high)));
            let outline = low.chain(high).collect();
            shapes.push(Shape::Band { outline, colour });
        }
        for piece in self.line.split(|(_, y)| !y.is_finite()) {
            if piece.len() > 1 {
                let points = piece.iter().map(at).collect();
                shapes.push(Shape::Curve { points, colour });
            }
            // A point by itself shows only as a dot.
            if self.points == Points::Marked || piece.len() == 1 {
                let dots = piece.iter().map(at);
                shapes.extend(dots.map(|at| Shape::Dot { at, colour }));
            }
        }
    }
}

/// The smallest and the largest finite number, if there is one.
fn range(numbers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = numbers.filter(|n| n.is_finite());
    finite.fold(None, |range, n| match range {
        None => Some((n, n)),
        Some((low, high)) => Some((n.min(low), n.max(high))),
    })
}

/// A range of numbers and the pixels it is drawn on.
struct Axis {
    low: f64,
    high: f64,
    /// Between ticks: 1, 2 or 5 times a power of ten.
    step: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// `low` … `high`, widened to whole steps, on the pixels `start` … `end`.
    fn new(low: f64, high: f64, start: f64, end: f64) -> Self {
        let span = if high > low { high - low } else { 1.0 };
        let rough = span / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let nice = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power);
        let step = nice.into_iter().find(|&s| s >= rough * 0.999);
        let step = step.unwrap_or(nice[3]);
        Self {
            low: (low / step + 1e-9).floor() * step,
            high: ((low + span) / step - 1e-9).ceil() * step,
            step,
            start,
            end,
        }
    }

    fn place(&self, value: f64) -> f64 {
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let first = (self.low / self.step).round() as i64;
        let last = (self.high / self.step).round() as i64;
        (first..=last).map(|i| i as f64 * self.step)
    }
}

/// `value` with as many decimals as a multiple of `step` needs.
fn plain(value: f64, step: f64) -> String {
    let decimals = (-(step * 1.001).log10().floor()).clamp(0.0, 12.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_ticks() {
        let ticks = |low, high| {
            let axis = Axis::new(low, high, 0.0, 100.0);
            let texts: Vec<String> = axis.ticks().map(|t| plain(t, axis.step)).collect();
            texts.join(" ")
        };
        assert_eq!(ticks(0.0, 63.0), "0 20 40 60 80");
        assert_eq!(ticks(0.0, 0.71), "0.0 0.2 0.4 0.6 0.8");
        assert_eq!(ticks(0.93, 1.0), "0.92 0.94 0.96 0.98 1.00");
        assert_eq!(ticks(0.5, 0.5), "0.4 0.6 0.8 1.0 1.2 1.4 1.6");
    }

    #[test]
    fn values_are_placed_from_end_to_end() {
        let axis = Axis::new(0.0, 10.0, 200.0, 100.0);
        assert_eq!(
            [0.0, 5.0, 10.0].map(|v| axis.place(v)),
            [200.0, 150.0, 100.0]
        );
    }
}
