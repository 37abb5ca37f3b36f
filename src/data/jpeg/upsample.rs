//! Coarser components brought to the size of the image, as libjpeg-turbo does by default.
//!
//! Halved components are interpolated ("fancy upsampling"): a sample stands in the middle of those
//! it replaced, so each of these weighs the nearest ¾ and the next ¼ along either axis. Halves are
//! rounded down and up in turn, so that the picture gets no brighter. What is coarser by another
//! factor is repeated. Source: `jdsample.c` of libjpeg-turbo 3.

use super::frame::{Component, Frame};

/// How a component is brought to the size of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upsampling {
    /// It has that size.
    None,
    /// Interpolated along the rows.
    Horizontal,
    /// Interpolated along the columns.
    Vertical,
    /// Interpolated along both.
    Both,
    /// Repeated so often across and down.
    Repeated(usize, usize),
}

impl Upsampling {
    /// None where the image is no multiple of the component.
    pub fn of(component: &Component, frame: &Frame) -> Option<Self> {
        let (finest, factors) = (frame.finest, component.factors);
        if finest.0 % factors.0 != 0 || finest.1 % factors.1 != 0 {
            return None;
        }
        // With one or two samples there is nothing to interpolate, says libjpeg; along the columns
        // it does not say so.
        let is_wide = component.size.0 > 2;
        Some(match (finest.0 / factors.0, finest.1 / factors.1) {
            (1, 1) => Self::None,
            (2, 1) if is_wide => Self::Horizontal,
            (1, 2) => Self::Vertical,
            (2, 2) if is_wide => Self::Both,
            (across, down) => Self::Repeated(across, down),
        })
    }

    /// Samples across and down that come of one.
    pub fn factors(self) -> (usize, usize) {
        match self {
            Self::None => (1, 1),
            Self::Horizontal => (2, 1),
            Self::Vertical => (1, 2),
            Self::Both => (2, 2),
            Self::Repeated(across, down) => (across, down),
        }
    }

    /// Makes row `y` of the image from the row of samples there, and the one nearest to it on the
    /// other side, where the image's edge has one or the same again.
    #[inline(always)]
    pub fn row(self, y: usize, near: &[u8], far: &[u8], output: &mut [u8]) {
        match self {
            Self::None => output.copy_from_slice(near),
            Self::Horizontal => horizontal(near, output),
            Self::Vertical => {
                let bias = 1 + (y % 2) as u16;
                for ((out, &near), &far) in output.iter_mut().zip(near).zip(far) {
                    *out = ((3 * u16::from(near) + u16::from(far) + bias) >> 2) as u8;
                }
            }
            Self::Both => both(near, far, output),
            Self::Repeated(across, _) => {
                for (out, &sample) in output.chunks_exact_mut(across).zip(near) {
                    out.fill(sample);
                }
            }
        }
    }
}

#[inline(always)]
fn horizontal(samples: &[u8], output: &mut [u8]) {
    let (pairs, _) = output.as_chunks_mut::<2>();
    let [first, middle @ .., last] = pairs else {
        unreachable!("narrow rows are repeated");
    };
    let (left, rest) = (samples, &samples[1..]);
    let sample = |at: usize| u16::from(samples[at]);
    let end = samples.len() - 1;
    *first = [samples[0], ((3 * sample(0) + sample(1) + 2) >> 2) as u8];
    *last = [
        ((3 * sample(end) + sample(end - 1) + 1) >> 2) as u8,
        samples[end],
    ];
    for (((pair, &left), &center), &right) in middle.iter_mut().zip(left).zip(rest).zip(&rest[1..])
    {
        let center = 3 * u16::from(center);
        *pair = [
            ((center + u16::from(left) + 1) >> 2) as u8,
            ((center + u16::from(right) + 2) >> 2) as u8,
        ];
    }
}

#[inline(always)]
fn both(near: &[u8], far: &[u8], output: &mut [u8]) {
    let (pairs, _) = output.as_chunks_mut::<2>();
    let [first, middle @ .., last] = pairs else {
        unreachable!("narrow rows are repeated");
    };
    let column = |at: usize| 3 * u16::from(near[at]) + u16::from(far[at]);
    let end = near.len() - 1;
    let edge = |at: usize, inner: usize, bias: (u16, u16)| {
        let (outer, inner) = (
            4 * column(at) + bias.0,
            3 * column(at) + column(inner) + bias.1,
        );
        ((outer >> 4) as u8, (inner >> 4) as u8)
    };
    let (outer, inner) = edge(0, 1, (8, 7));
    *first = [outer, inner];
    let (outer, inner) = edge(end, end - 1, (7, 8));
    *last = [inner, outer];
    let windows = near.windows(3).zip(far.windows(3));
    for (pair, (near, far)) in middle.iter_mut().zip(windows) {
        let [left, center, right] =
            [0, 1, 2].map(|at| 3 * u16::from(near[at]) + u16::from(far[at]));
        *pair = [
            ((3 * center + left + 8) >> 4) as u8,
            ((3 * center + right + 7) >> 4) as u8,
        ];
    }
}
