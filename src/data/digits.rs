//! The data set inside the binary: 1,797 handwritten digits of 8 × 8 pixels.
//!
//! E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
//! Repository, 1998, DOI 10.24432/C50P49, CC BY 4.0; see `data/digits/README.md`.

use std::sync::LazyLock;

use super::dataset::{Dataset, Origin, Sample};
use super::decode::decode;
use vitcuda_picture::Rgb;

/// Side of a digit in pixels.
pub const SIDE: usize = 8;

/// Digits in a row of the picture that holds them all.
const COLUMNS: usize = 48;

/// Grey values, digit by digit, each (8, 8).
static GREYS: LazyLock<Vec<[u8; SIDE * SIDE]>> = LazyLock::new(|| {
    let sheet = decode(include_bytes!("../../data/digits/digits.png"))
        .expect("the embedded picture is intact");
    let digit = |index: usize| {
        let (row, column) = (index / COLUMNS, index % COLUMNS);
        std::array::from_fn(|pixel| {
            let y = SIDE * row + pixel / SIDE;
            let x = SIDE * column + pixel % SIDE;
            sheet.pixels[3 * (y * sheet.width + x)]
        })
    };
    (0..labels().count()).map(digit).collect()
});

fn labels() -> impl Iterator<Item = u32> {
    let text = include_str!("../../data/digits/labels.txt");
    text.chars().filter_map(|c| c.to_digit(10))
}

/// All digits, in the order of the published set; class `i` is the digit `i`.
pub fn dataset() -> Dataset {
    let samples = labels().enumerate().map(|(index, label)| Sample {
        origin: Origin::Digit(index),
        label,
    });
    Dataset::new("", samples.collect())
}

/// Class names, `0` to `9`.
pub fn classes() -> Vec<String> {
    (0..10).map(|digit| digit.to_string()).collect()
}

/// One digit, its grey in all three channels; panics if there is no such digit.
pub fn image(index: usize) -> Rgb {
    let pixels = GREYS[index].iter().flat_map(|&grey| [grey; 3]).collect();
    Rgb::new(SIDE, SIDE, pixels)
}
