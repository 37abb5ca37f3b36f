//! What the dots of a character are, a byte; `build.rs` writes it.

/// None: no font has the character, or the outlines have it.
pub const NONE: u8 = 0;

/// 8 columns of 16 dots.
pub const HALF: u8 = 1;

/// 16 columns.
pub const FULL: u8 = 2;

/// Set for what is drawn onto the character before.
pub const MARK: u8 = 4;
