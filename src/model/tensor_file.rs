//! safetensors files: f32 out; f32, f16, bf16 or f64 in. They are read, not mapped into memory: a
//! mapped file that another program cuts short ends the process.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata};
use serde_json::json;

use super::broken_file;
use crate::error::{Error, Result};
use crate::{files, memory};

/// An open safetensors file whose header has been checked against the file's size.
pub struct TensorFile {
    path: PathBuf,
    file: Mutex<File>,
    header: Metadata,
    /// Where the tensors' bytes start in the file.
    data: u64,
}

impl TensorFile {
    /// Opens `path` and checks its header; reads no tensor and allocates nothing in proportion to
    /// what the header claims.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let refused = |e| Error::io(path, "read it", e);
        let mut file = files::open_regular(path).map_err(|e| {
            if path.exists() {
                Error::model(path, format!("{e}, wanted a safetensors file"), "")
            } else {
                refused(e)
            }
        })?;
        let bytes = file.metadata().map_err(refused)?.len();
        let start = start(&mut file, bytes).map_err(refused)?;
        let header =
            header(&start, bytes).ok_or_else(|| broken_file::explain(path, &start, bytes))?;
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(file),
            header,
            data: start.len() as u64,
        })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of all tensors, in the order of their data.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// Shape of the tensor called `name`, if there is one.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.header.info(name).map(|info| &info.shape[..])
    }

    /// An entry of the header's `__metadata__`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.header
            .metadata()
            .as_ref()?
            .get(key)
            .map(String::as_str)
    }

    /// An error unless the tensor `name` exists, has this shape, and is of a type that
    /// [`Self::read`] reads.
    pub fn check(&self, name: &str, shape: &[usize]) -> Result<()> {
        let Some(info) = self.header.info(name) else {
            let problem = format!("no tensor `{name}`, wanted one of shape {shape:?}");
            return Err(Error::model(&self.path, problem, ""));
        };
        if info.shape != shape {
            let problem = format!(
                "tensor `{name}` has shape {:?}, wanted {shape:?}",
                info.shape
            );
            let help = "config.json and the weights must be of the same model";
            return Err(Error::model(&self.path, problem, help));
        }
        match info.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64 => Ok(()),
            other => {
                let problem =
                    format!("tensor `{name}` is of type {other:?}, wanted F32, F16, BF16 or F64");
                Err(Error::model(
                    &self.path,
                    problem,
                    "use weights that are not quantised",
                ))
            }
        }
    }

    /// Reads the tensor `name` into `values`, whose length is the product of `shape`; an error
    /// unless [`Self::check`] passes and every value is finite in f32.
    pub fn read(&self, name: &str, shape: &[usize], values: &mut [f32]) -> Result<()> {
        self.check(name, shape)?;
        assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
        let info = self.header.info(name).expect("checked above");
        let (start, end) = info.data_offsets;
        let bytes = self.bytes(start, end - start).map_err(|e| {
            let problem = format!("tensor `{name}` cannot be read: {e}");
            Error::model(
                &self.path,
                problem,
                "leave the file alone while it is in use",
            )
        })?;
        match info.dtype {
            Dtype::F32 => convert(values, &bytes, f32::from_le_bytes),
            Dtype::F16 => convert(values, &bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => convert(values, &bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Dtype::F64 => convert(values, &bytes, |b| f64::from_le_bytes(b) as f32),
            other => unreachable!("{other:?} was refused above"),
        }
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let problem = format!(
                    "tensor `{name}` holds {} at {:?} of {shape:?}, wanted finite numbers",
                    values[at],
                    unravel(at, shape)
                );
                let help = "these weights come from a run that diverged, or the file is damaged";
                Err(Error::model(&self.path, problem, help))
            }
        }
    }

    fn bytes(&self, start: usize, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = memory::zeroed(length)?;
        let mut file = self.file.lock().expect("nobody panics while reading");
        file.seek(SeekFrom::Start(self.data + start as u64))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// [`Self::read`] into a new vector.
    pub fn read_vec(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.check(name, shape)?; // first: the header bounds the allocation by the file's size
        let mut values = vec![0.0; shape.iter().product()];
        self.read(name, shape, &mut values)?;
        Ok(values)
    }
}

/// Longest header that the safetensors crate takes.
const MAX_HEADER: u64 = 100_000_000;

/// The first bytes of a file of `bytes`: its header, or as much as tells what it is instead.
fn start(file: &mut File, bytes: u64) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    let wanted = match file.read_exact(&mut length) {
        Ok(()) => u64::from_le_bytes(length),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => 0,
        Err(e) => return Err(e),
    };
    let is_sound = wanted <= MAX_HEADER.min(bytes.saturating_sub(8));
    let count = if is_sound {
        (8 + wanted).max(8).min(bytes)
    } else {
        bytes.min(512)
    };
    let mut start = memory::zeroed(count as usize)?;
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut start)?;
    Ok(start)
}

/// The header, if it is sound and that of a file of `bytes`.
fn header(start: &[u8], bytes: u64) -> Option<Metadata> {
    let (length, header) = start.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*length) != header.len() as u64 {
        return None;
    }
    let header: Metadata = serde_json::from_slice(header).ok()?;
    let last = header
        .tensors()
        .values()
        .map(|info| info.data_offsets.1)
        .max();
    let end = start.len() as u64 + last.unwrap_or(0) as u64;
    (end == bytes).then_some(header)
}

/// Elements of `N` little-endian bytes each; data in a file need not be aligned.
fn convert<const N: usize>(values: &mut [f32], bytes: &[u8], one: impl Fn([u8; N]) -> f32) {
    let (elements, rest) = bytes.as_chunks::<N>();
    debug_assert!(rest.is_empty() && elements.len() == values.len());
    for (value, &element) in values.iter_mut().zip(elements) {
        *value = one(element);
    }
}

/// The index along each dimension of element `at`.
fn unravel(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, &size) in index.iter_mut().zip(shape).rev() {
        *i = at % size;
        at /= size;
    }
    index
}

/// A tensor to be written.
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    pub name: String,
    pub shape: &'a [usize],
    /// As many as the product of `shape`.
    pub values: &'a [f32],
}

/// Writes a safetensors file of f32 tensors, sorted by name, atomically.
///
/// The safetensors crate's own writer would leave mode 0600, metadata in random order, and no sync.
pub fn write(
    path: impl AsRef<Path>,
    tensors: &mut [Tensor],
    metadata: &[(&str, &str)],
) -> Result<()> {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        let entries = metadata.iter().map(|&(k, v)| (k, v));
        header.insert("__metadata__".into(), entries.collect());
    }
    let mut end = 0;
    for tensor in &*tensors {
        let start = end;
        end += size_of_val(tensor.values);
        let entry = json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [start, end]});
        let replaced = header.insert(tensor.name.clone(), entry);
        assert!(replaced.is_none(), "two tensors called {}", tensor.name);
    }
    let mut header = serde_json::to_vec(&header).expect("a map of strings and numbers");
    header.resize(header.len().next_multiple_of(8), b' '); // the data is aligned for f64

    files::write_atomically_with(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        tensors
            .iter()
            .try_for_each(|t| write_values(file, t.values))
    })
}

fn write_values(file: &mut dyn Write, values: &[f32]) -> std::io::Result<()> {
    if cfg!(target_endian = "little") {
        return file.write_all(bytemuck::cast_slice(values));
    }
    values
        .iter()
        .try_for_each(|v| file.write_all(&v.to_le_bytes()))
}
