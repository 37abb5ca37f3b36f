//! Pictures: pixels, files of them, and what is drawn and written onto them.

mod canvas;
mod outline;
mod rgb;
mod text;

pub use canvas::{Anchor, Canvas, Ink, Lettering};
pub use rgb::Rgb;
pub use text::{fit, width};
