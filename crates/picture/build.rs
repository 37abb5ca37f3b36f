//! Packs the letters: outlines of DejaVu Sans, and dots of GNU Unifont for what it lacks.

use std::path::PathBuf;
use std::{env, fs};

use ttf_parser::Face;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
use unifont::Glyph;

#[path = "src/text/kind.rs"]
mod kind;

const OUTLINES: &str = "fonts/DejaVuSans.ttf";

/// Writes `outlines.zst` and `dots.zst`.
fn main() {
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={OUTLINES}");
    println!("cargo::rerun-if-changed=src/text/kind.rs");
    let outlines = fs::read(OUTLINES).expect("the font is there");
    let face = Face::parse(&outlines, 0).expect("the font is one");
    let dots = dots(|character| face.glyph_index(character).is_some());
    for (name, bytes) in [("outlines.zst", &outlines), ("dots.zst", &dots)] {
        let packed = zstd::bulk::compress(bytes, 19).expect("memory takes it");
        fs::write(folder.join(name), packed).expect("cargo's output folder is writable");
    }
}

/// The kind of each character of the basic plane, a byte each; then the dots of those that have
/// some, 16 bytes for each column of eight, a row a byte.
fn dots(has_outline: impl Fn(char) -> bool) -> Vec<u8> {
    let (mut kinds, mut columns) = (Vec::new(), Vec::new());
    for code in 0..=0xffff {
        let character = char::from_u32(code).filter(|&c| !has_outline(c) && !c.is_control());
        let Some((character, glyph)) = character.and_then(|c| Some((c, unifont::get_glyph(c)?)))
        else {
            kinds.push(kind::NONE);
            continue;
        };
        let mark = match character.general_category_group() {
            GeneralCategoryGroup::Mark => kind::MARK,
            _ => 0,
        };
        match glyph {
            Glyph::Halfwidth(rows) => {
                kinds.push(kind::HALF | mark);
                columns.extend(rows);
            }
            Glyph::Fullwidth(rows) => {
                kinds.push(kind::FULL | mark);
                columns.extend(rows.map(|row| row.to_be_bytes()[0]));
                columns.extend(rows.map(|row| row.to_be_bytes()[1]));
            }
        }
    }
    kinds.extend(columns);
    kinds
}
