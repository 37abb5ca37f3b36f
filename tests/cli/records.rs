//! Reports and curves.

use std::fs;

use image::RgbImage;

use super::runs::{TRAINED, trained, words_in};
use super::support::{red_and_blue, run_in};

#[test]
fn a_run_ends_with_a_verdict_and_a_report() {
    let folder = tempfile::tempdir().unwrap();
    red_and_blue(&folder.path().join("photos"), 8);
    let line = "train photos --model vit_digits_patch2_8 --epochs 1 -o out";
    words_in(folder.path(), line).well().mentions(&[
        "verdict",
        "Accuracy ",
        "report  out/report.html",
    ]);
    let events = fs::read_dir(folder.path().join("out/runs"))
        .unwrap()
        .count();
    assert_eq!(events, 1);
}

#[test]
fn report_writes_the_same_page_again() {
    let page = TRAINED.path().join("model/report.html");
    let first = fs::read_to_string(&page).unwrap();
    for part in ["Accuracy 100.0 %", "<polyline", "is \\ taken for", "recipe"] {
        assert!(first.contains(part), "{part}");
    }
    let said = trained("report model -o again.html").well();
    assert!(
        said.stdout.contains("Accuracy 100.0 %: 6 of 6"),
        "{}",
        said.stdout
    );
    assert_eq!(
        fs::read_to_string(TRAINED.path().join("again.html")).unwrap(),
        first
    );
    let json = trained("report model -o third.html --json")
        .well()
        .json_lines();
    assert_eq!(json[0]["verdict"][0]["title"], "Accuracy 100.0 %");
}

#[test]
fn a_run_ends_with_a_model_card() {
    let card = fs::read_to_string(TRAINED.path().join("model/README.md")).unwrap();
    let (front, body) = card
        .strip_prefix("---\n")
        .unwrap()
        .split_once("---\n")
        .unwrap();
    for line in [
        "library_name: transformers",
        "pipeline_tag: image-classification",
        "- name: \"model\"",
        "      type: \"imagefolder\"",
        "      name: \"photos\"",
        "    - type: accuracy",
        "      value: 1.0",
    ] {
        assert!(front.lines().any(|l| l == line), "{line}: {front}");
    }
    // Neither came from the hub.
    assert!(
        !front.contains("base_model") && !front.contains("datasets"),
        "{front}"
    );
    for part in [
        "(vit_digits_patch2_8 from scratch), trained on photos to tell 2 classes apart",
        "- Accuracy: 1.0000 (95 % interval 0.6",
        "Classes: blue, red.",
        "vitcuda train photos --model vit_digits_patch2_8 --lr 2e-3",
        "- learning_rate: 0.002\n",
        "| Training Loss | Epoch | Step | Validation Loss | Accuracy |",
        "| 4.0000 | 20 | ",
    ] {
        assert!(body.contains(part), "{part}: {body}");
    }
}

/// It is for everybody: not where things lie on this machine, but the licence.
#[test]
fn a_card_names_no_place_but_a_licence() {
    let folder = tempfile::tempdir().unwrap();
    let place = fs::canonicalize(folder.path()).unwrap();
    red_and_blue(&place.join("photos"), 4);
    let line = format!(
        "train {0}/photos --model {1}/model --max-steps 2 --license MIT --output-dir={0}/run",
        place.display(),
        TRAINED.path().display()
    );
    words_in(folder.path(), &line).well();
    let card = fs::read_to_string(place.join("run/README.md")).unwrap();
    for hidden in [&*place, TRAINED.path()] {
        assert!(!card.contains(hidden.to_str().unwrap()), "{card}");
    }
    assert!(card.contains("\nlicense: mit\n"), "{card}");
    assert!(card.contains("(model), trained on photos to"), "{card}");
    assert!(
        card.contains("vitcuda train photos --model model --max-steps 2"),
        "{card}"
    );
    assert!(card.contains("- output_dir: run\n"), "{card}");
    words_in(folder.path(), "train --max-steps 2 --license apache-2")
        .failed(2)
        .mentions(&["apache-2.0"]);
}

#[test]
fn a_card_that_somebody_wrote_stays() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("out");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("README.md"), "mine").unwrap();
    words_in(folder.path(), "train --max-steps 2 -o out")
        .well()
        .mentions(&["out/README.md is not ours and stays as it is"]);
    assert_eq!(fs::read_to_string(run.join("README.md")).unwrap(), "mine");
}

#[test]
fn eval_shows_the_worst_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    red_and_blue(folder.path(), 3);
    // A blue picture among the red ones: a wrong label, found by its loss.
    RgbImage::from_pixel(300, 10, image::Rgb([0, 0, 255]))
        .save(folder.path().join("red/mislabelled.png"))
        .unwrap();
    let data = folder.path().to_str().unwrap();
    let page = folder.path().join("eval.html");
    let words = ["eval", "model", data, "--report", page.to_str().unwrap()];
    let said = run_in(TRAINED.path(), &words).well();
    assert!(said.stdout.contains("is \\ taken for"), "{}", said.stdout);
    let page = fs::read_to_string(page).unwrap();
    assert_eq!(page.matches("<figure>").count(), 1);
    assert!(page.contains("red/mislabelled.png") && page.contains("data:image/png;base64,"));
    assert!(
        page.contains("width=\"136\" height=\"4\""),
        "the shape is kept"
    );
}

#[test]
fn a_collapsed_run_says_what_to_change() {
    let folder = tempfile::tempdir().unwrap();
    red_and_blue(&folder.path().join("photos"), 20);
    let line = "train photos --model vit_digits_patch2_8 --lr 0 --epochs 10 --head-init zero \
                --eval-steps 10 --logging-steps 10 --save-strategy no -o out";
    words_in(folder.path(), line)
        .well()
        .mentions(&["Collapsed to chance"]);
}

#[test]
fn a_run_that_diverges_leaves_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let said = words_in(folder.path(), "train --lr 1e30 --logging-steps 1 -o out").ended_early(7);
    assert!(
        said.stdout.contains("  1 losses not finite\n"),
        "{}",
        said.stdout
    );
    let page = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(
        page.contains("The run failed") && page.contains("diverged"),
        "{page}"
    );
}

#[test]
fn plot_compares_runs() {
    let said = trained("plot model model --x epoch -o two.svg").well();
    assert_eq!(said.stdout, "two.svg\n");
    let svg = fs::read_to_string(TRAINED.path().join("two.svg")).unwrap();
    assert_eq!(svg.matches("<polyline").count(), 6);
    trained("plot photos").failed(3);
    // What has no log does not keep the others from being drawn.
    trained("plot photos model -o one.svg").well().mentions(&[
        "photos",
        "holds no run",
        "not drawn",
    ]);
    let svg = fs::read_to_string(TRAINED.path().join("one.svg")).unwrap();
    assert_eq!(svg.matches("<polyline").count(), 3);
}

#[test]
fn plot_writes_what_the_ending_says() {
    trained("plot model -o curves.PNG").well();
    let file = fs::read(TRAINED.path().join("curves.PNG")).unwrap();
    assert!(file.starts_with(b"\x89PNG"));
    // Before the runs are read, of which there is none.
    for other in ["curves.gif", "curves"] {
        let said = trained(&format!("plot absent -o {other}")).failed(2);
        said.mentions(&[other, ".svg or .png"]);
    }
}
