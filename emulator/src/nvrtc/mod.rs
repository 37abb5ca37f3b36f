//! `libnvrtc`: compiles `.cu` text with the system's C++ compiler.

mod api;
mod compile;
mod options;
mod rewrite;

use std::sync::OnceLock;

/// The prelude's files, in order of inclusion.
const PRELUDE: [&str; 6] = [
    include_str!("../prelude/thread.h"),
    include_str!("../prelude/types.h"),
    include_str!("../prelude/intrinsics.h"),
    include_str!("../prelude/collectives.h"),
    include_str!("../prelude/hooks.h"),
    include_str!("../prelude/entry.h"),
];

/// Fingerprint of what compiled kernels and the runtime have agreed on: cubins of another one are
/// refused, and the version that `nvrtcVersion` gives changes with it, so caches stay honest.
pub fn interface() -> u64 {
    static FINGERPRINT: OnceLock<u64> = OnceLock::new();
    *FINGERPRINT.get_or_init(|| {
        let texts = PRELUDE.iter().copied();
        let build = [env!("CARGO_PKG_VERSION"), compile::mode().name()];
        fnv1a(texts.chain(build).flat_map(str::bytes))
    })
}

/// Whether kernels tell the runtime about every load and store.
pub fn sees_every_access() -> bool {
    static SEES: OnceLock<bool> = OnceLock::new();
    *SEES.get_or_init(|| compile::mode() == compile::Mode::Checked)
}

fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ byte as u64).wrapping_mul(0x100_0000_01B3)
    })
}
