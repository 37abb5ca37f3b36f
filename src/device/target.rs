//! Which architecture the kernels of a GPU are compiled for.

/// Chips that share their memory with a CPU: Orin (87) and its like (88), Thor as CUDA 12.9 (101)
/// and as 13.0 call it (110). NVIDIA promises that a cubin runs on later chips of its family only
/// among graphics cards: what is for one of these runs there alone, and nothing else runs on them.
const ALONE: [u32; 4] = [87, 88, 101, 110];

/// The architecture, as 75 for sm_75, whose cubins run on a GPU of `capability`: its own, or the
/// newest one before it of the same family (equal major number) that NVRTC `knows`.
///
/// `None` where NVRTC knows none; one that cannot say what it knows is taken to know all.
pub fn target(knows: &[u32], (major, minor): (u32, u32)) -> Option<u32> {
    let own = 10 * major + minor;
    if knows.is_empty() || knows.contains(&own) {
        return Some(own);
    }
    let runs = |&&arch: &&u32| arch / 10 == major && arch < own && !ALONE.contains(&arch);
    let newest = knows.iter().filter(runs).max();
    newest.copied().filter(|_| !ALONE.contains(&own))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the releases say they know, without what is too old for the kernels.
    const NVRTC_12_0: &[u32] = &[75, 80, 86, 87, 89, 90];
    const NVRTC_12_8: &[u32] = &[75, 80, 86, 87, 89, 90, 100, 101, 120];
    const NVRTC_13_0: &[u32] = &[75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121];

    #[test]
    fn every_gpu_gets_its_own_or_the_next_older_of_its_family() {
        for (knows, capability, expected) in [
            (NVRTC_12_0, (7, 5), Some(75)),
            (NVRTC_12_0, (8, 6), Some(86)),
            (NVRTC_12_0, (8, 7), Some(87)),
            (NVRTC_12_8, (10, 3), Some(100)),
            (NVRTC_12_8, (12, 1), Some(120)),
            (NVRTC_13_0, (10, 3), Some(103)),
            (NVRTC_13_0, (11, 0), Some(110)),
            (NVRTC_13_0, (12, 1), Some(121)),
            // An NVRTC that does not say.
            (&[], (8, 9), Some(89)),
        ] {
            assert_eq!(target(knows, capability), expected, "{capability:?}");
        }
    }

    #[test]
    fn a_gpu_without_relatives_gets_none() {
        for (knows, capability) in [
            (NVRTC_12_0, (10, 0)),
            (NVRTC_12_0, (12, 0)),
            (NVRTC_12_8, (11, 0)),
            (NVRTC_13_0, (14, 2)),
        ] {
            assert_eq!(target(knows, capability), None, "{capability:?}");
        }
    }

    #[test]
    fn what_shares_its_memory_with_a_cpu_stands_alone() {
        assert_eq!(target(&[80, 86], (8, 7)), None);
        assert_eq!(target(NVRTC_12_0, (8, 8)), None);
        assert_eq!(target(&[80, 86, 87], (8, 9)), Some(86), "not Orin's");
        assert_eq!(target(&[100, 101], (10, 3)), Some(100), "not Thor's");
    }
}
