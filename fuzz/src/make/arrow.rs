//! Arrow streams as `save_to_disk` of Hugging Face's `datasets` writes them, and the files beside them.

use serde_json::{Value, json};
use vitcuda::data::digits;

use super::{Made, made};

const NAMES: &str = r#"{"info": {"features": {"image": {"_type": "Image"}, "label": {"names":
    ["zero", "one", "two"], "_type": "ClassLabel"}}}}"#;

/// How a stream is made.
#[derive(Clone, Copy)]
struct Layout {
    /// A struct of bytes and path, or bytes.
    is_struct: bool,
    /// Bits of a whole number; none where labels are text.
    label_bits: Option<i32>,
    /// Places in buffers have 64 bits.
    is_large: bool,
    features: Option<&'static str>,
}

const PLAIN: Layout = Layout {
    is_struct: true,
    label_bits: Some(64),
    is_large: false,
    features: Some(NAMES),
};

pub fn all() -> Vec<Made> {
    let bytes = |label_bits, is_large| Layout {
        is_struct: false,
        label_bits,
        is_large,
        features: None,
    };
    let streams = [
        ("plain", PLAIN),
        ("ints", bytes(Some(8), false)),
        ("text", bytes(None, false)),
        ("large", bytes(None, true)),
    ];
    let streams =
        streams.map(|(name, layout)| made("arrow", format!("{name}.arrow"), stream(layout, 5)));
    let files = [
        ("state.json", state()),
        ("dataset_dict.json", parts().to_string()),
    ];
    let files = files.map(|(name, text)| made("arrow", name, text));
    streams.into_iter().chain(files).collect()
}

/// A stream of two rows.
pub fn small() -> Vec<u8> {
    stream(PLAIN, 2)
}

/// What lies beside `data.arrow`.
pub fn state() -> String {
    json!({ "_data_files": [{ "filename": "data.arrow" }], "_indices_files": [], "_split": "train" })
        .to_string()
}

/// What lies beside the folders of a train and a test part.
pub fn parts() -> Value {
    json!({ "splits": ["train", "test"] })
}

/// As much of FlatBuffers as messages are made of.
enum Flat {
    Byte(u8),
    Int(i32),
    Long(i64),
    Text(&'static str),
    /// Fields by number.
    Table(Vec<(usize, Flat)>),
    Tables(Vec<Flat>),
    Pairs(Vec<(i64, i64)>),
}

impl Flat {
    /// Appends it and gives its place; what stands in its table's slot has none.
    fn write(&self, out: &mut Vec<u8>) -> Option<usize> {
        match self {
            Self::Byte(_) | Self::Int(_) | Self::Long(_) => None,
            Self::Text(text) => Some(vector(out, text.len(), text.as_bytes())),
            Self::Pairs(pairs) => {
                let numbers = pairs.iter().flat_map(|&(a, b)| [a, b]);
                let bytes: Vec<u8> = numbers.flat_map(i64::to_le_bytes).collect();
                Some(vector(out, pairs.len(), &bytes))
            }
            Self::Tables(tables) => {
                let place = vector(out, tables.len(), &vec![0; 4 * tables.len()]);
                for (i, table) in tables.iter().enumerate() {
                    table.write_for(place + 4 + 4 * i, out);
                }
                Some(place)
            }
            Self::Table(fields) => Some(table(fields, out)),
        }
    }

    /// Writes it for the slot at `slot`: into it, or a reference to it.
    fn write_for(&self, slot: usize, out: &mut Vec<u8>) {
        let number = match self {
            Self::Byte(number) => i64::from(*number),
            Self::Int(number) => i64::from(*number),
            Self::Long(number) => *number,
            _ => {
                let place = self.write(out).expect("all but numbers have a place");
                let offset = ((place - slot) as u32).to_le_bytes();
                return out[slot..slot + 4].copy_from_slice(&offset);
            }
        };
        out[slot..slot + 8].copy_from_slice(&number.to_le_bytes());
    }
}

fn vector(out: &mut Vec<u8>, count: usize, items: &[u8]) -> usize {
    pad(out);
    out.extend([0; 4]); // so that the items lie at a multiple of eight bytes
    let place = out.len();
    out.extend((count as u32).to_le_bytes());
    out.extend(items);
    place
}

/// A table whose slots have eight bytes each.
fn table(fields: &[(usize, Flat)], out: &mut Vec<u8>) -> usize {
    pad(out);
    let head = out.len();
    let slots = fields
        .iter()
        .map(|(number, _)| number + 1)
        .max()
        .unwrap_or(0);
    out.extend((4 + 2 * slots as u16).to_le_bytes());
    out.extend((8 + 8 * fields.len() as u16).to_le_bytes());
    out.extend(vec![0; 2 * slots]);
    pad(out);
    let place = out.len();
    out.extend(((place - head) as u32).to_le_bytes());
    out.extend(vec![0; 4 + 8 * fields.len()]);
    for (i, (number, value)) in fields.iter().enumerate() {
        let offset = 8 + 8 * i;
        let entry = head + 4 + 2 * number;
        out[entry..entry + 2].copy_from_slice(&(offset as u16).to_le_bytes());
        value.write_for(place + offset, out);
    }
    place
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(8), 0);
}

