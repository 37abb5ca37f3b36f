//! Broken weights: each error names the file, the tensor, what was found and what was wanted.

use std::fs;

use half::f16;
use libtest_mimic::Trial;
use safetensors::tensor::Dtype;
use vitcuda::model::checkpoint::{self, LoadOptions};
use vitcuda::model::tensor_file::{self, TensorFile};

use super::support::{Folder, Raw, assert_says, told, trial, with_header};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a missing tensor", missing),
        trial("another library's names", other_names),
        trial("a tensor of another shape", wrong_shape),
        trial("weights that are not finite", not_finite),
        trial("weights of an integer type", integers),
        trial("a file cut short at every length", cut_short),
        trial("a file cut short while it is open", cut_while_open),
        trial("a file with bytes to spare", too_long),
        trial("a header that lies about itself", lying_length),
        trial("a header that lies about a tensor", lying_tensor),
        trial("a header that is not JSON", not_json),
        trial("things that are no safetensors file at all", something_else),
        trial("a folder with another format only", other_formats),
        trial("a folder that is none, or holds no model", no_model),
    ]
}

const QUERY: &str = "vit.encoder.layer.0.attention.attention.query.weight";

/// A file that is mapped would end the process here (SIGBUS).
fn cut_while_open() {
    let folder = Folder::new();
    let path = folder.path().join("large.safetensors");
    let values = vec![1.0; 1 << 20];
    let mut tensors = [tensor_file::Tensor {
        name: "x".into(),
        shape: &[1 << 20],
        values: &values,
    }];
    tensor_file::write(&path, &mut tensors, &[]).unwrap();
    let file = TensorFile::open(&path).unwrap();
    assert_eq!(file.read_vec("x", &[1 << 20]).unwrap(), values);
    let end = fs::OpenOptions::new().write(true).open(&path).unwrap();
    end.set_len(4096).unwrap();
    let error = file.read_vec("x", &[1 << 20]).unwrap_err().to_string();
    assert_says(&error, &["large.safetensors", "tensor `x` cannot be read"]);
}

fn missing() {
    let folder = Folder::new();
    folder.change_tensors(|tensors| tensors.retain(|t| t.name != QUERY));
    assert_says(&folder.refusal(), &["model.safetensors", QUERY, "[8, 8]"]);

    folder.change_tensors(|tensors| tensors.truncate(3));
    let says = folder.refusal();
    assert_says(&says, &["vit.embeddings", "nor", "other tensors"]);
}

fn other_names() {
    let folder = Folder::new();
    folder.change_tensors(|tensors| {
        *tensors = vec![Raw::f32("blocks.0.attn.qkv.weight", &[24, 8], &[0.0; 192])];
    });
    assert_says(&folder.refusal(), &["vit.embeddings.cls_token", "timm"]);
}

fn wrong_shape() {
    let folder = Folder::new();
    folder.change_tensors(|tensors| {
        let query = tensors.iter_mut().find(|t| t.name == QUERY).unwrap();
        query.shape = vec![4, 16];
    });
    let says = folder.refusal();
    assert_says(&says, &["model.safetensors", QUERY, "[4, 16]", "[8, 8]"]);
}

fn not_finite() {
    for (bad, said) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        let folder = Folder::new();
        folder.change_tensors(|tensors| {
            let query = tensors.iter_mut().find(|t| t.name == QUERY).unwrap();
            let mut values = query.values();
            values[2 * 8 + 5] = bad;
            values[3 * 8] = bad;
            query.bytes = bytemuck::cast_slice(&values).to_vec();
        });
        let says = folder.refusal();
        assert_says(
            &says,
            &["model.safetensors", QUERY, said, "[2, 5]", "finite"],
        );

        folder.change_tensors(|tensors| {
            for tensor in tensors {
                tensor.convert(Dtype::F16, |v| f16::from_f32(v).to_le_bytes());
            }
        });
        assert_says(&folder.refusal(), &[QUERY, said, "[2, 5]"]);
    }
    // Finite where it was written, but not in f32.
    let folder = Folder::new();
    folder.change_tensors(|tensors| {
        let query = tensors.iter_mut().find(|t| t.name == QUERY).unwrap();
        query.convert(Dtype::F64, |_| 1e300_f64.to_le_bytes());
    });
    assert_says(&folder.refusal(), &[QUERY, "inf", "[0, 0]"]);
}

fn integers() {
    let folder = Folder::new();
    folder.change_tensors(|tensors| {
        let query = tensors.iter_mut().find(|t| t.name == QUERY).unwrap();
        query.dtype = Dtype::I32;
    });
    assert_says(&folder.refusal(), &[QUERY, "I32", "F32"]);
}

fn cut_short() {
    let folder = Folder::new();
    let whole = fs::read(folder.weights()).unwrap();
    for length in (0..whole.len())
        .step_by(97)
        .chain([1, 7, 8, 9, whole.len() - 1])
    {
        fs::write(folder.weights(), &whole[..length]).unwrap();
        assert_says(&folder.refusal(), &["model.safetensors"]);
    }
    let says = folder.refusal();
    let last = "vit.layernorm.weight"; // the last by name
    assert_says(
        &says,
        &["model.safetensors", last, "cut short", "found only"],
    );
}

