//! `ldmatrix` and `mma`, with the fragment layouts of the PTX ISA ("Matrix fragments for
//! mma.m16n8k8 / mma.m16n8k16 with floating-point type", "Warp-level matrix load instruction").
//!
//! With g = lane / 4 and t = lane % 4, registers low half first:
//!   A (16×k, row): r0 = (g, 2t..), r1 = (g+8, 2t..), r2 = (g, 2t+8..), r3 = (g+8, 2t+8..)
//!   B (k×8, col):  r0 = (2t.., g), r1 = (2t+8.., g)
//!   C, D (16×8):   c0 c1 = (g, 2t..), c2 c3 = (g+8, 2t..)

use super::block::Block;
use super::shared::{Problem, Who};
use super::thread::{LANES, Warp};
use crate::status::Status;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    F16,
    Bf16,
}

/// What a warp multiplies with one A fragment: 16 rows of up to 16.
type Left = [[f32; 16]; 16];
/// And with one B fragment: up to 16 rows of 8.
type Right = [[f32; 8]; 16];

/// c[m][n] += a[m]·b[n] for the whole warp, with m = `detail & 0xFF` and n = `detail >> 8`: each
/// product exact, sums in f32, k ascending.
///
/// # Safety
/// The warp's `pointers` lead to c[m][n][4], a[m][depth / 4] and b[n][depth / 8] of each lane.
pub unsafe fn mma(warp: &mut Warp, format: Format, depth: usize, detail: u32) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
    {
        // SAFETY: the features were just found; the pointers are the caller's promise.
        unsafe { mma_avx2(warp, format, depth, detail) };
        return;
    }
    // SAFETY: as the caller says.
    unsafe { mma_in(warp, format, depth, detail, half_to_float) }
}

/// # Safety
/// As [`mma`], on a processor with AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn mma_avx2(warp: &mut Warp, format: Format, depth: usize, detail: u32) {
    use std::arch::x86_64::*;
    let half = |bits| _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))));
    // SAFETY: as the caller says.
    unsafe { mma_in(warp, format, depth, detail, half) }
}

/// # Safety
/// As [`mma`].
#[inline(always)]
unsafe fn mma_in(
    warp: &mut Warp,
    format: Format,
    depth: usize,
    detail: u32,
    half: impl Fn(u16) -> f32,
) {
    let (rows, columns) = ((detail & 0xFF) as usize, (detail >> 8) as usize);
    let pair = |word: u32| match format {
        Format::F16 => (half(word as u16), half((word >> 16) as u16)),
        Format::Bf16 => (
            f32::from_bits(word << 16),
            f32::from_bits(word & 0xFFFF_0000),
        ),
    };
    let [to, left, right] = &warp.pointers;
    let (a_words, b_words) = (depth / 4, depth / 8);
    let mut b: Vec<Right> = vec![[[0.0; 8]; 16]; columns];
    for (lane, &first) in right.iter().enumerate() {
        let (g, t) = (lane / 4, lane % 4 * 2);
        // SAFETY (here and below): the lane's arrays, of the sizes the caller promised.
        let words = unsafe { std::slice::from_raw_parts(first as *const u32, columns * b_words) };
        for (b, words) in b.iter_mut().zip(words.chunks_exact(b_words)) {
            for (r, &word) in words.iter().enumerate() {
                let k = t + 8 * r;
                (b[k][g], b[k + 1][g]) = pair(word);
            }
        }
    }
    for m in 0..rows {
        let mut a: Left = [[0.0; 16]; 16];
        for (lane, &first) in left.iter().enumerate() {
            let (g, t) = (lane / 4, lane % 4 * 2);
            let first = (first as *const u32).wrapping_add(m * a_words);
            // SAFETY: as above.
            let words = unsafe { std::slice::from_raw_parts(first, a_words) };
            for (r, &word) in words.iter().enumerate() {
                let (row, k) = (g + r % 2 * 8, t + r / 2 * 8);
                (a[row][k], a[row][k + 1]) = pair(word);
            }
        }
        for (n, b) in b.iter().enumerate() {
            let mut c = [[0f32; 8]; 16];
            let tile = |lane: usize| (to[lane] as *mut [f32; 4]).wrapping_add(m * columns + n);
            for lane in 0..LANES {
                let (g, t) = (lane / 4, lane % 4 * 2);
                // SAFETY: as above.
                let [c0, c1, c2, c3] = unsafe { *tile(lane) };
                (c[g][t], c[g][t + 1], c[g + 8][t], c[g + 8][t + 1]) = (c0, c1, c2, c3);
            }
            for (row, sum) in a.iter().zip(&mut c) {
                for (&left, right) in row[..depth].iter().zip(b) {
                    for n in 0..8 {
                        sum[n] += left * right[n];
                    }
                }
            }
            for lane in 0..LANES {
                let (g, t) = (lane / 4, lane % 4 * 2);
                // SAFETY: as above.
                unsafe { *tile(lane) = [c[g][t], c[g][t + 1], c[g + 8][t], c[g + 8][t + 1]] };
            }
        }
    }
}