fn message(kind: u8, content: Flat, body: &[u8]) -> Vec<u8> {
    let fields = vec![
        (0, Flat::Int(4)),
        (1, Flat::Byte(kind)),
        (2, content),
        (3, Flat::Long(body.len() as i64)),
    ];
    let mut head = vec![0; 8];
    let root = table(&fields, &mut head);
    head[..4].copy_from_slice(&(root as u32).to_le_bytes());
    pad(&mut head);
    let length = (head.len() as u32).to_le_bytes();
    [&[0xff; 4][..], &length, &head, body].concat()
}

fn stream(layout: Layout, rows: usize) -> Vec<u8> {
    const BATCH: usize = 3;
    let mut file = message(1, schema(layout), b"");
    for start in (0..rows).step_by(BATCH) {
        let (content, body) = batch(layout, start..rows.min(start + BATCH));
        file.extend(message(3, content, &body));
    }
    file.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    file
}

fn field(name: &'static str, kind: u8, detail: Vec<(usize, Flat)>, children: Vec<Flat>) -> Flat {
    Flat::Table(vec![
        (0, Flat::Text(name)),
        (1, Flat::Byte(1)),
        (2, Flat::Byte(kind)),
        (3, Flat::Table(detail)),
        (5, Flat::Tables(children)),
    ])
}

fn schema(layout: Layout) -> Flat {
    let (bytes, text) = if layout.is_large { (19, 20) } else { (4, 5) };
    let image = if layout.is_struct {
        let parts = [("bytes", bytes), ("path", text)];
        let parts = parts.map(|(name, kind)| field(name, kind, vec![], vec![]));
        field("image", 13, vec![], parts.into())
    } else {
        field("image", bytes, vec![], vec![])
    };
    let label = match layout.label_bits {
        Some(bits) => {
            let detail = vec![(0, Flat::Int(bits)), (1, Flat::Byte(1))];
            field("label", 2, detail, vec![])
        }
        None => field("label", text, vec![], vec![]),
    };
    let said = layout.features.map(|said| {
        let entry = vec![(0, Flat::Text("huggingface")), (1, Flat::Text(said))];
        Flat::Table(entry)
    });
    Flat::Table(vec![
        (1, Flat::Tables(vec![image, label])),
        (2, Flat::Tables(said.into_iter().collect())),
    ])
}

/// Some rows: the head of their message, and its body. The last one has no label.
fn batch(layout: Layout, rows: std::ops::Range<usize>) -> (Flat, Vec<u8>) {
    let count = rows.len();
    let texts = |values: Vec<Vec<u8>>| {
        let mut places: Vec<u64> = vec![0];
        for value in &values {
            places.push(places[places.len() - 1] + value.len() as u64);
        }
        let size = if layout.is_large { 8 } else { 4 };
        let places = places.iter().flat_map(|p| p.to_le_bytes()[..size].to_vec());
        [places.collect(), values.concat()]
    };
    let images = texts(
        rows.clone()
            .map(|row| digits::image(row).to_png())
            .collect(),
    );
    let names = texts(
        rows.clone()
            .map(|row| format!("{row}.png").into())
            .collect(),
    );
    let some = vec![0xff >> (8 - count) >> 1];
    let mut buffers: Vec<Vec<u8>> = Vec::new();
    if layout.is_struct {
        buffers.push(vec![]);
    }
    buffers.push(vec![]);
    buffers.extend(images);
    if layout.is_struct {
        buffers.push(vec![]);
        buffers.extend(names);
    }
    buffers.push(some);
    match layout.label_bits {
        Some(bits) => {
            let number = |row: usize| (row as u64 % 3).to_le_bytes()[..bits as usize / 8].to_vec();
            buffers.push(rows.flat_map(number).collect());
        }
        None => buffers.extend(texts(rows.map(|row| vec![b'a' + row as u8 % 2]).collect())),
    }
    let (mut body, mut places) = (Vec::new(), Vec::new());
    for buffer in buffers {
        places.push((body.len() as i64, buffer.len() as i64));
        body.extend(buffer);
        pad(&mut body);
    }
    let columns = if layout.is_struct { 4 } else { 2 };
    let head = Flat::Table(vec![
        (0, Flat::Long(count as i64)),
        (1, Flat::Pairs(vec![(count as i64, 0); columns])),
        (2, Flat::Pairs(places)),
    ]);
    (head, body)
}