fn too_long() {
    let folder = Folder::new();
    let mut bytes = fs::read(folder.weights()).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let data = bytes.len() - 8 - header;
    bytes.extend([0; 24]);
    fs::write(folder.weights(), bytes).unwrap();
    let says = folder.refusal();
    assert_says(&says, &[&format!("take {data} bytes, found {}", data + 24)]);
}

fn lying_length() {
    let folder = Folder::new();
    for length in [u64::MAX, u64::MAX - 7, 1 << 40, 99_000_000, 5000] {
        let mut bytes = with_header("{}", 100);
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        fs::write(folder.weights(), bytes).unwrap();
        let says = folder.refusal();
        assert_says(&says, &["model.safetensors", &length.to_string(), "102"]);
    }
}

fn lying_tensor() {
    let folder = Folder::new();
    let entry = |shape: &str, offsets: &str| {
        format!(r#"{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let cases = [
        (entry("[2,2]", "[0,15]"), "15 bytes, wanted 16"),
        (
            entry("[1000000000000]", "[0,16]"),
            "16 bytes, wanted 4000000000000",
        ),
        (entry("[4]", "[4,20]"), "start at 0"),
        (entry("[4]", "[16,0]"), "claims bytes 16 to 0"),
        (
            entry("[4294967296,4294967296,4294967296]", "[0,16]"),
            "more than can be counted",
        ),
        (
            entry("[1000000000000]", "[0,4000000000000]"),
            "end at byte 4000000000000",
        ),
        (entry("[-4]", "[0,16]"), "entry of tensor `x`"),
        (r#"{"x":{"dtype":"F32"}}"#.into(), "entry of tensor `x`"),
        (
            r#"{"x":{"dtype":"F99","shape":[4],"data_offsets":[0,16]}}"#.into(),
            "F99",
        ),
    ];
    for (header, wanted) in cases {
        fs::write(folder.weights(), with_header(&header, 16)).unwrap();
        assert_says(&folder.refusal(), &["model.safetensors", "`x`", wanted]);
    }
}

fn not_json() {
    let folder = Folder::new();
    for header in ["[1,2,3]", "{\"x\":", "\u{fffd}\u{fffd}", "     "] {
        fs::write(folder.weights(), with_header(header, 16)).unwrap();
        assert_says(
            &folder.refusal(),
            &["model.safetensors", "not a JSON object"],
        );
    }
    let mut bytes = with_header("{}xx", 16);
    bytes[10] = 0xff;
    fs::write(folder.weights(), bytes).unwrap();
    assert_says(
        &folder.refusal(),
        &["model.safetensors", "not a JSON object"],
    );
}

fn something_else() {
    let folder = Folder::new();
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 346293852\n";
    let cases: [(&[u8], &[&str]); 8] = [
        (b"", &["an empty file"]),
        (b"abc", &["3 bytes"]),
        (lfs, &["a git-lfs pointer", "git lfs pull"]),
        (
            b"\n<!DOCTYPE html><html>Not found",
            &["an HTML page", "download"],
        ),
        (
            b"{\"error\": \"Repository not found\"}",
            &["a JSON document"],
        ),
        (b"PK\x03\x04 and so on", &["torch.save", "from_pretrained"]),
        (
            b"\x80\x02\x8a\x0a and so on",
            &["pickle", "from_pretrained"],
        ),
        (b"GGUF and so on", &["a GGUF file"]),
    ];
    for (bytes, words) in cases {
        fs::write(folder.weights(), bytes).unwrap();
        let says = folder.refusal();
        assert_says(&says, words);
        assert_says(&says, &["model.safetensors", "safetensors file"]);
    }
    fs::remove_file(folder.weights()).unwrap();
    fs::create_dir(folder.weights()).unwrap();
    assert_says(
        &folder.refusal(),
        &["model.safetensors", "not a regular file"],
    );
}

fn other_formats() {
    for name in ["pytorch_model.bin", "tf_model.h5", "flax_model.msgpack"] {
        let folder = Folder::new();
        fs::rename(folder.weights(), folder.path().join(name)).unwrap();
        let says = folder.refusal();
        assert_says(
            &says,
            &[
                name,
                "wanted model.safetensors",
                "convert",
                "save_pretrained",
            ],
        );
    }
    let folder = Folder::new();
    fs::remove_file(folder.weights()).unwrap();
    assert_says(&folder.refusal(), &["found no model.safetensors"]);
}

fn no_model() {
    let refusal = |path: &std::path::Path| {
        told(
            &checkpoint::load(path, &LoadOptions::default())
                .map(drop)
                .unwrap_err(),
        )
    };
    let folder = Folder::new();
    assert_says(
        &refusal(&folder.path().join("nowhere")),
        &["nowhere", "no such folder"],
    );
    assert_says(&refusal(&folder.weights()), &["is a file", "folder"]);

    let outer = tempfile::tempdir().unwrap();
    assert_says(
        &refusal(outer.path()),
        &["no config.json", "model.safetensors"],
    );
    let inner = outer.path().join("checkpoint-10");
    checkpoint::save(&inner, &super::support::tiny(), &folder.params).unwrap();
    assert_says(&refusal(outer.path()), &["no config.json", "checkpoint-10"]);
}
