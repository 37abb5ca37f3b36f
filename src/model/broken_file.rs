//! What is wrong with a file that is not safetensors, said so that one can act on it.
//!
//! The safetensors crate decides *whether* a header is sound; its errors leave out which tensor
//! and which numbers.

use std::path::Path;

use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::files::{self, GIT_LFS};

/// The error for the file at `path` of `length` bytes, of which `start` is its header, or as much as
/// tells what it is instead.
pub fn explain(path: &Path, start: &[u8], length: u64) -> Error {
    if let Some(what) = files::recognise(&start[..start.len().min(512)]) {
        let help = match what {
            GIT_LFS => "fetch the file it stands for: git lfs pull",
            what if what.ends_with("torch.save") => TO_SAFETENSORS,
            _ => "download it again",
        };
        return Error::model(
            path,
            format!("found {what}, wanted a safetensors file"),
            help,
        );
    }
    let problem = header_fault(start, length);
    let problem = problem.unwrap_or_else(|| "its header is none".into());
    let problem = format!("not a sound safetensors file: {problem}");
    Error::model(path, problem, "download or write it again")
}

/// What to do with weights that only Python can read.
pub const TO_SAFETENSORS: &str = "convert it once in Python: \
    ViTForImageClassification.from_pretrained(\"FOLDER\").save_pretrained(\"NEW_FOLDER\")";

/// The first thing wrong, from the front of the file.
fn header_fault(start: &[u8], bytes: u64) -> Option<String> {
    let Some((length, rest)) = start.split_first_chunk::<8>() else {
        return Some(format!(
            "it has {bytes} bytes, wanted at least 8 for the header's size"
        ));
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().and_then(|n| rest.get(..n));
    let Some(header) = header else {
        return Some(format!(
            "its first 8 bytes announce a header of {length} bytes, found {} bytes after them",
            bytes - 8
        ));
    };
    match serde_json::from_slice::<Map<String, Value>>(header) {
        Err(e) => Some(format!("its header is not a JSON object: {e}")),
        Ok(entries) => tensor_fault(&entries, bytes as usize - 8 - header.len()),
    }
}

/// The first tensor whose place or size cannot be, in a file with `available` bytes of data.
fn tensor_fault(entries: &Map<String, Value>, available: usize) -> Option<String> {
    let mut tensors = Vec::new();
    for (name, entry) in entries.iter().filter(|(name, _)| *name != "__metadata__") {
        match serde_json::from_value::<TensorInfo>(entry.clone()) {
            Ok(info) => tensors.push((name, info)),
            Err(e) => return Some(format!("the header's entry of tensor `{name}`: {e}")),
        }
    }
    tensors.sort_by_key(|(_, info)| info.data_offsets);

    let mut expected = 0;
    for (name, info) in &tensors {
        let (start, end) = info.data_offsets;
        let (dtype, shape) = (info.dtype, &info.shape);
        if start != expected || end < start {
            return Some(format!(
                "tensor `{name}` claims bytes {start} to {end} of the data, wanted it to start \
                 at {expected}"
            ));
        }
        let elements = shape.iter().try_fold(1, |n: usize, &d| n.checked_mul(d));
        let wanted = elements.and_then(|n| Some(n.checked_mul(dtype.bitsize())? / 8));
        if wanted != Some(end - start) {
            let wanted = wanted.map_or("more than can be counted".to_owned(), |n| n.to_string());
            return Some(format!(
                "tensor `{name}` has {} bytes, wanted {wanted} for {dtype:?} {shape:?}",
                end - start
            ));
        }
        if end > available {
            return Some(format!(
                "tensor `{name}` should end at byte {end} of the data, found only {available}: \
                 the file is cut short"
            ));
        }
        expected = end;
    }
    (expected != available).then(|| format!("its tensors take {expected} bytes, found {available}"))
}
