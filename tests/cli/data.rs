//! `vitcuda data`, and training from tables.

use std::fs;
use std::path::Path;

use approx::assert_abs_diff_eq;

use super::support::{Said, red_and_blue, run, run_in, vitcuda};
use super::tables::{Column, PLAIN, write};

fn words_in(folder: &Path, line: &str) -> Said {
    run_in(folder, &line.split_whitespace().collect::<Vec<_>>())
}

/// A folder with `photos/{train,validation}/{blue,red}`: six photos of each class to train on, three
/// to validate on, of which one was trained on; one photo that is text; one twice, in both classes.
fn flawed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |below: &str| folder.path().join("photos").join(below);
    red_and_blue(&at("train"), 6);
    red_and_blue(&at("validation"), 9);
    for class in ["blue", "red"] {
        for i in 0..6 {
            fs::remove_file(at("validation").join(class).join(format!("{i:02}.png"))).unwrap();
        }
    }
    fs::copy(at("train/red/01.png"), at("validation/red/06.png")).unwrap();
    fs::copy(at("train/red/02.png"), at("train/blue/03.png")).unwrap();
    fs::write(at("train/blue/05.png"), "text").unwrap();
    folder
}

#[test]
fn stats_finds_what_is_wrong() {
    let folder = flawed();
    let json = words_in(folder.path(), "data stats photos --json")
        .well()
        .json_lines();
    let stats = &json[0];
    let train = &stats["splits"][0];
    assert_eq!(train["name"], "train");
    assert_eq!(train["images"], 12);
    assert_eq!(train["classes"], serde_json::json!({ "blue": 6, "red": 6 }));
    assert_eq!(
        train["width"],
        serde_json::json!({ "least": 12, "median": 12, "most": 12 })
    );
    assert_eq!(train["height"]["most"], 10);
    assert_eq!(train["bad"][0]["name"], "train/blue/05.png");
    assert_eq!(stats["splits"][1]["images"], 6);
    assert_eq!(stats["same_picture"].as_array().unwrap().len(), 2);
    let member = |split: &str, name: &str, class: &str| serde_json::json!({ "split": split, "name": name, "class": class });
    let leak = [
        member("train", "train/red/01.png", "red"),
        member("validation", "validation/red/06.png", "red"),
    ];
    assert_eq!(stats["leaks"], serde_json::json!([leak]));
    let contradiction = [
        member("train", "train/blue/03.png", "blue"),
        member("train", "train/red/02.png", "red"),
    ];
    assert_eq!(stats["contradictions"], serde_json::json!([contradiction]));

    let table = words_in(folder.path(), "data stats photos").well().stdout;
    for part in [
        "bad images in train: 1\n  train/blue/05.png: not an image",
        "(a leak): 1\n  train/red/01.png (train, red) = validation/red/06.png (validation, red)",
        "in several classes: 1\n  train/blue/03.png (train, blue) = train/red/02.png (train, red)",
        "more than once in a split: 1\n",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[test]
fn stats_of_the_digits_are_known() {
    let stats = &run("data stats --json").well().json_lines()[0];
    let images = |i: usize| stats["splits"][i]["images"].as_u64().unwrap();
    assert_eq!(images(0) + images(1), 1797);
    assert_eq!(stats["splits"][0]["width"]["most"], 8);
    assert_eq!(stats["splits"][0]["classes"].as_object().unwrap().len(), 10);
}

#[test]
fn show_gives_what_a_model_gets() {
    let folder = flawed();
    let line = "data show photos --index 6 --processed --model vit_digits_patch2_8 --json";
    let shown = &words_in(folder.path(), line).well().json_lines()[0];
    assert_eq!(shown["name"], "train/red/00.png");
    assert_eq!(
        (&shown["label"], &shown["class"]),
        (&1.into(), &"red".into())
    );
    assert_eq!(
        (&shown["width"], &shown["height"]),
        (&12.into(), &10.into())
    );
    let processed = &shown["processed"];
    assert_eq!(processed["shape"], serde_json::json!([3, 8, 8]));
    assert_eq!(processed["settings"]["resample"], 2);
    // One colour, (255, 0, 0): 1 in red and -1 elsewhere.
    assert_eq!(
        (&processed["max"], &processed["min"]),
        (&1.0.into(), &(-1.0).into())
    );
    assert_eq!(processed["first_values"][0][5], 1.0);
    assert_eq!(processed["first_values"][2][0], -1.0);
    let mean = processed["mean"].as_f64().unwrap();
    assert_abs_diff_eq!(mean, -1.0 / 3.0, epsilon = 1e-12);

    let text = words_in(folder.path(), "data show photos --index 6 --processed")
        .well()
        .stdout;
    for part in [
        "1: red",
        "12 × 10",
        "(3, 224, 224), float32",
        "-1.0000 … 1.0000",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn show_follows_the_file_of_a_model() {
    let folder = flawed();
    fs::create_dir(folder.path().join("model")).unwrap();
    let settings =
        r#"{"size": {"height": 5, "width": 7}, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}"#;
    fs::write(
        folder.path().join("model/preprocessor_config.json"),
        settings,
    )
    .unwrap();
    let line = "data show photos --split validation --index 0 --processed --model model --json";
    let shown = &words_in(folder.path(), line).well().json_lines()[0];
    assert_eq!(shown["name"], "validation/blue/06.png");
    assert_eq!(shown["processed"]["shape"], serde_json::json!([3, 5, 7]));
    // (18, 30, 243) of 255.
    let blue = shown["processed"]["first_values"][2][0].as_f64().unwrap();
    assert_abs_diff_eq!(blue, 243.0 / 255.0, epsilon = 1e-7);
}

#[test]
fn show_explains_what_cannot_be_shown() {
    let folder = flawed();
    words_in(folder.path(), "data show photos --index 12")
        .failed(2)
        .mentions(&["there are 12 images", "from 0 to 11"]);
    words_in(folder.path(), "data show photos --index 5")
        .failed(3)
        .mentions(&["photos/train/blue/05.png", "not an image"]);
    words_in(folder.path(), "data show photos --grid 4x4 -o x.png")
        .failed(2)
        .mentions(&["there are only 12 images"]);
    words_in(folder.path(), "data show photos --grid 2x2")
        .failed(2)
        .mentions(&["-o grid.png"]);
    words_in(folder.path(), "data show photos").failed(2);
    words_in(folder.path(), "data show photos --grid 0x3").failed(2);
}

#[test]
fn show_draws_the_images_that_python_would() {
    let folder = tempfile::tempdir().unwrap();
    red_and_blue(&folder.path().join("photos"), 20);
    let line = "data show photos --grid 3x3 --seed 42 -o grid.png --json";
    let shown = &words_in(folder.path(), line).well().json_lines()[0];
    let images = shown["images"].as_array().unwrap().iter();
    let indices: Vec<u64> = images
        .map(|image| image["index"].as_u64().unwrap())
        .collect();
    // random.seed(42); random.sample(range(40), 9)
    assert_eq!(indices, PYTHON);
    let grid = image::open(folder.path().join("grid.png"))
        .unwrap()
        .to_rgb8();
    assert_eq!(grid.dimensions(), (3 * 232 + 8, 3 * 254 + 8));
    // The middle of each tile has the colour of its image, blue for the first twenty.
    for (tile, &index) in (0..).zip(&PYTHON) {
        let (x, y) = (8 + tile % 3 * 232 + 112, 8 + tile / 3 * 254 + 22 + 112);
        let [red, _, blue] = grid.get_pixel(x, y).0;
        assert_eq!(blue > red, index < 20, "{tile}");
    }
}

#[test]
fn show_writes_what_the_ending_says() {
    let folder = tempfile::tempdir().unwrap();
    red_and_blue(&folder.path().join("photos"), 20);
    let grid = |file: &str| {
        let line = format!("data show photos --grid 2x3 -o {file}");
        words_in(folder.path(), &line).well();
        fs::read(folder.path().join(file)).unwrap()
    };
    assert!(grid("grid.png").starts_with(b"\x89PNG"));
    let file = grid("grid.JPG");
    assert_eq!(file, grid("grid.jpeg"));
    let decode = |file: &[u8]| image::load_from_memory(file).unwrap().to_rgb8();
    let (exact, close) = (decode(&grid("grid.png")), decode(&file));
    assert!(file.starts_with(b"\xff\xd8\xff"));
    assert_eq!(close.dimensions(), exact.dimensions());
    let off = |(a, b): (&u8, &u8)| u64::from(a.abs_diff(*b));
    let off: u64 = exact.as_raw().iter().zip(close.as_raw()).map(off).sum();
    assert!(off < 2 * exact.as_raw().len() as u64, "{off}");
    // Before the data is read, of which there is none.
    words_in(folder.path(), "data show absent --grid 1x1 -o grid.gif")
        .failed(2)
        .mentions(&["grid.gif", ".png or .jpg or .jpeg"]);
}

const PYTHON: [u64; 9] = [7, 1, 17, 15, 14, 8, 6, 5, 27];

#[test]
fn a_terminal_that_can_is_sent_nothing_through_a_pipe() {
    let folder = flawed();
    let output = vitcuda()
        .env("TERM", "xterm-kitty")
        .current_dir(folder.path())
        .args(["data", "show", "photos", "--grid", "1x1", "-o", "x.png"])
        .output();
    let said = Said::from(output.unwrap()).well();
    assert_eq!(said.stdout, "x.png\n");
}

/// The same images, in the same order, with the same labels: the same weights to the last bit.
#[test]
fn training_on_a_written_split_is_training_on_the_data() {
    let folder = tempfile::tempdir().unwrap();
    red_and_blue(&folder.path().join("photos"), 20);
    let rest = "--model vit_digits_patch2_8 --max-steps 4 --batch-size 4";
    let drawn = "--train-samples 20 --eval-samples 8 --seed 7";
    let run = |line: &str| words_in(folder.path(), line).well();
    run(&format!("train photos {drawn} {rest} -o direct"));
    let split = run(&format!("data split photos {drawn} -o split.jsonl"));
    assert_eq!(split.stdout, "split.jsonl: train 20, validation 8\n");
    run(&format!("train split.jsonl --seed 7 {rest} -o written"));
    let weights = |run: &str| fs::read(folder.path().join(run).join("model.safetensors")).unwrap();
    assert_eq!(weights("direct"), weights("written"));
}

#[test]
fn a_table_trains_evaluates_and_predicts() {
    let folder = tempfile::tempdir().unwrap();
    red_and_blue(&folder.path().join("photos"), 20);
    let image = |n: usize, class: &str| {
        let path = folder.path().join(format!("photos/{class}/{n:02}.png"));
        Some((Some(fs::read(path).unwrap()), None))
    };
    let rows = (0..20).flat_map(|n| [image(n, "red"), image(n, "blue")]);
    let columns = [
        ("picture", Column::Images(rows.collect())),
        (
            "colour",
            Column::Longs((0..40).map(|n| Some(n % 2)).collect()),
        ),
    ];
    // Not in the order of the alphabet: the label is what the file says.
    let features = r#"{"colour": {"names": ["red", "blue"], "_type": "ClassLabel"}}"#;
    let path = folder.path().join("data/train-00000-of-00001.parquet");
    write(&path, &columns, Some(features), PLAIN);
    let line =
        "train data --model vit_digits_patch2_8 --lr 2e-3 --epochs 20 --batch-size 8 -o model";
    words_in(folder.path(), line)
        .well()
        .mentions(&["2 classes: red, blue"]);
    let scores = words_in(folder.path(), "eval model data --json")
        .well()
        .json_lines();
    assert_eq!(scores[0]["eval_accuracy"], 1.0);
    let scores = words_in(folder.path(), "eval model photos --json")
        .well()
        .json_lines();
    assert_eq!(scores[0]["eval_accuracy"], 1.0);
    let lines = words_in(folder.path(), "predict model data --json -k 1")
        .well()
        .json_lines();
    assert_eq!(lines.len(), 40);
    words_in(folder.path(), "eval model data --label-column color")
        .failed(3)
        .mentions(&["`color` (--label-column)", "did you mean `colour`"]);
    words_in(folder.path(), "eval model photos --label-column colour")
        .failed(2)
        .mentions(&["photos is no table"]);
}
