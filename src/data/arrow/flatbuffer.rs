//! As much of FlatBuffers as Arrow's messages need: tables, their fields, vectors. Every place is
//! checked; what lies beyond the bytes is not there.

/// A table within a buffer.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Table<'a> {
    /// The root of a buffer.
    pub fn root(bytes: &'a [u8]) -> Option<Self> {
        let at = u32_at(bytes, 0)? as usize;
        Some(Self { bytes, at })
    }

    /// Bytes of the buffer.
    pub fn room(&self) -> usize {
        self.bytes.len()
    }

    /// Where field number `field` lies, if it was written.
    fn place(&self, field: usize) -> Option<usize> {
        let back = i64::from(u32_at(self.bytes, self.at)? as i32);
        let vtable = usize::try_from(self.at as i64 - back).ok()?;
        let size = usize::from(u16_at(self.bytes, vtable)?);
        let slot = 4 + 2 * field;
        if slot + 2 > size {
            return None;
        }
        match u16_at(self.bytes, vtable.checked_add(slot)?)? {
            0 => None,
            offset => self.at.checked_add(offset.into()),
        }
    }

    /// A number of one byte; 0 where it was left out.
    pub fn byte(&self, field: usize) -> u8 {
        let place = self.place(field);
        place
            .and_then(|at| self.bytes.get(at))
            .copied()
            .unwrap_or(0)
    }

    /// A number of four bytes; 0 where it was left out.
    pub fn int(&self, field: usize) -> i32 {
        let place = self.place(field);
        place.and_then(|at| u32_at(self.bytes, at)).unwrap_or(0) as i32
    }

    /// A number of eight bytes; 0 where it was left out.
    pub fn long(&self, field: usize) -> i64 {
        let place = self.place(field);
        place.and_then(|at| i64_at(self.bytes, at)).unwrap_or(0)
    }

    pub fn table(&self, field: usize) -> Option<Self> {
        let at = self.place(field)?;
        self.follow(at)
    }

    fn follow(&self, at: usize) -> Option<Self> {
        let at = at.checked_add(u32_at(self.bytes, at)? as usize)?;
        Some(Self {
            bytes: self.bytes,
            at,
        })
    }

    /// Where the items of a vector lie, and how many there are.
    fn vector(&self, field: usize, item: usize) -> Option<(usize, usize)> {
        let vector = self.table(field)?.at;
        let count = u32_at(self.bytes, vector)? as usize;
        let end = count.checked_mul(item)?.checked_add(vector + 4)?;
        (end <= self.bytes.len()).then_some((vector + 4, count))
    }

    pub fn text(&self, field: usize) -> Option<&'a str> {
        let (at, count) = self.vector(field, 1)?;
        std::str::from_utf8(&self.bytes[at..at + count]).ok()
    }

    /// The tables of a vector of them.
    pub fn tables(&self, field: usize) -> Option<Vec<Self>> {
        let Some((at, count)) = self.vector(field, 4) else {
            return Some(Vec::new());
        };
        (0..count).map(|i| self.follow(at + 4 * i)).collect()
    }

    /// A vector of pairs of numbers of eight bytes.
    pub fn pairs(&self, field: usize) -> Option<Vec<(i64, i64)>> {
        let Some((at, count)) = self.vector(field, 16) else {
            return Some(Vec::new());
        };
        let pair = |i: usize| {
            let at = at + 16 * i;
            Some((i64_at(self.bytes, at)?, i64_at(self.bytes, at + 8)?))
        };
        (0..count).map(pair).collect()
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let number = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(number.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let number = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(number.try_into().ok()?))
}

fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    let number = bytes.get(at..at.checked_add(8)?)?;
    Some(i64::from_le_bytes(number.try_into().ok()?))
}
