//! Coefficients of blocks, and the order they come in.

use crate::memory::{self, OutOfMemory};

/// Coefficients of 8 × 8 samples, row by row, still to be multiplied by the quantisation table.
pub type Block = [i16; 64];

/// Place in a [`Block`] by place in the zigzag order (ITU-T T.81, figure 5). Damaged data can run
/// fifteen beyond the end; as in libjpeg, that ends in the last coefficient.
pub const ZIGZAG: [u8; 64 + 16] = {
    let mut order = [63; 64 + 16];
    let (mut row, mut column) = (0, 0);
    let mut k = 0;
    while k < 64 {
        order[k] = 8 * row + column;
        let is_rising = (row + column) % 2 == 0;
        (row, column) = match (is_rising, row, column) {
            (true, _, 7) => (row + 1, 7),
            (true, 0, _) => (0, column + 1),
            (true, _, _) => (row - 1, column + 1),
            (false, 7, _) => (7, column + 1),
            (false, _, 0) => (row + 1, 0),
            (false, _, _) => (row + 1, column - 1),
        };
        k += 1;
    }
    order
};

/// The blocks of one component, or of some rows of it.
pub struct Grid {
    blocks: Vec<Block>,
    /// Blocks in a row, those beyond the image's edge included.
    width: usize,
}

impl Grid {
    /// A grid of zeros.
    pub fn new(width: usize, height: usize) -> Result<Self, OutOfMemory> {
        Ok(Self {
            blocks: memory::zeroed(width * height)?,
            width,
        })
    }

    #[inline(always)]
    pub fn block(&mut self, row: usize, column: usize) -> &mut Block {
        &mut self.blocks[row * self.width + column]
    }

    /// `count` rows of blocks from `first` on.
    pub fn rows(&self, first: usize, count: usize) -> &[Block] {
        &self.blocks[first * self.width..(first + count) * self.width]
    }

    pub fn clear(&mut self) {
        self.blocks.fill([0; 64]);
    }
}
