//! Manifests, and tables beside images.

use super::{Made, made};

pub fn all() -> Vec<Made> {
    [manifests(), metadata()].concat()
}

fn manifests() -> Vec<Made> {
    vec![
        made(
            "csv",
            "plain.csv",
            "path,label,split\na.png,cat,train\nb.png,dog,train\nc.png,cat,validation\nd.png,dog,test\n",
        ),
        made(
            "csv",
            "quoted.csv",
            "\u{feff}file_name;class\r\n\"a;\"\"1\"\".png\";\"big\r\ncat\"\r\n\r\nb.png;dog\r\nc.png;dog",
        ),
        made("csv", "headless.tsv", "a.png\t1\nb.png\t2\nc.png\t10\n"),
        made(
            "csv",
            "rows.csv",
            "image,label\nx.parquet#image[0],one\nx.parquet#image[1],two\n",
        ),
        made(
            "manifest",
            "plain.jsonl",
            "{\"path\": \"a.png\", \"label\": \"cat\"}\n{\"path\": \"b.png\", \"label\": \"dog\", \"split\": \"test\"}\n",
        ),
        made(
            "manifest",
            "ordered.jsonl",
            "{\"classes\": [\"dog\", \"cat\"]}\n{\"path\": \"a.png\", \"label\": \"cat\", \"split\": \"train\"}\n\
             {\"path\": \"b.png\", \"label\": \"dog\", \"split\": \"validation\"}\n",
        ),
        made(
            "manifest",
            "numbers.ndjson",
            "{\"img\": \"a.png\", \"target\": 10, \"more\": [1, {}]}\n\n{\"img\": \"b.png\", \"target\": 9.5}\n\
             {\"img\": \"c.png\", \"target\": true, \"more\": null}\n",
        ),
        made(
            "manifest",
            "rows.jsonl",
            "{\"path\": \"x.parquet#image[0]\", \"label\": \"one\"}\n{\"path\": \"x.parquet#image[1]\", \"label\": \"two\"}\n",
        ),
    ]
}

/// `metadata.csv` and `metadata.jsonl` of folders of images, or of their parts for training.
fn metadata() -> Vec<Made> {
    let files = [
        (
            "metadata.csv",
            "file_name,label\na.png,cat\ntest/b.png,dog\nvalidation/x/c.png,cat\n",
        ),
        (
            "split.metadata.csv",
            "label,file_name,split\ncat,a.png,train\ndog,b.png,dev\n",
        ),
        (
            "metadata.jsonl",
            "{\"file_name\": \"a.png\", \"label\": 1}\n{\"file_name\": \"b.png\", \"label\": 0}\n",
        ),
        (
            "train.metadata.jsonl",
            "{\"file_name\": \"a.png\", \"class\": \"dog\", \"more\": {}}\n\
             {\"file_name\": \"b.png\", \"class\": \"cat\"}\n",
        ),
        (
            "train.metadata.csv",
            "file_name,label\na.png,dog\nb.png,cat\n",
        ),
        ("unlabelled.metadata.csv", "file_name,text\na.png,a dog\n"),
    ];
    files
        .map(|(name, text)| made("metadata", name, text))
        .into()
}
