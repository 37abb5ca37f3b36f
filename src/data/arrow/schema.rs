//! The columns of an Arrow file.

use super::flatbuffer::Table;

/// A column, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
    pub children: Vec<Field>,
    /// Number of its first buffer in each batch: which rows are there.
    pub buffer: usize,
}

/// What a column holds, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers of so many bytes.
    Int {
        bytes: usize,
        is_signed: bool,
    },
    /// Places in a buffer have 32 bits, or 64.
    Text {
        is_large: bool,
    },
    Bytes {
        is_large: bool,
    },
    Struct,
    /// Something that is neither an image nor a label.
    Other(&'static str),
}

impl Kind {
    /// The type in a word.
    pub fn name(self) -> String {
        match self {
            Self::Int { bytes, is_signed } => {
                format!("{}int{}", if is_signed { "" } else { "u" }, 8 * bytes)
            }
            Self::Text { .. } => "text".into(),
            Self::Bytes { .. } => "bytes".into(),
            Self::Struct => "struct".into(),
            Self::Other(name) => name.into(),
        }
    }
}

/// Fields within fields.
const DEPTH: usize = 16;

/// The fields of a schema's table and the text of its entry `huggingface`; the error says which type
/// has a layout that is not known.
pub fn read(schema: Table) -> Result<(Vec<Field>, Option<String>), String> {
    const BROKEN: &str = "its schema is broken";
    if schema.byte(0) != 0 {
        return Err("its numbers are big-endian".into());
    }
    let mut reader = Reader {
        buffers: 0,
        room: schema.room(),
    };
    let tables = schema.tables(1).ok_or(BROKEN)?;
    let fields = tables.into_iter().map(|table| reader.field(table, 0));
    let fields = fields.collect::<Result<_, _>>()?;
    let entries = schema.tables(2).ok_or(BROKEN)?;
    let said = entries.iter().find(|e| e.text(0) == Some("huggingface"));
    Ok((fields, said.and_then(|e| e.text(1)).map(str::to_owned)))
}

/// Where the reading of a schema has got to.
struct Reader {
    /// Buffers of the fields so far.
    buffers: usize,
    /// Bytes of the schema that they leave. Places in it may be named any number of times, so that
    /// without this count a few bytes were fields within fields without end.
    room: usize,
}

impl Reader {
    fn field(&mut self, table: Table, depth: usize) -> Result<Field, String> {
        const BROKEN: &str = "its schema is broken";
        /// Where its table is, and where that has its list of places.
        const LEAST: usize = 8;
        let name = table.text(0).unwrap_or_default();
        let room = self.room.checked_sub(LEAST + name.len());
        self.room = room.filter(|_| depth <= DEPTH).ok_or(BROKEN)?;
        let (kind, own) = match table.table(4) {
            Some(_) => (Kind::Other("a dictionary"), 2),
            None => kind(table.byte(2), table.table(3))
                .ok_or_else(|| format!("column `{name}` is of a type that is not read"))?,
        };
        let buffer = self.buffers;
        self.buffers += own;
        let children = match table.table(4) {
            Some(_) => Vec::new(),
            None => table.tables(5).ok_or(BROKEN)?,
        };
        let children = children.into_iter().map(|t| self.field(t, depth + 1));
        Ok(Field {
            name: name.to_owned(),
            kind,
            children: children.collect::<Result<_, _>>()?,
            buffer,
        })
    }
}

/// A type, and how many buffers it has besides those of its children.
fn kind(number: u8, detail: Option<Table>) -> Option<(Kind, usize)> {
    Some(match number {
        1 => (Kind::Other("null"), 0),
        2 => {
            let detail = detail?;
            let is_signed = detail.byte(1) != 0;
            let bytes = match detail.int(0) {
                8 => 1,
                16 => 2,
                32 => 4,
                64 => 8,
                _ => return None,
            };
            (Kind::Int { bytes, is_signed }, 2)
        }
        3 => (Kind::Other("floating point"), 2),
        4 => (Kind::Bytes { is_large: false }, 3),
        5 => (Kind::Text { is_large: false }, 3),
        6 => (Kind::Other("bool"), 2),
        7..=11 | 15 | 18 => (Kind::Other("a time or a decimal"), 2),
        12 | 17 | 21 => (Kind::Other("list"), 2),
        13 => (Kind::Struct, 1),
        16 => (Kind::Other("list"), 1),
        19 => (Kind::Bytes { is_large: true }, 3),
        20 => (Kind::Text { is_large: true }, 3),
        _ => return None,
    })
}