/// IEEE half to f32, for hosts without the instruction.
fn half_to_float(bits: u16) -> f32 {
    let sign = (bits as u32 & 0x8000) << 16;
    let magnitude = (bits & 0x7FFF) as u32;
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000); // 2^112
    let bits = match magnitude >= 0x7C00 {
        true => 0x7F80_0000 | (magnitude & 0x3FF) << 13,
        false => scaled.to_bits(),
    };
    f32::from_bits(sign | bits)
}

/// Loads 1, 2 or 4 matrices (`detail & 0xFF`), transposed with `detail & 0x100`. An error names
/// the lane that brought the bad row address.
///
/// # Safety
/// The warp's second `pointers` lead to arrays of as many registers.
pub unsafe fn ldmatrix(
    run: &mut Block,
    warp: &mut Warp,
    detail: u32,
) -> Result<(), (usize, Status, String)> {
    let count = (detail & 0xFF) as usize;
    let transposed = detail & 0x100 != 0;
    for m in 0..count {
        let mut rows = [[0u16; 8]; 8];
        let mut offsets = [0; 8];
        for r in 0..8 {
            let lane = 8 * m + r;
            let address = warp.pointers[0][lane] as usize;
            if !address.is_multiple_of(16) {
                let text = format!("brings a row address that is no multiple of 16 ({address:#x})");
                return Err((lane, Status::ERROR_MISALIGNED_ADDRESS, text));
            }
            if !run.shared.contains(address) {
                let text = format!(
                    "brings a row address outside shared memory: {}",
                    crate::memory::describe(address)
                );
                return Err((lane, Status::ERROR_ILLEGAL_ADDRESS, text));
            }
            let who = Who {
                thread: warp.index * LANES as u32 + lane as u32,
                warp_epoch: warp.epoch,
                whole_warp: true,
            };
            match run.shared.read(address, 16, who) {
                Ok(()) => {}
                Err(Problem::Outside(text)) => {
                    return Err((lane, Status::ERROR_ILLEGAL_ADDRESS, format!("reads {text}")));
                }
                Err(Problem::Misuse(text)) => {
                    return Err((lane, Status::ERROR_LAUNCH_FAILED, text));
                }
            }
            // SAFETY: the 16 bytes were just checked.
            rows[r] = unsafe { *(address as *const [u16; 8]) };
            offsets[r] = run.shared.offset(address) as u32;
        }
        run.counters.ldmatrix_bank_conflicts += bank_conflicts(&offsets, 16);
        for lane in 0..LANES {
            let (g, t) = (lane / 4, lane % 4 * 2);
            let (first, second) = match transposed {
                false => (rows[g][t], rows[g][t + 1]),
                true => (rows[t][g], rows[t + 1][g]),
            };
            let to = (warp.pointers[1][lane] as *mut u32).wrapping_add(m);
            // SAFETY: register m of the lane, says the caller.
            unsafe { *to = first as u32 | (second as u32) << 16 };
        }
    }
    run.counters.ldmatrix += 1;
    Ok(())
}

/// Cycles beyond the first that 32 banks of 4 bytes need to serve accesses of `bytes` bytes at
/// these offsets, 128 bytes in all: the most distinct words that one bank has to deliver, less one.
pub fn bank_conflicts(offsets: &[u32], bytes: u32) -> u64 {
    // The usual case: as many pieces as fit beside one another, each in its own banks.
    let slots = 128 / bytes;
    let taken = offsets
        .iter()
        .fold(0u32, |taken, offset| taken | 1 << (offset / bytes % slots));
    if taken.count_ones() as usize == offsets.len() {
        return 0;
    }
    let mut words = [[u32::MAX; 32]; 32];
    let mut depth = [0usize; 32];
    for word in offsets
        .iter()
        .flat_map(|&offset| offset / 4..(offset + bytes) / 4)
    {
        let bank = word as usize % 32;
        let used = &mut words[bank][..=depth[bank].min(31)];
        if !used.contains(&word) {
            used[depth[bank].min(31)] = word;
            depth[bank] = (depth[bank] + 1).min(31);
        }
    }
    depth.iter().max().map_or(0, |&most| most.saturating_sub(1)) as u64
}
