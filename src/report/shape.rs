//! What charts are drawn of, whether as SVG or as pixels.

use std::fmt;

use vitcuda_picture::Anchor;

/// A part of a chart; places are in pixels from its upper left corner.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Line {
        from: (Coordinate, Coordinate),
        to: (Coordinate, Coordinate),
        stroke: Stroke,
    },
    Text {
        /// On the baseline.
        at: (Coordinate, Coordinate),
        text: String,
        anchor: Anchor,
        style: Style,
    },
    /// The area behind a curve.
    Band {
        outline: Vec<(f64, f64)>,
        colour: &'static str,
    },
    Curve {
        points: Vec<(f64, f64)>,
        colour: &'static str,
    },
    /// A point of a curve.
    Dot {
        at: (f64, f64),
        colour: &'static str,
    },
}

/// How much of a band's colour covers what is below.
pub const BAND_OPACITY: f64 = 0.15;
/// How wide a curve is.
pub const CURVE_WIDTH: f64 = 2.0;
/// The radius of a dot.
pub const DOT_RADIUS: f64 = 3.0;

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stroke {
    /// Thin, in the colour of texts.
    Axis { opacity: f64 },
    /// As wide as [`Self::LEGEND_WIDTH`], in this colour.
    Legend(&'static str),
}

impl Stroke {
    pub const LEGEND_WIDTH: f64 = 3.0;
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Bold, of [`Self::TITLE_SIZE`].
    Title,
    Label,
    /// A label that covers only [`Self::FAINT_OPACITY`] of what is below.
    Faint,
}

impl Style {
    pub const TITLE_SIZE: f64 = 14.0;
    pub const LABEL_SIZE: f64 = 12.0;
    pub const FAINT_OPACITY: f64 = 0.7;
}

/// Where something is, across or down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Coordinate {
    /// Where charts have it.
    Laid(f64),
    /// Where a number falls, which text says with one decimal.
    Placed(f64),
}

impl Coordinate {
    pub fn pixels(self) -> f64 {
        let (Self::Laid(at) | Self::Placed(at)) = self;
        at
    }
}

impl fmt::Display for Coordinate {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Laid(at) => write!(to, "{at}"),
            Self::Placed(at) => write!(to, "{at:.1}"),
        }
    }
}
