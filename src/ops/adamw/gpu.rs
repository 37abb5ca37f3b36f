//! AdamW on a GPU: `kernels/adamw.cu`.

use std::ops::Range;

use super::{AdamW, CHECK, Constants, Rates};
use crate::device::kernels::Adamw;
use crate::device::structs::{AdamwTile, StepState, UpdateRates};
use crate::device::{Buffer, Element, Geometry, Gpu, Kernel, Properties, Slice, Specialisation};
use crate::error::Result;
use crate::ops::gpu::{GpuOp, Storage, Stored};
use crate::ops::registry::{Case, Gradients, Pass};

const THREADS: u32 = 256;
/// Values of a block: four packs a thread.
const TILE: usize = 4096;

/// Whether weight decay applies to a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    Applies,
    None,
}

/// An arena cut into tiles that decay or do not; on the device.
#[derive(Debug)]
pub struct Tiles {
    tiles: Buffer<AdamwTile>,
    /// Values of the arena.
    len: usize,
}

impl Tiles {
    /// Tiles of an arena that consists of `tensors`, in order; values before the first are left alone.
    ///
    /// # Panics
    /// If there is a gap between tensors, or the arena has 2³¹ values or more.
    pub fn new(
        gpu: &Gpu,
        tensors: impl IntoIterator<Item = (Range<usize>, Decay)>,
    ) -> Result<Self> {
        let tiles = cut(tensors);
        let len = tiles.last().map_or(0, |t| (t.start + t.length) as usize);
        Ok(Self {
            tiles: gpu.upload(&tiles)?,
            len,
        })
    }
}

fn cut(tensors: impl IntoIterator<Item = (Range<usize>, Decay)>) -> Vec<AdamwTile> {
    // Neighbours of one kind are one piece.
    let mut pieces: Vec<(Range<usize>, Decay)> = Vec::new();
    for (range, decay) in tensors {
        match pieces.last_mut() {
            Some((last, kind)) if *kind == decay && last.end == range.start => last.end = range.end,
            _ => pieces.push((range, decay)),
        }
    }
    let mut tiles = Vec::new();
    let mut end = pieces.first().map_or(0, |(range, _)| range.start);
    for (range, decay) in pieces {
        assert_eq!(range.start, end, "adamw: a gap in the arena");
        end = range.end;
        tiles.extend(range.clone().step_by(TILE).map(|start| AdamwTile {
            start: i32::try_from(start).expect("an arena of less than 2³¹ values"),
            length: TILE.min(range.end - start) as i32,
            decays: i32::from(decay == Decay::Applies),
        }));
    }
    assert!(i32::try_from(end).is_ok(), "an arena of 2³¹ values");
    tiles
}

/// The schedule of a run for the device: row u is update u + 1, at `learning_rates[u]`.
pub fn schedule(
    learning_rates: impl IntoIterator<Item = f64>,
    weight_decay: f64,
    constants: Constants,
) -> Vec<UpdateRates> {
    let row = |(lr, step)| rates(lr, weight_decay, constants, step);
    learning_rates.into_iter().zip(1..).map(row).collect()
}

/// The numbers of update `step`, 1 for the first, at learning rate `lr`.
pub fn rates(lr: f64, weight_decay: f64, constants: Constants, step: u64) -> UpdateRates {
    let rates = Rates::new(constants, lr, weight_decay, step);
    UpdateRates {
        learning_rate: lr as f32,
        keep: rates.keep as f32,
        rate: rates.rate as f32,
        root: rates.root as f32,
    }
}

/// What AdamW works on: arenas of one layout.
#[derive(Debug, Clone, Copy)]
pub struct Arenas<'a> {
    pub params: Slice<'a, f32>,
    /// First and second moments.
    pub first: Slice<'a, f32>,
    pub second: Slice<'a, f32>,
    /// The parameters in 16 bits.
    pub copy: Slice<'a, Element>,
    pub gradients: Slice<'a, f32>,
}

