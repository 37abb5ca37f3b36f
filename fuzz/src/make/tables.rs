//! Manifests.

use super::{Made, made};

pub fn all() -> Vec<Made> {
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
