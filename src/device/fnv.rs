// FNV-1a with 128 bits: names of cache entries and their checksums. Included by build.rs, too.

/// FNV-1a, 128 bits (Fowler, Noll, Vo). Tells texts and damaged files apart; it is no defence
/// against a forger.
pub fn fnv1a(bytes: &[u8]) -> u128 {
    bytes
        .iter()
        .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, &byte| {
            (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        })
}
