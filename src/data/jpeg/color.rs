//! From components to RGB, to the bit as libjpeg and Pillow.

/// What the components of an image are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColorSpace {
    Grey,
    YCbCr,
    Rgb,
    /// Cyan, magenta, yellow and black, all inverted as Adobe's programs write them.
    Cmyk,
    /// The same with the first three turned into YCbCr.
    Ycck,
}

/// What the file says about colours, besides the components.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hints {
    is_jfif: bool,
    /// The transform byte of an Adobe segment.
    adobe: Option<u8>,
}

impl Hints {
    /// Looks at an APP0 segment.
    pub fn read_app0(&mut self, segment: &[u8]) {
        self.is_jfif |= segment.len() >= 14 && segment.starts_with(b"JFIF\0");
    }

    /// Looks at an APP14 segment (Adobe Technical Note 5116, section 18).
    pub fn read_app14(&mut self, segment: &[u8]) {
        if segment.len() >= 12 && segment.starts_with(b"Adobe") {
            self.adobe = Some(segment[11]);
        }
    }

    /// The colour space by libjpeg's rules (`default_decompress_parms`).
    pub fn color_space(self, ids: &[u8]) -> ColorSpace {
        match (ids.len(), self.adobe, ids) {
            (1, ..) => ColorSpace::Grey,
            (3, ..) if self.is_jfif => ColorSpace::YCbCr,
            (3, Some(0), _) | (3, None, b"RGB") => ColorSpace::Rgb,
            (3, ..) => ColorSpace::YCbCr,
            (_, None | Some(0), _) => ColorSpace::Cmyk,
            _ => ColorSpace::Ycck,
        }
    }
}

impl ColorSpace {
    /// Turns a row of each component into a row of interleaved RGB.
    #[inline(always)]
    pub fn row(self, components: &[&[u8]], output: &mut [u8]) {
        let (pixels, _) = output.as_chunks_mut::<3>();
        match (self, components) {
            (Self::Grey, [grey]) => {
                for (pixel, &grey) in pixels.iter_mut().zip(*grey) {
                    *pixel = [grey; 3];
                }
            }
            (Self::YCbCr, [y, cb, cr]) => ycbcr_row(y, cb, cr, pixels),
            (Self::Rgb, [r, g, b]) => {
                for (((pixel, &r), &g), &b) in pixels.iter_mut().zip(*r).zip(*g).zip(*b) {
                    *pixel = [r, g, b];
                }
            }
            (Self::Cmyk, [c, m, y, k]) => {
                let inks = c.iter().zip(*m).zip(*y).zip(*k);
                for (pixel, (((&c, &m), &y), &k)) in pixels.iter_mut().zip(inks) {
                    *pixel = [c, m, y].map(|ink| on_black(ink, k));
                }
            }
            (Self::Ycck, [y, cb, cr, k]) => {
                let inks = y.iter().zip(*cb).zip(*cr).zip(*k);
                for (pixel, (((&y, &cb), &cr), &k)) in pixels.iter_mut().zip(inks) {
                    *pixel = ycbcr_to_rgb(y, cb, cr).map(|light| on_black(255 - light, k));
                }
            }
            _ => unreachable!("the colour space was chosen by the number of components"),
        }
    }
}

/// Stretches of a row become planes first: so each of the two loops vectorises.
#[inline(always)]
fn ycbcr_row(y: &[u8], cb: &[u8], cr: &[u8], pixels: &mut [[u8; 3]]) {
    const STRETCH: usize = 64;
    let (stretches, rest) = pixels.as_chunks_mut::<STRETCH>();
    let done = stretches.len() * STRETCH;
    let (ys, _) = y.as_chunks::<STRETCH>();
    let (cbs, _) = cb.as_chunks::<STRETCH>();
    let (crs, _) = cr.as_chunks::<STRETCH>();
    for (((pixels, y), cb), cr) in stretches.iter_mut().zip(ys).zip(cbs).zip(crs) {
        let (mut red, mut green, mut blue) = ([0; STRETCH], [0; STRETCH], [0; STRETCH]);
        for i in 0..STRETCH {
            red[i] = red_of(y[i], cr[i]);
        }
        for i in 0..STRETCH {
            green[i] = green_of(y[i], cb[i], cr[i]);
        }
        for i in 0..STRETCH {
            blue[i] = blue_of(y[i], cb[i]);
        }
        for i in 0..STRETCH {
            pixels[i] = [red[i], green[i], blue[i]];
        }
    }
    let rows = y[done..].iter().zip(&cb[done..]).zip(&cr[done..]);
    for (pixel, ((&y, &cb), &cr)) in rest.iter_mut().zip(rows) {
        *pixel = ycbcr_to_rgb(y, cb, cr);
    }
}

/// ITU-T T.871, section 7, in 16-bit fixed point; libjpeg's tables hold the same numbers.
#[inline(always)]
fn ycbcr_to_rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    [red_of(y, cr), green_of(y, cb, cr), blue_of(y, cb)]
}

const HALF: i32 = 1 << 15;

#[inline(always)]
fn red_of(y: u8, cr: u8) -> u8 {
    let cr = i32::from(cr) - 128;
    (i32::from(y) + ((91_881 * cr + HALF) >> 16)).clamp(0, 255) as u8 // 1.402
}

#[inline(always)]
fn green_of(y: u8, cb: u8, cr: u8) -> u8 {
    let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
    let product = 22_554 * cb + 46_802 * cr; // 0.34414, 0.71414
    (i32::from(y) + ((HALF - product) >> 16)).clamp(0, 255) as u8
}

#[inline(always)]
fn blue_of(y: u8, cb: u8) -> u8 {
    let cb = i32::from(cb) - 128;
    (i32::from(y) + ((116_130 * cb + HALF) >> 16)).clamp(0, 255) as u8 // 1.772
}

/// Pillow's `cmyk2rgb` of inverted inks: `ink` and `black` are 255 where there is none.
#[inline(always)]
fn on_black(ink: u8, black: u8) -> u8 {
    let light = i32::from(black);
    let product = i32::from(255 - ink) * light + 128;
    let absorbed = (product + (product >> 8)) >> 8;
    (light - absorbed).clamp(0, 255) as u8
}
