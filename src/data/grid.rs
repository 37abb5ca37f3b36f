//! Pictures in rows and columns, each under its title: one picture to look at.

use super::resize::{Axis, Filter, resize};
use vitcuda_picture::Rgb;
use vitcuda_picture::{Anchor, Canvas, Ink, Lettering, fit};

/// Side of the square that a picture is fitted into.
const TILE: usize = 224;

/// Pixels between tiles, and around them.
const GAP: usize = 8;

/// Height of the strip that holds a title.
const STRIP: usize = 22;

/// From the top of the strip to the line that letters stand on.
const BASELINE: usize = 16;

/// Size of the letters, at which those that are made of dots have pixels for dots.
const SIZE: f32 = 16.0;

const INK: Ink = Ink {
    colour: [32; 3],
    opacity: 1.0,
};

/// A picture and what stands above it; a tile without a picture stays empty.
pub struct Tile {
    pub title: String,
    pub picture: Option<Rgb>,
}

/// Draws the tiles row by row, `columns` in each; panics when that is 0 or there is no tile.
///
/// Pictures keep their aspect. A title that is too long is cut.
pub fn draw(tiles: &[Tile], columns: usize) -> Rgb {
    let rows = tiles.len().div_ceil(columns);
    let width = GAP + columns * (TILE + GAP);
    let height = GAP + rows * (STRIP + TILE + GAP);
    let mut paper = Canvas::new(width as f32, height as f32, 1.0);
    let corner = |i: usize| {
        let (row, column) = (i / columns, i % columns);
        (
            GAP + column * (TILE + GAP),
            GAP + row * (STRIP + TILE + GAP),
        )
    };
    for (i, tile) in tiles.iter().enumerate() {
        let (x, y) = corner(i);
        write(&mut paper, &tile.title, x, y + BASELINE);
    }
    let mut sheet = paper.into_rgb();
    for (i, tile) in tiles.iter().enumerate() {
        let (x, y) = corner(i);
        if let Some(picture) = &tile.picture {
            paste(&mut sheet, picture, x, y + STRIP);
        }
    }
    sheet
}

/// Writes a line whose letters stand on `y` from `x` on, as far as the tile goes.
fn write(paper: &mut Canvas, text: &str, x: usize, y: usize) {
    let how = Lettering {
        size: SIZE,
        bold: false,
        anchor: Anchor::Start,
    };
    let shown = fit(text, SIZE, TILE as f32);
    paper.text((x as f32, y as f32), &shown, how, INK);
}

/// Fits the picture into the tile whose corner is (x, y), in its middle.
fn paste(sheet: &mut Rgb, picture: &Rgb, x: usize, y: usize) {
    let longest = picture.width.max(picture.height);
    let fit = |side: usize| ((side * TILE + longest / 2) / longest).max(1);
    let (width, height) = (fit(picture.width), fit(picture.height));
    let (columns, rows) = (Axis::whole(width), Axis::whole(height));
    let planes = resize(picture, &columns, &rows, Filter::Bilinear);
    let (left, top) = (x + (TILE - width) / 2, y + (TILE - height) / 2);
    for row in 0..height {
        for column in 0..width {
            let colour = |c: usize| planes[(c * height + row) * width + column];
            set(sheet, left + column, top + row, [0, 1, 2].map(colour));
        }
    }
}

fn set(sheet: &mut Rgb, x: usize, y: usize, colour: [u8; 3]) {
    let at = 3 * (y * sheet.width + x);
    sheet.pixels[at..at + 3].copy_from_slice(&colour);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAPER: [u8; 3] = [255; 3];

    #[test]
    fn pictures_and_titles_are_where_they_belong() {
        let tile = |title: &str, colour: [u8; 3]| Tile {
            title: title.into(),
            picture: Some(Rgb::new(4, 2, colour.repeat(8))),
        };
        let tiles = [
            tile("I", [255, 0, 0]),
            tile("", [0, 255, 0]),
            tile("x", [0, 0, 255]),
        ];
        let sheet = draw(&tiles, 2);
        assert_eq!((sheet.width, sheet.height), (2 * 232 + 8, 2 * 254 + 8));
        let at = |x: usize, y: usize| {
            let at = 3 * (y * sheet.width + x);
            [0, 1, 2].map(|c| sheet.pixels[at + c])
        };
        let middle = GAP + TILE / 2;
        let first_row = GAP + STRIP + TILE / 2;
        assert_eq!(at(middle, first_row), [255, 0, 0]);
        assert_eq!(at(middle + TILE + GAP, first_row), [0, 255, 0]);
        assert_eq!(at(middle, first_row + 254), [0, 0, 255]);
        // Twice as wide as high: paper above and below.
        assert_eq!(at(middle, GAP + STRIP + TILE / 4 - 2), PAPER);
        assert_eq!(at(middle, GAP + STRIP + TILE / 4 + 2), [255, 0, 0]);
        // The stem of the I, and above it.
        let dark = |y: usize| (GAP..GAP + 8).any(|x| at(x, y)[0] < 128);
        assert!(dark(GAP + BASELINE - 6) && !dark(GAP + BASELINE + 2) && !dark(GAP + 2));
    }

    #[test]
    fn titles_are_in_the_script_of_their_classes() {
        let draw = |title: &str| {
            let picture = None;
            let title = title.to_owned();
            draw(&[Tile { title, picture }], 1)
        };
        for [one, other] in [
            ["玫瑰", "百合"],
            ["кот", "пёс"],
            ["قط", "كلب"],
            ["แมว", "หมา"],
        ] {
            assert_ne!(draw(one), draw(other));
        }
    }

    #[test]
    fn long_titles_stay_above_their_tile() {
        let tile = || Tile {
            title: "W".repeat(100),
            picture: None,
        };
        let sheet = draw(&[tile()], 1);
        let right = GAP + TILE;
        let ink = (0..sheet.height).any(|y| {
            let at = 3 * (y * sheet.width + right);
            sheet.pixels[at..3 * (y + 1) * sheet.width]
                .iter()
                .any(|&v| v != 255)
        });
        assert!(!ink);
    }
}
