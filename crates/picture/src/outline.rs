//! Areas with straight and curved borders, and how much of each pixel they cover.
//!
//! The crate tiny-skia does the same and more, and was 236 kB of the program.

use std::ops::Range;

/// An area: what its borders go round at least once, all turns counted by their direction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outline {
    /// Closed borders.
    borders: Vec<Vec<(f32, f32)>>,
}

/// Lines along which each row of pixels is looked at.
const LINES: usize = 8;

/// Straight pieces that a curve of a letter becomes.
const PIECES: usize = 6;

impl Outline {
    /// Begins a border.
    pub fn move_to(&mut self, x: f32, y: f32) {
        self.borders.push(vec![(x, y)]);
    }

    pub fn line_to(&mut self, x: f32, y: f32) {
        self.borders.last_mut().expect("a border").push((x, y));
    }

    /// A parabola to (x, y) whose tangents meet in `control`.
    pub fn curve_to(&mut self, control: (f32, f32), (x, y): (f32, f32)) {
        let border = self.borders.last_mut().expect("a border");
        let from = *border.last().expect("its begin");
        for piece in 1..=PIECES {
            let t = piece as f32 / PIECES as f32;
            let mix = |a: f32, b: f32, c: f32| {
                (1.0 - t) * (1.0 - t) * a + 2.0 * t * (1.0 - t) * b + t * t * c
            };
            border.push((mix(from.0, control.0, x), mix(from.1, control.1, y)));
        }
    }

    /// A border round the points, in the direction in which all those of lines and dots go.
    pub fn add(&mut self, mut points: Vec<(f32, f32)>) {
        let next = points.iter().cycle().skip(1);
        let twice: f32 = points
            .iter()
            .zip(next)
            .map(|(a, b)| a.0 * b.1 - a.1 * b.0)
            .sum();
        if twice < 0.0 {
            points.reverse();
        }
        self.borders.push(points);
    }

    pub fn add_box(&mut self, left: f32, top: f32, right: f32, bottom: f32) {
        self.add(vec![
            (left, top),
            (right, top),
            (right, bottom),
            (left, bottom),
        ]);
    }

    pub fn add_circle(&mut self, (x, y): (f32, f32), radius: f32) {
        let corner = |i: u8| {
            let (sine, cosine) = (f32::from(i) * std::f32::consts::TAU / 32.0).sin_cos();
            (x + radius * cosine, y + radius * sine)
        };
        self.add((0..32).map(corner).collect());
    }

    /// A line of this width through the points, round where it bends.
    pub fn add_line(&mut self, points: &[(f32, f32)], width: f32) {
        let half = width / 2.0;
        for ends in points.windows(2) {
            let [(x1, y1), (x2, y2)] = [ends[0], ends[1]];
            let length = (x2 - x1).hypot(y2 - y1);
            if length > 0.0 {
                let (dx, dy) = (half * (y1 - y2) / length, half * (x2 - x1) / length);
                let side = [(x1 + dx, y1 + dy), (x2 + dx, y2 + dy)];
                let other = [(x2 - dx, y2 - dy), (x1 - dx, y1 - dy)];
                self.add([side, other].concat());
            }
        }
        for &bend in points
            .get(1..points.len().saturating_sub(1))
            .unwrap_or_default()
        {
            self.add_circle(bend, half);
        }
    }

    pub fn moved(mut self, x: f32, y: f32) -> Self {
        for point in self.borders.iter_mut().flatten() {
            *point = (point.0 + x, point.1 + y);
        }
        self
    }

    /// Calls `row` with the number of each row of pixels that the area touches, of `height`, and
    /// how much of each of its `width` pixels is covered, from 0 to 1.
    pub fn cover(&self, width: usize, height: usize, mut row: impl FnMut(usize, &[f32])) {
        let heights = self.borders.iter().flatten().map(|point| point.1);
        let (top, bottom) = heights.fold((f32::INFINITY, 0.0_f32), |(top, bottom), y| {
            (top.min(y), bottom.max(y))
        });
        let first = (top.max(0.0) as usize).min(height);
        let rows = first..(bottom.ceil() as usize).clamp(first, height);
        let mut crossings = self.crossings(rows.clone());
        let mut covered = vec![0.0; width];
        for (y, lines) in rows.zip(crossings.chunks_mut(LINES)) {
            if lines.iter().all(Vec::is_empty) {
                continue;
            }
            covered.fill(0.0);
            for line in lines {
                line.sort_by(|a, b| a.0.total_cmp(&b.0));
                let mut turns = 0;
                for pair in line.windows(2) {
                    turns += pair[0].1;
                    if turns != 0 {
                        span(&mut covered, pair[0].0, pair[1].0);
                    }
                }
            }
            row(y, &covered);
        }
    }

    /// Where borders cross each line of these rows, and whether downwards (1) or upwards (-1).
    fn crossings(&self, rows: Range<usize>) -> Vec<Vec<(f32, i32)>> {
        let lines = rows.start * LINES..rows.end * LINES;
        let mut crossings = vec![Vec::new(); lines.len()];
        // The number of the first line at or below y.
        let first = |y: f32| {
            let line = (y * LINES as f32 - 0.5).ceil().max(0.0) as usize;
            line.clamp(lines.start, lines.end)
        };
        for border in &self.borders {
            let next = border.iter().cycle().skip(1);
            for (&a, &b) in border.iter().zip(next) {
                let (top, bottom, turn) = if a.1 < b.1 { (a, b, 1) } else { (b, a, -1) };
                for line in first(top.1)..first(bottom.1) {
                    let y = (line as f32 + 0.5) / LINES as f32;
                    let t = (y - top.1) / (bottom.1 - top.1);
                    let x = top.0 + t * (bottom.0 - top.0);
                    crossings[line - lines.start].push((x, turn));
                }
            }
        }
        crossings
    }
}

/// Adds what the part from `left` to `right` of one line covers.
fn span(covered: &mut [f32], left: f32, right: f32) {
    let end = covered.len() as f32;
    let (left, right) = (left.clamp(0.0, end), right.clamp(0.0, end));
    for x in left as usize..right.ceil() as usize {
        let part = right.min(x as f32 + 1.0) - left.max(x as f32);
        covered[x] += part / LINES as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(outline: &Outline) -> f32 {
        let mut sum = 0.0;
        outline.cover(20, 20, |_, row| sum += row.iter().sum::<f32>());
        sum
    }

    #[test]
    fn areas_cover_what_they_measure() {
        let mut area = Outline::default();
        area.add_box(2.25, 3.0, 5.0, 7.5);
        assert!((sum(&area) - 2.75 * 4.5).abs() < 1e-3);
        area.add_box(3.0, 3.0, 4.0, 4.0);
        assert!(
            (sum(&area) - 2.75 * 4.5).abs() < 1e-3,
            "what is covered twice"
        );
        let mut circle = Outline::default();
        circle.add_circle((10.0, 10.0), 5.0);
        assert!((sum(&circle) / 25.0 - std::f32::consts::PI).abs() < 0.04);
        let mut line = Outline::default();
        line.add_line(&[(-5.0, 10.0), (10.0, 10.0), (10.0, 30.0)], 2.0);
        assert!((sum(&line) - (20.0 + 20.0 - 1.0 + 0.785)).abs() < 0.1);
    }
}
