//! The few messages of TensorBoard's `event.proto` and `summary.proto` that are needed, encoded by
//! hand: a field is its number and wire type, then its value.

/// Wire types of protocol buffers.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A message as it is being put together.
#[derive(Default)]
pub struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn whole(mut self, field: u64, value: u64) -> Self {
        self.key(field, VARINT);
        self.varint(value);
        self
    }

    fn double(mut self, field: u64, value: f64) -> Self {
        self.key(field, FIXED64);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(mut self, field: u64, value: f32) -> Self {
        self.key(field, FIXED32);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, value: impl AsRef<[u8]>) -> Self {
        self.key(field, BYTES);
        self.varint(value.as_ref().len() as u64);
        self.0.extend(value.as_ref());
        self
    }

    /// The finished bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// An `Event` of this time, in seconds since 1970, at `step`.
fn event(seconds: f64, step: u64) -> Message {
    Message::default().double(1, seconds).whole(2, step)
}

/// What every file begins with.
pub fn file_version(seconds: f64) -> Message {
    event(seconds, 0).bytes(3, "brain.Event:2")
}

/// Points of this step and later ones, written before, are void.
pub fn session_start(seconds: f64, step: u64) -> Message {
    const START: u64 = 1;
    event(seconds, step).bytes(7, Message::default().whole(1, START))
}

/// The value of a curve at `step`.
pub fn scalar(seconds: f64, step: u64, tag: &str, value: f32) -> Message {
    let value = Message::default().bytes(1, tag).float(2, value);
    event(seconds, step).bytes(5, Message::default().bytes(1, value))
}

/// A text, as PyTorch's `SummaryWriter.add_text` writes it: a string tensor of shape (1).
pub fn text(seconds: f64, name: &str, text: &str) -> Message {
    const STRING: u64 = 7;
    let shape = Message::default().bytes(2, Message::default().whole(1, 1));
    let tensor = Message::default().whole(1, STRING).bytes(2, shape);
    let plugin = Message::default().bytes(1, "text");
    let value = Message::default()
        .bytes(1, format!("{name}/text_summary"))
        .bytes(8, tensor.bytes(8, text))
        .bytes(9, Message::default().bytes(1, plugin));
    event(seconds, 0).bytes(5, Message::default().bytes(1, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the encoding's documentation: field 1 = 150, field 2 = "testing".
    #[test]
    fn fields_are_encoded_as_documented() {
        let message = Message::default().whole(1, 150).bytes(2, "testing");
        assert_eq!(message.finish(), b"\x08\x96\x01\x12\x07testing");
    }

    #[test]
    fn a_scalar_is_an_event_with_a_summary() {
        let event = scalar(1.0, 300, "a", 0.5).finish();
        let expected =
            b"\x09\0\0\0\0\0\0\xf0\x3f\x10\xac\x02\x2a\x0a\x0a\x08\x0a\x01a\x15\0\0\0\x3f";
        assert_eq!(event, expected);
    }
}
