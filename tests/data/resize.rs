use libtest_mimic::Trial;
use vitcuda::data::Rgb;
use vitcuda::data::resize::{Axis, Filter, resize};

use crate::pictures::{crc32, noise};
use crate::plain;

pub fn trials() -> Vec<Trial> {
    vec![
        plain("resize equals Pillow for every filter", equals_pillow),
        plain(
            "resize equals a plain loop at odd sizes",
            equals_a_plain_loop,
        ),
        plain(
            "a part of a resize is cut from the whole",
            part_of_the_whole,
        ),
        plain("a part of a huge resize is cheap", huge_whole),
    ]
}

type Sides = (usize, usize);

/// CRC-32 of the planes of `noise` resized by Pillow 13.0.0, in the order of `Filter::ALL`.
/// (31, 200), (40, 300) and (33, 47) go vertically first.
const PILLOW: [(Sides, Sides, [u32; 5]); 10] = [
    (
        (1, 1),
        (8, 8),
        [0xcbddb0aa, 0xcbddb0aa, 0xcbddb0aa, 0xcbddb0aa, 0xcbddb0aa],
    ),
    (
        (97, 61),
        (32, 32),
        [0x60ea10de, 0xa5381516, 0x888e544c, 0xd47da989, 0xb5303eb2],
    ),
    (
        (31, 200),
        (16, 16),
        [0x5ed06feb, 0xb5c87673, 0x45143238, 0xdcdd4e6e, 0x4860c8bc],
    ),
    (
        (200, 31),
        (16, 16),
        [0xce0d077a, 0x316aa33d, 0xee7c60c3, 0x78100472, 0x94294128],
    ),
    (
        (33, 47),
        (33, 20),
        [0xd7033464, 0x8af66402, 0xceab7356, 0xb758f138, 0x2d0eed0d],
    ),
    (
        (33, 47),
        (20, 47),
        [0x18d4e0be, 0xaccfb42c, 0x2d391b9e, 0x44ff352a, 0xa668cfff],
    ),
    (
        (40, 300),
        (24, 24),
        [0x86bf678e, 0x99a422db, 0xab5219b8, 0x7c78dc9d, 0x69138f3f],
    ),
    (
        (64, 64),
        (64, 64),
        [0x43ed8d23, 0x43ed8d23, 0x43ed8d23, 0x43ed8d23, 0x43ed8d23],
    ),
    (
        (7, 5),
        (50, 41),
        [0xb6f15e36, 0xffdae819, 0xe25de41e, 0x20311aeb, 0x18887cef],
    ),
    (
        (300, 17),
        (9, 30),
        [0x19e69298, 0xf580635a, 0x88d92f94, 0xfd4ff5c9, 0x97b6a345],
    ),
];

fn equals_pillow() {
    for ((w, h), (width, height), wanted) in PILLOW {
        for (filter, wanted) in Filter::ALL.into_iter().zip(wanted) {
            let (columns, rows) = (Axis::whole(width), Axis::whole(height));
            let found = crc32(&resize(&noise(w, h), &columns, &rows, filter));
            assert_eq!(found, wanted, "{w} × {h} to {width} × {height}, {filter:?}");
        }
    }
}

/// Bilinear, one output value at a time.
fn plain_resize(image: &Rgb, width: usize, height: usize) -> Vec<u8> {
    let weights = |input: usize, output: usize, position: usize| {
        let scale = input as f64 / output as f64;
        let support = scale.max(1.0);
        let center = (position as f64 + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(input);
        let weight = |x: usize| {
            let distance = ((x as f64 - center + 0.5) * (1.0 / support)).abs();
            (1.0 - distance).max(0.0)
        };
        let sum: f64 = (first..end).map(weight).sum();
        (first..end)
            .map(|x| (x, (weight(x) / sum * 4_194_304.0 + 0.5) as i64))
            .collect::<Vec<_>>()
    };
    let mix = |taps: &[(usize, i64)], value: &dyn Fn(usize) -> u8| {
        let sum: i64 = taps.iter().map(|&(x, w)| i64::from(value(x)) * w).sum();
        ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8
    };
    let columns: Vec<_> = (0..width).map(|x| weights(image.width, width, x)).collect();
    let rows: Vec<_> = (0..height)
        .map(|y| weights(image.height, height, y))
        .collect();
    let input = |x: usize, y: usize, c: usize| image.pixels[3 * (y * image.width + x) + c];
    let shrinks = |from: usize, to: usize| from as i64 - to as i64;
    let vertically = shrinks(image.height, height);
    let vertical_first = vertically > 0 && vertically > 2 * shrinks(image.width, width);
    let value = |c: usize, y: usize, x: usize| {
        if vertical_first {
            mix(&columns[x], &|sx| mix(&rows[y], &|sy| input(sx, sy, c)))
        } else {
            mix(&rows[y], &|sy| mix(&columns[x], &|sx| input(sx, sy, c)))
        }
    };
    let plane = |c: usize| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x)));
    (0..3)
        .flat_map(plane)
        .map(|(c, y, x)| value(c, y, x))
        .collect()
}

fn equals_a_plain_loop() {
    for (w, h) in [
        (1, 1),
        (2, 3),
        (15, 16),
        (16, 17),
        (17, 33),
        (41, 7),
        (130, 65),
        (23, 190),
    ] {
        for (width, height) in [(1, 1), (3, 2), (16, 15), (43, 22), (22, 64)] {
            let image = noise(w, h);
            let (columns, rows) = (Axis::whole(width), Axis::whole(height));
            assert_eq!(
                resize(&image, &columns, &rows, Filter::Bilinear),
                plain_resize(&image, width, height),
                "{w} × {h} to {width} × {height}"
            );
        }
    }
}

fn part_of_the_whole() {
    for (w, h) in [(50, 40), (20, 90), (90, 20)] {
        let image = noise(w, h);
        let (columns, rows) = (Axis::whole(29), Axis::whole(31));
        let whole = resize(&image, &columns, &rows, Filter::Bicubic);
        let (columns, rows) = (Axis::middle(29, 16), Axis::middle(31, 20));
        let part = resize(&image, &columns, &rows, Filter::Bicubic);
        for (i, &value) in part.iter().enumerate() {
            let (c, y, x) = (i / 320, i / 16 % 20, i % 16);
            // 13 and 11 pixels are too many: 6 and 5 of them are cut in front.
            assert_eq!(
                value,
                whole[(c * 31 + y + 5) * 29 + x + 6],
                "{w} × {h}, {i}"
            );
        }
    }
}

/// The whole would have 14 GB.
fn huge_whole() {
    let long = noise(60_000, 1);
    let columns = Axis::middle(256 * 60_000, 224);
    let part = resize(&long, &columns, &Axis::middle(256, 224), Filter::Bicubic);
    assert_eq!(part.len(), 3 * 224 * 224);
}
