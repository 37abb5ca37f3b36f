//! How allocations take a device's memory: in granules of 2 MiB, which small ones share.

use std::collections::{BTreeMap, HashMap};

/// The driver gives memory to allocations in pieces of this size.
pub const GRANULE: usize = 2 << 20;
/// The largest allocation that shares a granule with others.
const SMALL: usize = 1 << 20;
/// What a small allocation's size is rounded up to.
const STEP: usize = 512;

/// The granules that are taken.
#[derive(Debug, Default)]
pub struct Granules {
    /// By device: bytes taken of each granule that small allocations share.
    shared: HashMap<usize, Vec<usize>>,
    /// By address of the allocation.
    taken: BTreeMap<usize, Taken>,
}

#[derive(Debug)]
struct Taken {
    device: usize,
    bytes: usize,
    /// For a small allocation, the shared granule.
    granule: Option<usize>,
}

/// What an allocation of `bytes` takes of a granule, or of memory.
fn rounded(bytes: usize) -> usize {
    match bytes {
        ..=SMALL => bytes.next_multiple_of(STEP),
        _ => bytes.next_multiple_of(GRANULE),
    }
}

impl Granules {
    /// The shared granule of the device in which `bytes` more have room.
    fn room(&self, device: usize, bytes: usize) -> Option<usize> {
        let shared = self.shared.get(&device)?;
        // Not in an empty one: that is the device's again.
        shared
            .iter()
            .position(|&used| used > 0 && used + rounded(bytes) <= GRANULE)
    }

    /// Bytes that an allocation of `bytes` would take of the device.
    pub fn needed(&self, device: usize, bytes: usize) -> usize {
        match bytes {
            ..=SMALL if self.room(device, bytes).is_some() => 0,
            ..=SMALL => GRANULE,
            _ => rounded(bytes),
        }
    }

    /// Bytes of the device that are taken.
    pub fn used(&self, device: usize) -> usize {
        let shared = self.shared.get(&device).into_iter().flatten();
        let own = self.taken.values().filter(|one| one.device == device);
        let own = own.filter(|one| one.granule.is_none());
        GRANULE * shared.filter(|&&used| used > 0).count()
            + own.map(|one| rounded(one.bytes)).sum::<usize>()
    }

    /// Books an allocation.
    pub fn take(&mut self, device: usize, base: usize, bytes: usize) {
        let granule = (bytes <= SMALL).then(|| self.share(device, bytes));
        let taken = Taken {
            device,
            bytes,
            granule,
        };
        self.taken.insert(base, taken);
    }

    /// Finds `bytes` a place in a shared granule, a fresh one where no other has room.
    fn share(&mut self, device: usize, bytes: usize) -> usize {
        let room = self.room(device, bytes);
        let shared = self.shared.entry(device).or_default();
        let granule = room.or_else(|| shared.iter().position(|&used| used == 0));
        let granule = granule.unwrap_or_else(|| {
            shared.push(0);
            shared.len() - 1
        });
        shared[granule] += rounded(bytes);
        granule
    }

    /// Books that the allocation at `base` is freed.
    pub fn give_back(&mut self, base: usize) {
        let Some(taken) = self.taken.remove(&base) else {
            return;
        };
        let shared = self.shared.get_mut(&taken.device);
        if let (Some(granule), Some(shared)) = (taken.granule, shared) {
            shared[granule] -= rounded(taken.bytes);
        }
    }
}
