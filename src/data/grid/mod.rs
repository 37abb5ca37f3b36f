//! Pictures in rows and columns, each under its title: one picture to look at.

mod letters;

use super::resize::{Axis, Filter, resize};
use super::rgb::Rgb;

/// Side of the square that a picture is fitted into.
const TILE: usize = 224;

/// Pixels between tiles, and around them.
const GAP: usize = 8;

/// Height of the strip that holds a title.
const STRIP: usize = 22;

/// Pixels of the grid for each dot of a letter.
const DOT: usize = 2;

const PAPER: [u8; 3] = [255; 3];
const INK: [u8; 3] = [32; 3];

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
    let mut sheet = Rgb::new(width, height, PAPER.repeat(width * height));
    for (i, tile) in tiles.iter().enumerate() {
        let x = GAP + i % columns * (TILE + GAP);
        let y = GAP + i / columns * (STRIP + TILE + GAP);
        write(&mut sheet, &tile.title, x, y);
        if let Some(picture) = &tile.picture {
            paste(&mut sheet, picture, x, y + STRIP);
        }
    }
    sheet
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

/// Writes a line from the corner (x, y) on, as far as the tile goes.
fn write(sheet: &mut Rgb, text: &str, x: usize, y: usize) {
    let room = (TILE + DOT) / (DOT * letters::ADVANCE);
    let length = text.chars().count();
    let shown: String = match length > room {
        true => text.chars().take(room - 2).chain("..".chars()).collect(),
        false => text.to_owned(),
    };
    for (n, letter) in shown.chars().enumerate() {
        for (column, dots) in letters::columns(letter).into_iter().enumerate() {
            for row in (0..8).filter(|row| dots >> row & 1 == 1) {
                let left = x + DOT * (n * letters::ADVANCE + column);
                for (dx, dy) in (0..DOT).flat_map(|dx| (0..DOT).map(move |dy| (dx, dy))) {
                    set(sheet, left + dx, y + DOT * row + dy, INK);
                }
            }
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
        // The stem of the I is its third column; the first is empty.
        assert_eq!(at(GAP + 2 * DOT, GAP + 3 * DOT), INK);
        assert_eq!(at(GAP, GAP + 3 * DOT), PAPER);
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
