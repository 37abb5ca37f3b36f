//! From coefficients to pixels, a band of blocks at a time, so that all of it stays in the cache.

use pulp::{Arch, Simd, WithSimd};

use super::coefficients::Block;
use super::color::ColorSpace;
use super::frame::{Component, Frame};
use super::idct;
#[cfg(target_arch = "x86_64")]
use super::lanes::Avx2;
use super::lanes::{Lanes, Plain};
use super::upsample::Upsampling;
use crate::memory::{self, OutOfMemory};

/// The picture as far as it is made.
pub struct Picture {
    width: usize,
    height: usize,
    color_space: ColorSpace,
    /// Largest vertical sampling factor: image rows to a sample of the coarsest component.
    finest: usize,
    planes: Vec<Plane>,
    /// Bands taken in.
    bands: usize,
    total_bands: usize,
    #[cfg(target_arch = "x86_64")]
    avx2: Option<pulp::x86::V3>,
    /// (H, W, 3), as far as made.
    pixels: Vec<u8>,
}

/// Samples of one component: the present band, and above it what interpolation still wants of the
/// one before.
struct Plane {
    samples: Vec<u8>,
    stride: usize,
    /// Samples that count, across and down the image.
    size: (usize, usize),
    /// Rows kept of the band before, and rows of a band.
    rows: (usize, usize),
    upsampling: Upsampling,
    /// A row brought to the width of the image.
    wide: Vec<u8>,
}

impl Picture {
    /// A picture of which nothing is made yet; `upsampling` is that of the components.
    pub fn new(
        frame: &Frame,
        color_space: ColorSpace,
        upsampling: &[Upsampling],
    ) -> Result<Self, OutOfMemory> {
        let plane = |(component, &upsampling): (&Component, &Upsampling)| {
            let (across, down) = component.factors;
            let stride = 8 * across * frame.mcus.0;
            let rows = (down + 1, 8 * down);
            Plane {
                samples: vec![0; (rows.0 + rows.1) * stride],
                stride,
                size: component.size,
                rows,
                upsampling,
                wide: vec![0; component.size.0 * upsampling.factors().0],
            }
        };
        Ok(Self {
            width: frame.width,
            height: frame.height,
            color_space,
            finest: frame.finest.1,
            planes: frame.components.iter().zip(upsampling).map(plane).collect(),
            bands: 0,
            total_bands: frame.mcus.1,
            #[cfg(target_arch = "x86_64")]
            avx2: pulp::x86::V3::try_new(),
            pixels: memory::zeroed(3 * frame.width * frame.height)?,
        })
    }

    /// Takes in the next row of units: for each component, its blocks row by row, and its
    /// quantisation table.
    pub fn add_band(&mut self, band: &[(&[Block], &Block)]) {
        Arch::new().dispatch(AddBand {
            picture: self,
            band,
        });
    }

    /// (H, W, 3), once all bands are in.
    pub fn into_pixels(self) -> Vec<u8> {
        debug_assert_eq!(self.bands, self.total_bands);
        self.pixels
    }
}

// A type, not a closure: only what is inlined into `with_simd` is compiled for the wide vectors,
// and the way into a closure is not.
struct AddBand<'a> {
    picture: &'a mut Picture,
    band: &'a [(&'a [Block], &'a Block)],
}

impl WithSimd for AddBand<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { picture, band } = self;
        for (plane, &(blocks, quantization)) in picture.planes.iter_mut().zip(band) {
            #[cfg(target_arch = "x86_64")]
            if let Some(simd) = picture.avx2 {
                plane.add_band::<Avx2>(simd, blocks, quantization);
                continue;
            }
            plane.add_band::<Plain>((), blocks, quantization);
        }
        picture.make_rows();
    }
}

impl Plane {
    #[inline(always)]
    fn add_band<L: Lanes>(&mut self, token: L::Token, blocks: &[Block], quantization: &Block) {
        let (kept, new) = self.rows;
        self.samples.copy_within(new * self.stride.., 0);
        let band = self.samples[kept * self.stride..].chunks_exact_mut(8 * self.stride);
        for (samples, blocks) in band.zip(blocks.chunks_exact(self.stride / 8)) {
            for (column, block) in blocks.iter().enumerate() {
                let samples = &mut samples[8 * column..];
                idct::transform::<L>(token, block, quantization, samples, self.stride);
            }
        }
    }

    /// Row `y` of the component, counted from the top of the image; the edges repeat.
    #[inline(always)]
    fn row(&self, y: usize, bands: usize) -> &[u8] {
        let (kept, new) = self.rows;
        let y = y.min(self.size.1 - 1);
        // The newest band ends where `bands` bands end.
        let place = y + kept + new - bands * new;
        &self.samples[place * self.stride..][..self.size.0]
    }
}

impl Picture {
    /// Makes the rows for which all samples have come: interpolation looks one ahead, so the last
    /// ones wait for the next band.
    #[inline(always)]
    fn make_rows(&mut self) {
        let rows_by = |bands: usize| (8 * bands).saturating_sub(1) * self.finest;
        let first = rows_by(self.bands);
        self.bands += 1;
        let end = if self.bands == self.total_bands {
            self.height
        } else {
            rows_by(self.bands)
        };
        for y in first..end {
            for plane in &mut self.planes {
                plane.make_wide(y, self.bands);
            }
            let output = &mut self.pixels[3 * self.width * y..][..3 * self.width];
            match &self.planes[..] {
                [a] => self.color_space.row(&[&a.wide], output),
                [a, b, c] => self.color_space.row(&[&a.wide, &b.wide, &c.wide], output),
                [a, b, c, d] => {
                    let rows: [&[u8]; 4] = [&a.wide, &b.wide, &c.wide, &d.wide];
                    self.color_space.row(&rows, output);
                }
                _ => unreachable!("frames have one, three or four components"),
            }
        }
    }
}

impl Plane {
    /// Brings the samples of row `y` of the image to its width.
    #[inline(always)]
    fn make_wide(&mut self, y: usize, bands: usize) {
        let down = self.upsampling.factors().1;
        let near = y / down;
        let far = match y % down {
            0 => near.saturating_sub(1),
            _ => near + 1,
        };
        let mut wide = std::mem::take(&mut self.wide);
        let (near, far) = (self.row(near, bands), self.row(far, bands));
        self.upsampling.row(y, near, far, &mut wide);
        self.wide = wide;
    }
}
