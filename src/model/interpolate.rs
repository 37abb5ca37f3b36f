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
    use approx::assert_abs_diff_eq;

    use super::*;

    /// Values of a grid that are exact in f32: ((37 i²) mod 100) / 16 − 3.
    fn table(side: usize, width: usize) -> Vec<f32> {
        let grid = (0..side * side * width).map(|i| (i * i * 37 % 100) as f32 / 16.0 - 3.0);
        std::iter::repeat_n(9.0, width).chain(grid).collect()
    }

    /// What `interpolate(…, mode="bicubic", align_corners=False)` of torch 2.15 (CPU, f32) makes
    /// of those grids, to six decimals.
    #[test]
    fn grids_match_torch() {
        check(
            2,
            3,
            1,
            &[
                -3.485645, -1.963108, -0.440572, -1.559679, -1.15625, -0.752821, 0.366286,
                -0.349393, -1.065071,
            ],
        );
        check(
            3,
            2,
            2,
            &[
                -1.925049, -0.803452, 1.16956, -0.49707, -0.742165, -0.404682, 0.390972, 2.026627,
            ],
        );
        check(
            3,
            5,
            1,
            &[
                -3.407329, -2.435161, -1.0175, -0.153338, 0.248928, -2.502161, -0.828597, 1.00175,
                0.159097, -0.919538, -1.2915, 0.79475, 2.75, 0.452749, -1.8395, -0.904339,
                -0.524903, -0.024251, 0.111902, 0.116039, -0.847072, -1.948538, -2.6615, -0.228962,
                1.908272,
            ],
        );
    }

    fn check(old: usize, new: usize, width: usize, wanted: &[f32]) {
        let found = positions(&table(old, width), old, new, width);
        // The class token's row comes through untouched.
        assert_eq!(found[..width], vec![9.0; width]);
        assert_eq!(found.len(), width + wanted.len());
        for (found, wanted) in found[width..].iter().zip(wanted) {
            // torch adds 16 products of values below 4 in f32; then the decimals' rounding.
            let tolerance = 16.0 * 4.0 * f32::EPSILON + 0.5e-6;
            assert_abs_diff_eq!(*found, *wanted, epsilon = tolerance);
        }
    }

    #[test]
    fn the_same_size_changes_nothing() {
        assert_eq!(positions(&table(3, 2), 3, 3, 2), table(3, 2));
    }
}
