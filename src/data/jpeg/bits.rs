//! Bits of the compressed data, the highest of each byte first (ITU-T T.81, F.2.2).

/// Where a reader stands in its data; the data itself may move in between.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// First byte that is not wholly in `buffer`.
    at: usize,
    /// The next bits, from the top. Those beyond `count` are what refilling would put there, or zero.
    buffer: u64,
    count: u32,
}

/// Reads bits of data without stuffed bytes; behind its end there are zeros without end.
#[derive(Clone, Copy)]
pub struct Bits<'a> {
    data: &'a [u8],
    place: Place,
}

impl<'a> Bits<'a> {
    pub fn resume(data: &'a [u8], place: Place) -> Self {
        Self { data, place }
    }

    pub fn place(&self) -> Place {
        self.place
    }

    /// Whether bits behind the end of the data were taken.
    pub fn is_overrun(&self) -> bool {
        8 * self.place.at > 8 * self.data.len() + self.place.count as usize
    }

    /// Bits taken so far, and bits there are.
    pub fn taken(&self) -> (usize, usize) {
        let taken = 8 * self.place.at - self.place.count as usize;
        (taken, 8 * self.data.len())
    }

    /// Makes sure that at least 56 bits can be taken.
    #[inline(always)]
    pub fn refill(&mut self) {
        let Place { at, buffer, count } = &mut self.place;
        let word = match self.data.get(*at..*at + 8) {
            Some(bytes) => u64::from_be_bytes(bytes.try_into().expect("eight bytes")),
            None => last_word(self.data, *at),
        };
        *buffer |= word >> *count;
        *at += ((63 - *count) >> 3) as usize;
        *count |= 56;
    }

    /// Number of bits that can be taken before the next refill.
    #[inline(always)]
    pub fn available(&self) -> u32 {
        self.place.count
    }

    /// The next 1 to 32 bits, which stay.
    #[inline(always)]
    pub fn peek(&self, count: u32) -> u32 {
        (self.place.buffer >> (64 - count)) as u32
    }

    #[inline(always)]
    pub fn skip(&mut self, count: u32) {
        self.place.buffer <<= count;
        self.place.count -= count;
    }

    /// Takes 0 to 16 bits.
    #[inline(always)]
    pub fn take(&mut self, count: u32) -> u32 {
        let value = (self.place.buffer >> 1 >> (63 - count)) as u32;
        self.skip(count);
        value
    }

    /// Takes a number of `count` bits whose upper half stands for itself and whose lower half for
    /// negative numbers (T.81, F.2.2.1: RECEIVE and EXTEND).
    #[inline(always)]
    pub fn take_signed(&mut self, count: u32) -> i32 {
        let value = self.take(count) as i32;
        extend(value, count)
    }
}

/// T.81, figure F.12.
#[inline(always)]
pub fn extend(value: i32, count: u32) -> i32 {
    if value < (1 << count) >> 1 {
        value - (1 << count) + 1
    } else {
        value
    }
}

#[cold]
fn last_word(data: &[u8], at: usize) -> u64 {
    let rest = data.get(at..).unwrap_or_default();
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(bytes)
}
