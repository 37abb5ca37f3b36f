//! Position embeddings for another image size.

/// Resamples a (1 + old², C) table of positions to (1 + new², C).
///
/// The class token's row stays; the grid of patches is resampled bicubically, pixel centres
/// aligned, borders repeated, no antialiasing: `torch.nn.functional.interpolate(mode="bicubic",
/// align_corners=False)`, as transformers' `interpolate_pos_encoding` calls it at every forward
/// pass. (timm's `resample_abs_pos_embed` antialiases instead.) Done in f64, so that the result is
/// within rounding of PyTorch's.
pub fn positions(old: &[f32], old_side: usize, new_side: usize, width: usize) -> Vec<f32> {
    assert_eq!(old.len(), (1 + old_side * old_side) * width, "positions");
    let (class, grid) = old.split_at(width);
    let taps = taps(old_side, new_side);
    let mut new = Vec::with_capacity((1 + new_side * new_side) * width);
    new.extend_from_slice(class);
    let mut sum = vec![0.0; width];
    for row in &taps {
        for column in &taps {
            sum.fill(0.0);
            for &(y, wy) in row {
                for &(x, wx) in column {
                    let at = (y * old_side + x) * width;
                    for (s, &value) in sum.iter_mut().zip(&grid[at..at + width]) {
                        *s += wy * wx * f64::from(value);
                    }
                }
            }
            new.extend(sum.iter().map(|&s| s as f32));
        }
    }
    new
}

/// For each new position on one axis: four old ones and their weights.
fn taps(old: usize, new: usize) -> Vec<[(usize, f64); 4]> {
    let scale = old as f64 / new as f64;
    (0..new)
        .map(|i| {
            let centre = scale * (i as f64 + 0.5) - 0.5;
            let first = centre.floor() - 1.0;
            [0.0, 1.0, 2.0, 3.0].map(|k| {
                let at = first + k;
                let clamped = at.clamp(0.0, (old - 1) as f64) as usize;
                (clamped, cubic(centre - at))
            })
        })
        .collect()
}

/// Keys' cubic convolution kernel with a = −0.75 ("Cubic Convolution Interpolation for Digital
/// Image Processing", 1981; PyTorch's choice of a).
fn cubic(distance: f64) -> f64 {
    const A: f64 = -0.75;
    let d = distance.abs();
    match d {
        0.0..=1.0 => ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0,
        1.0..=2.0 => ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of a grid that are exact in f32: ((37 i²) mod 100) / 16 − 3.
    fn table(side: usize, width: usize) -> Vec<f32> {
        let grid = (0..side * side * width).map(|i| (i * i * 37 % 100) as f32 / 16.0 - 3.0);
        std::iter::repeat_n(9.0, width).chain(grid).collect()
    }

    /// What `interpolate(…, mode="bicubic", align_corners=False)` of torch 2.15 (CPU, f32) makes
    /// of those grids.
    #[test]
    fn grids_match_torch() {
        check(
            2,
            3,
            1,
            &[
                -3.4856453,
                -1.9631082,
                -0.44057202,
                -1.5596792,
                -1.15625,
                -0.75282139,
                0.36628568,
                -0.34939271,
                -1.0650709,
            ],
        );
        check(
            3,
            2,
            2,
            &[
                -1.9250488,
                -0.80345154,
                1.1695595,
                -0.49707031,
                -0.74216461,
                -0.40468216,
                0.39097214,
                2.0266266,
            ],
        );
        check(
            3,
            5,
            1,
            &[
                -3.4073286,
                -2.4351614,
                -1.0174999,
                -0.15333842,
                0.24892791,
                -2.5021613,
                -0.82859719,
                1.0017499,
                0.15909722,
                -0.9195379,
                -1.2914999,
                0.79475015,
                2.75,
                0.45274901,
                -1.8395002,
                -0.90433854,
                -0.52490252,
                -0.024250969,
                0.11190169,
                0.11603859,
                -0.84707236,
                -1.9485378,
                -2.6615002,
                -0.2289615,
                1.9082724,
            ],
        );
    }

    fn check(old: usize, new: usize, width: usize, wanted: &[f32]) {
        let found = positions(&table(old, width), old, new, width);
        // The class token's row comes through untouched.
        assert_eq!(found[..width], vec![9.0; width]);
        assert_eq!(found.len(), width + wanted.len());
        for (found, wanted) in found[width..].iter().zip(wanted) {
            // torch adds 16 products of values below 4 in f32.
            let tolerance = 16.0 * 4.0 * f32::EPSILON;
            assert!((found - wanted).abs() <= tolerance, "{found} {wanted}");
        }
    }

    #[test]
    fn the_same_size_changes_nothing() {
        assert_eq!(positions(&table(3, 2), 3, 3, 2), table(3, 2));
    }
}
