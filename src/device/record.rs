//! What would be issued to a GPU.

use bytemuck::Pod;

use super::{Gpu, Launch};

/// What was issued to a GPU that is none ([`Gpu::record`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// In their order.
    pub launches: Vec<Launch>,
    /// Bytes of each allocation, in their order.
    pub allocations: Vec<usize>,
    /// Bytes of addresses given out.
    end: u64,
}

/// Addresses of the record begin here: 0 is a kernel's null.
const START: u64 = 1 << 20;
/// What the driver aligns allocations to.
const ALIGNMENT: u64 = 512;

impl Gpu {
    /// Notes an allocation of `len` values; its address.
    pub(super) fn note_allocation<T: Pod>(&self, len: usize) -> u64 {
        let mut record = self.recording().expect("asked of a record");
        let bytes = len * size_of::<T>();
        record.allocations.push(bytes);
        let address = START + record.end;
        record.end = (record.end + bytes as u64).next_multiple_of(ALIGNMENT);
        address
    }
}
