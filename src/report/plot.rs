//! The curves of one run or of several, as charts and as files of their own.

use super::chart::{COLOURS, Chart, Curve, Points, Values};
use super::raster::TEXT;
use super::run_log::{RunLog, Scored, Trained};
use crate::metrics::wilson;
use crate::{Error, Result};
use vitcuda_picture::Canvas;

/// What the curves run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Steps,
    Epochs,
}

impl Over {
    fn label(self) -> &'static str {
        match self {
            Self::Steps => "optimiser step",
            Self::Epochs => "epoch",
        }
    }

    fn of(self, step: u64, epoch: f64) -> f64 {
        match self {
            Self::Steps => step as f64,
            Self::Epochs => epoch,
        }
    }
}

/// Training and validation loss in one chart, accuracy with its 95 % intervals in another.
pub fn charts_of_run(log: &RunLog) -> Vec<Chart> {
    let over = Over::Steps;
    let loss = vec![
        curve("training loss", 0, Points::Plain, training(log, over)),
        curve("validation loss", 1, Points::Marked, validation(log, over)),
    ];
    let mut accuracy = curve(
        "validation accuracy",
        2,
        Points::Marked,
        accuracy(log, over),
    );
    accuracy.band = log
        .scored
        .iter()
        .filter_map(|s| interval(s, over))
        .collect();
    if !accuracy.band.is_empty() {
        accuracy.name += ", 95 % interval";
    }
    let charts = [
        ("Loss", Values::Loss, loss),
        ("Accuracy", Values::Share, vec![accuracy]),
    ];
    charts_with_curves(charts, over)
}

/// The same of several runs, by name: a chart for each kind of curve, a colour for each run.
pub fn charts_of_runs(runs: &[(String, RunLog)], over: Over) -> Vec<Chart> {
    let each = |points, line: fn(&RunLog, Over) -> Vec<(f64, f64)>| -> Vec<Curve> {
        let runs = runs.iter().enumerate();
        runs.map(|(i, (name, log))| curve(name, i, points, line(log, over)))
            .collect()
    };
    let charts = [
        ("Training loss", Values::Loss, each(Points::Plain, training)),
        (
            "Validation loss",
            Values::Loss,
            each(Points::Marked, validation),
        ),
        (
            "Validation accuracy",
            Values::Share,
            each(Points::Marked, accuracy),
        ),
    ];
    charts_with_curves(charts, over)
}

fn curve(name: &str, number: usize, points: Points, line: Vec<(f64, f64)>) -> Curve {
    Curve {
        name: name.to_owned(),
        colour: COLOURS[number % COLOURS.len()],
        points,
        line,
        band: Vec::new(),
    }
}

/// The charts that have something to show, without the curves that have nothing.
fn charts_with_curves<const N: usize>(
    charts: [(&str, Values, Vec<Curve>); N],
    over: Over,
) -> Vec<Chart> {
    let charts = charts.into_iter().map(|(title, values, mut curves)| {
        curves.retain(|curve| curve.line.iter().any(|(_, y)| y.is_finite()));
        Chart {
            title: title.to_owned(),
            x_label: over.label(),
            values,
            curves,
        }
    });
    charts.filter(|chart| !chart.curves.is_empty()).collect()
}

fn training(log: &RunLog, over: Over) -> Vec<(f64, f64)> {
    let point = |t: &Trained| (over.of(t.step, t.epoch), t.loss);
    log.trained.iter().map(point).collect()
}

fn validation(log: &RunLog, over: Over) -> Vec<(f64, f64)> {
    let point = |s: &Scored| (over.of(s.step, s.epoch), s.loss);
    log.scored.iter().map(point).collect()
}

fn accuracy(log: &RunLog, over: Over) -> Vec<(f64, f64)> {
    let point = |s: &Scored| Some((over.of(s.step, s.epoch), s.accuracy?));
    log.scored.iter().filter_map(point).collect()
}

fn interval(scored: &Scored, over: Over) -> Option<(f64, f64, f64)> {
    let (correct, samples) = scored.counts?;
    let (low, high) = wilson(correct, samples);
    Some((over.of(scored.step, scored.epoch), low, high))
}

/// The charts below each other, as an SVG file: dark on white.
pub fn svg_file(charts: &[Chart]) -> String {
    let mut parts = String::new();
    let mut height = 0.0;
    for chart in charts {
        parts += &chart.svg(height);
        height += chart.height();
    }
    let width = Chart::WIDTH;
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" color=\"{TEXT}\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n{parts}</svg>\n"
    )
}

/// Pixels of a PNG file for each of an SVG file.
const SCALE: f32 = 2.0;

/// The same as a PNG file, twice as large.
///
/// # Errors
/// [`Error::Usage`] if there are so many curves that the picture would be higher than pictures are.
pub fn png_file(charts: &[Chart]) -> Result<Vec<u8>> {
    let height: f64 = charts.iter().map(Chart::height).sum();
    if height as f32 * SCALE > Canvas::LONGEST {
        return Err(Error::usage(
            "the names of all these runs make the picture too high for a PNG file",
            "name fewer runs, or write a file that ends in .svg",
        ));
    }
    let mut canvas = Canvas::new(Chart::WIDTH as f32, height.max(1.0) as f32, SCALE);
    let mut top = 0.0;
    for chart in charts {
        chart.draw(&mut canvas, top);
        top += chart.height();
    }
    Ok(canvas.into_rgb().to_png())
}
