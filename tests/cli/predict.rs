//! What `predict` takes, and where its rows go.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Stdio;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::Value;

use super::runs::{TRAINED, trained};
use super::support::{Said, vitcuda};

/// `predict model` with these words, and this on stdin.
fn predict_from(stdin: &[u8], words: &[&str]) -> Said {
    let mut child = vitcuda()
        .env("VITCUDA_DEVICE", "cpu")
        .current_dir(TRAINED.path())
        .args(["predict", "model"])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    child.wait_with_output().unwrap().into()
}

fn images(said: &Said) -> Vec<String> {
    let rows = said.json_lines();
    rows.iter()
        .map(|row| row["image"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn patterns_are_expanded_where_no_shell_did() {
    let said = trained("predict model photos/*/0[12].png photos/**/19.png --json").well();
    assert_eq!(
        images(&said),
        [
            "photos/blue/01.png",
            "photos/blue/02.png",
            "photos/red/01.png",
            "photos/red/02.png",
            "photos/blue/19.png",
            "photos/red/19.png",
        ]
    );
}

#[test]
fn stdin_is_an_image_or_a_list() {
    let red = fs::read(TRAINED.path().join("photos/red/03.png")).unwrap();
    let said = predict_from(&red, &["-", "--json"]).well();
    assert_eq!(images(&said), ["-"]);
    assert_eq!(said.json_lines()[0]["predictions"][0]["label"], "red");

    let list = b"photos/red/03.png\nabsent.png\nphotos/blue/0[12].png\n";
    let said = predict_from(list, &["-", "photos/red/04.png", "--json"]).well();
    assert_eq!(
        images(&said),
        [
            "photos/red/03.png",
            "absent.png",
            "photos/blue/01.png",
            "photos/blue/02.png",
            "photos/red/04.png"
        ]
    );
    let nothing = predict_from(b"", &["-"]);
    assert_eq!(
        (nothing.code, nothing.stdout.as_str()),
        (Some(3), "-  error: stdin is empty\n")
    );
}

/// Answers `requests` requests: `/red.png` with an image, anything else with a refusal that would
/// play with the terminal.
fn serve(requests: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let red = fs::read(TRAINED.path().join("photos/red/03.png")).unwrap();
    std::thread::spawn(move || {
        for _ in 0..requests {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut first = String::new();
            reader.read_line(&mut first).unwrap();
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                assert!(!line.to_lowercase().starts_with("authorization"), "{line}");
                line.clear();
            }
            let (status, body) = if first.starts_with("GET /red.png ") {
                ("200 OK", &red[..])
            } else {
                ("404 Not Found", &b"\x1b[2Jnothing here"[..])
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body).unwrap();
        }
    });
    address
}

#[test]
fn images_are_fetched_from_urls() {
    let address = serve(2);
    let words = [format!("{address}/red.png"), format!("{address}/lost.png")];
    let output = vitcuda()
        .env("VITCUDA_DEVICE", "cpu")
        .env("HF_TOKEN", "hf_secret")
        .env_remove("HF_HUB_OFFLINE")
        .current_dir(TRAINED.path())
        .args([
            "predict",
            "model",
            &words[0],
            &words[1],
            "--batch-size",
            "1",
        ])
        .output();
    let said = Said::from(output.unwrap()).well();
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert!(
        lines[0].starts_with(&format!("{}   red ", words[0])),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].contains("/lost.png  error: ") && lines[1].contains("404"),
        "{}",
        lines[1]
    );
    assert!(!said.stdout.contains('\x1b'), "{:?}", said.stdout);

    let offline =
        trained("predict model https://example.org/a.png photos/red/00.png --json").well();
    let rows = offline.json_lines();
    assert!(
        rows[0]["error"]
            .as_str()
            .unwrap()
            .contains("HF_HUB_OFFLINE"),
        "{}",
        rows[0]
    );
}

#[test]
fn labels_that_folders_and_tables_tell_give_the_accuracy() {
    trained("predict model photos")
        .well()
        .mentions(&["accuracy 100.0% [91.2,100.0] of 40 images whose class is known"]);
    // A folder that is called otherwise tells nothing.
    let folder = tempfile::tempdir().unwrap();
    fs::copy(
        TRAINED.path().join("photos/red/03.png"),
        folder.path().join("a.png"),
    )
    .unwrap();
    let said = trained(&format!("predict model {}", folder.path().display())).well();
    assert!(!said.stderr.contains("accuracy"), "{}", said.stderr);

    // The column of a manifest says blue where the image is red.
    let manifest = TRAINED.path().join("labelled.csv");
    fs::write(
        &manifest,
        "path,label\nphotos/red/03.png,blue\nphotos/blue/03.png,blue\n",
    )
    .unwrap();
    let said = trained("predict model labelled.csv --json").well();
    assert_eq!(said.json_lines()[0]["truth"], "blue");
    said.mentions(&["accuracy 50.0%", "of 2 images"]);
}

#[test]
fn a_threshold_leaves_out_what_is_less_probable() {
    let rows = trained("predict model photos/red/03.png --json")
        .well()
        .json_lines();
    let scores: Vec<f64> = rows[0]["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["score"].as_f64().unwrap())
        .collect();
    let between = (scores[0] + scores[1]) / 2.0;
    let line = format!("predict model photos/red/03.png --json --threshold {between}");
    let rows = trained(&line).well().json_lines();
    assert_eq!(rows[0]["predictions"].as_array().unwrap().len(), 1);
    let said = trained("predict model photos/red/03.png --threshold 1").well();
    assert_eq!(said.stdout, "photos/red/03.png  -\n");
    trained("predict model photos/red/03.png --threshold 2").failed(2);
}

#[test]
fn rows_go_into_files_bad_ones_too() {
    let line = "predict model photos/red/03.png absent.png photos/blue -k 1 --output";
    let written = |name: &str| {
        let said = trained(&format!("{line} {name}")).well();
        assert_eq!(said.stdout, "");
        said.mentions(&["1 of 22 inputs could not be used", "accuracy 100.0%"]);
        TRAINED.path().join(name)
    };
    let csv = fs::read_to_string(written("rows.csv")).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 1 + 22);
    assert_eq!(lines[0], "image,truth,label,score,error");
    assert!(
        lines[1].starts_with("photos/red/03.png,red,red,0."),
        "{}",
        lines[1]
    );
    assert_eq!(lines[2], "absent.png,,,,there is no such file or folder");

    let rows = fs::read_to_string(written("rows.jsonl")).unwrap();
    let rows: Vec<Value> = rows
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(rows.len(), 22);
    assert_eq!(rows[1]["error"], "there is no such file or folder");
    assert_eq!(rows[2]["predictions"][0]["label"], "blue");

    let file = File::open(written("rows.parquet")).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let rows: Vec<_> = reader
        .get_row_iter(None)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows.len(), 22);
    assert_eq!(rows[0].get_string(2).unwrap(), "red");
    assert!(rows[0].get_double(3).unwrap() > 0.5);
    assert_eq!(
        rows[1].get_string(4).unwrap(),
        "there is no such file or folder"
    );
    assert!(rows[1].get_string(2).is_err(), "null");
    let names = reader
        .metadata()
        .file_metadata()
        .schema()
        .get_fields()
        .iter();
    let names: Vec<String> = names.map(|field| field.name().to_owned()).collect();
    assert_eq!(names.join(","), lines[0]);

    trained(&format!("{line} rows.xlsx"))
        .failed(2)
        .mentions(&[".csv, .jsonl or .parquet"]);
    trained(&format!("{line} no/folder/rows.csv")).failed(1);
    let left = fs::read_dir(TRAINED.path())
        .unwrap()
        .map(|e| e.unwrap().file_name());
    assert!(
        left.into_iter()
            .all(|name| !name.to_string_lossy().ends_with(".tmp"))
    );
}