/// One update, with the rates and the factor that `state` holds; none after an overflow.
///
/// # Panics
/// If the arenas and the tiles disagree, or an arena is not aligned to 16 bytes.
pub fn update(
    gpu: &Gpu,
    arenas: Arenas,
    tiles: &Tiles,
    state: Slice<StepState>,
    constants: Constants,
) -> Result<()> {
    let Arenas {
        params,
        first,
        second,
        copy,
        gradients,
    } = arenas;
    for (what, arena) in [
        ("parameters", params),
        ("first moments", first),
        ("second moments", second),
        ("gradients", gradients),
    ] {
        assert_eq!(arena.len(), tiles.len, "adamw: {what}");
        assert!(arena.is_aligned_to(16), "adamw: {what} at {arena:?}");
    }
    assert_eq!(copy.len(), tiles.len, "adamw: 16-bit copy");
    assert!(copy.is_aligned_to(8), "adamw: 16-bit copy at {copy:?}");
    assert_eq!(state.len(), 1, "adamw: state");
    if tiles.len == 0 {
        return Ok(());
    }
    let kernel = Adamw {
        p: params.ptr(),
        m: first.ptr(),
        v: second.ptr(),
        copy: copy.ptr(),
        g: gradients.ptr(),
        tiles: tiles.tiles.all().ptr(),
        state: state.ptr(),
        rest1: (1.0 - constants.beta1) as f32,
        beta2: constants.beta2 as f32,
        rest2: (1.0 - constants.beta2) as f32,
        epsilon: constants.epsilon as f32,
    };
    let geometry = Geometry::line(tiles.tiles.len(), THREADS);
    // SAFETY: the tiles lie within `tiles.len` values, the length of every arena.
    unsafe { gpu.launch(&kernel, &specialisation(), geometry) }
}

fn specialisation() -> Specialisation {
    Adamw::specialise(&[])
}

impl GpuOp for AdamW {
    fn stored(&self, _: &Case) -> Stored {
        Stored {
            inputs: &[Storage::F32; 4],
            outputs: &[Storage::F32; 3],
            output_gradients: &[],
            input_gradients: &[],
        }
    }

    fn gpu_forward(&self, gpu: &Gpu, _: &Case, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let [p, m, root_v, g] = inputs else {
            unreachable!()
        };
        let n = p.len();
        let v: Vec<f32> = root_v.iter().map(|r| r * r).collect();
        let (p, m, v, g) = (
            gpu.upload(p)?,
            gpu.upload(m)?,
            gpu.upload(&v)?,
            gpu.upload(g)?,
        );
        let copy = gpu.alloc(n)?;
        let rates = Rates::new(CHECK.constants, CHECK.lr, CHECK.weight_decay, CHECK.step);
        let state = gpu.upload(&[StepState {
            gradient_factor: CHECK.coefficient as f32,
            keep: rates.keep as f32,
            rate: rates.rate as f32,
            root: rates.root as f32,
            ..StepState::new(1.0, CHECK.step as i32)
        }])?;
        let arenas = Arenas {
            params: p.all(),
            first: m.all(),
            second: v.all(),
            copy: copy.all(),
            gradients: g.all(),
        };
        let tiles = Tiles::new(gpu, [(0..n, Decay::Applies)])?;
        update(gpu, arenas, &tiles, state.all(), CHECK.constants)?;
        Ok(vec![
            gpu.read(p.all())?,
            gpu.read(m.all())?,
            gpu.read(v.all())?,
        ])
    }

    fn gpu_backward(
        &self,
        _: &Gpu,
        _: &Case,
        _: &[Vec<f32>],
        _: &[Vec<f32>],
        _: usize,
    ) -> Result<Gradients<f32>> {
        Ok(Vec::new())
    }

    fn gpu_bytes(&self, _: &Properties, case: &Case, _: Pass) -> u64 {
        let n = case.dim("n");
        // Four arrays read, three and the copy written; tiles; five words of the state.
        (n * (4 * 4 + 3 * 4 + 2) + n.div_ceil(TILE) * size_of::<AdamwTile>() + 5 * 4) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_arena_and_keep_to_one_kind() {
        let tensors = [
            (0..5000, Decay::Applies),
            (5000..5003, Decay::None),
            (5003..5010, Decay::None),
            (5010..5011, Decay::Applies),
        ];
        let tile = |start, length, decays| AdamwTile {
            start,
            length,
            decays,
        };
        let expected = [
            tile(0, 4096, 1),
            tile(4096, 904, 1),
            tile(5000, 10, 0),
            tile(5010, 1, 1),
        ];
        assert_eq!(cut(tensors), expected);
    }

    #[test]
    #[should_panic(expected = "a gap in the arena")]
    fn a_gap_is_refused() {
        cut([(0..4, Decay::None), (5..6, Decay::Applies)]);
    }
}
