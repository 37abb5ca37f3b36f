//! The page and the curves are well-formed and show what they should.

use std::path::Path;

use libtest_mimic::{Failed, Trial};
use roxmltree::{Document, ParsingOptions};
use vitcuda::report::plot::{Over, charts_of_runs, png_file, svg_file};
use vitcuda::report::record::{Mistake, Record, Thumbnail};
use vitcuda::report::verdict::judge;
use vitcuda::report::{RunLog, page};

use crate::common::with_shared;
use crate::made::{log, predictions, record};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("the page is well-formed and fetches nothing", well_formed),
        trial("the page survives a record written and read", written_again),
        trial("the page of a run without anything is well-formed", empty),
        trial("a curve's points lie where its numbers are", points),
        trial("runs are drawn in one chart for each kind", runs),
        trial("an SVG file is what it was to the last byte", unchanged),
        trial("a PNG file has the curves at twice the size", pixels),
        trial("a PNG file names runs in any script", scripts),
        trial("a PNG file of too many runs is refused", too_many),
        with_shared(
            "a run of Hugging Face's Trainer is read",
            "golden/hf_trainer_run/lr2e-4-ep1",
            hugging_faces_run,
        ),
    ]
}

fn parse(text: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true, // <!DOCTYPE html>
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// A run with a mistake whose names are markup.
fn hostile() -> (RunLog, Record) {
    let last = predictions(189, 4.0);
    let mut record = record(&predictions(190, 4.0), &last);
    record.notices = vec!["5 < 6 && \"so\"\u{7}".into()];
    let judged = record.judged.as_mut().unwrap();
    judged.classes = vec!["<cat>".into(), "dog & \"co\"".into()];
    judged.mistakes = vec![Mistake {
        name: "photos/<script>alert(1)</script>.jpg".into(),
        label: 0,
        predicted: Some(1),
        confidence: Some(0.98),
        label_probability: None,
        thumbnail: Some(Thumbnail {
            width: 8,
            height: 8,
            url: "data:image/png;base64,AAAA".into(),
        }),
    }];
    let scored = [(0.5, 180), (f64::NAN, 100), (0.3, 189)];
    (log(&[0.6, f64::NAN, 0.3], &scored), record)
}

fn well_formed() {
    let (log, record) = hostile();
    let text = page("a & b", &log, &record, &judge(&log, &record));
    let document = parse(&text);
    let elements = || document.descendants().filter(|node| node.is_element());
    assert_eq!(
        elements()
            .filter(|node| node.has_tag_name("script"))
            .count(),
        0
    );
    let names: Vec<&str> = elements().map(|node| node.tag_name().name()).collect();
    assert!(
        !names.contains(&"script") && !names.contains(&"link"),
        "{names:?}"
    );
    assert_eq!(names.iter().filter(|&&name| name == "svg").count(), 2);
    for node in elements() {
        for attribute in node.attributes() {
            let fetched = ["href", "src", "srcset"].contains(&attribute.name());
            assert!(
                !fetched || attribute.value().starts_with("data:"),
                "{attribute:?}"
            );
        }
    }
    let shown: String = document
        .descendants()
        .filter_map(|node| node.text())
        .collect();
    for part in [
        "<cat>",
        "dog & \"co\"",
        "photos/<script>alert(1)</script>.jpg",
        "98.0 %",
        "94.5 %",
    ] {
        assert!(shown.contains(part), "{part}");
    }
    assert!(
        !text.contains("NaN"),
        "numbers that are none have no place in a chart"
    );
}

fn written_again() {
    let folder = tempfile::tempdir().unwrap();
    let (log, record) = hostile();
    record.write(folder.path()).unwrap();
    let read = Record::read(folder.path()).unwrap().unwrap();
    assert_eq!(read, record);
    let write = |record| page("run", &log, record, &judge(&log, record));
    assert_eq!(write(&read), write(&record));

    std::fs::write(folder.path().join("report.json"), "{").unwrap();
    assert_eq!(Record::read(folder.path()).unwrap_err().exit_code(), 3);
}

fn empty() {
    let text = page("empty", &RunLog::default(), &Record::default(), &[]);
    parse(&text);
}

/// Losses 0.2 and 0.4 at steps 10 and 20: axes from 0 to 20 and from 0 to 0.4.
fn points() {
    let runs = [("run".to_owned(), log(&[0.2, 0.4], &[]))];
    let charts = charts_of_runs(&runs, Over::Steps);
    assert_eq!(charts.len(), 1, "no evaluation, no chart of one");
    let text = svg_file(&charts);
    let document = parse(&text);
    let line = document
        .descendants()
        .find(|node| node.has_tag_name("polyline"));
    let places = line.unwrap().attribute("points").unwrap();
    let places: Vec<(f64, f64)> = places
        .split(' ')
        .map(|point| {
            let (x, y) = point.split_once(',').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        })
        .collect();
    // The plotted area: 58 … 624 across, 254 … 34 up.
    assert_eq!(places, [(341.0, 144.0), (624.0, 34.0)]);
    let texts: Vec<&str> = document
        .descendants()
        .filter(|node| node.has_tag_name("text"))
        .filter_map(|node| node.text())
        .collect();
    assert!(
        texts.contains(&"0.40") || texts.contains(&"0.4"),
        "{texts:?}"
    );
}

fn runs() {
    let one = log(&[0.6, 0.3], &[(0.5, 180), (0.3, 190)]);
    let two = log(&[0.7, 0.69], &[(0.69, 100), (0.7, 100)]);
    let runs = [("<low>".to_owned(), one), ("high".to_owned(), two)];
    let charts = charts_of_runs(&runs, Over::Epochs);
    let titles: Vec<&str> = charts.iter().map(|chart| chart.title.as_str()).collect();
    assert_eq!(
        titles,
        ["Training loss", "Validation loss", "Validation accuracy"]
    );
    let text = svg_file(&charts);
    let document = parse(&text);
    let lines = document
        .descendants()
        .filter(|node| node.has_tag_name("polyline"));
    let colours: Vec<&str> = lines.filter_map(|node| node.attribute("stroke")).collect();
    assert_eq!(colours.len(), 6);
    assert!(
        colours[0] != colours[1] && colours[..2] == colours[2..4],
        "{colours:?}"
    );
}

fn unchanged() {
    let scored = [(0.5, 180), (0.4, 185), (0.3, 190)];
    let log = log(&[0.6, f64::NAN, 0.3], &scored);
    let charts = charts_of_runs(&[("a & b".to_owned(), log)], Over::Steps);
    assert_eq!(svg_file(&charts), include_str!("curves.svg"));
}

/// The PNG file of runs of two logs each, by their names.
fn picture(names: &[&str]) -> image::RgbImage {
    let runs = names
        .iter()
        .map(|&name| (name.to_owned(), log(&[0.2, 0.4], &[])));
    let file = png_file(&charts_of_runs(&runs.collect::<Vec<_>>(), Over::Steps)).unwrap();
    image::load_from_memory_with_format(&file, image::ImageFormat::Png)
        .unwrap()
        .to_rgb8()
}

/// The curve of [`points`]: from (341, 144) to (624, 34).
fn pixels() {
    let picture = picture(&["run"]);
    assert_eq!(picture.dimensions(), (2 * 640, 2 * (34 + 220 + 44 + 18)));
    let at = |x: f32, y: f32| picture.get_pixel((2.0 * x) as u32, (2.0 * y) as u32).0;
    let blue = [0x00, 0x72, 0xb2];
    assert_eq!(at((341.0 + 624.0) / 2.0, (144.0 + 34.0) / 2.0), blue);
    assert_eq!(at(70.0, 298.0), blue, "the legend");
    assert_eq!([at(350.0, 100.0), at(3.0, 3.0)], [[255; 3]; 2]);
}

fn scripts() {
    let names = [
        "花", "卉", "ก", "ข", "é", "e", "Ж", "ب", "ת", "की", "क", "한", "😀", "",
    ];
    let pictures: Vec<_> = names.iter().map(|&name| picture(&[name])).collect();
    for (i, one) in pictures.iter().enumerate() {
        for (j, other) in pictures[..i].iter().enumerate() {
            assert!(one != other, "{:?} looks like {:?}", names[i], names[j]);
        }
    }
    let long = picture(&["Ж".repeat(500).as_str()]);
    let margin = long
        .enumerate_pixels()
        .filter(|(x, y, _)| *x > 2 * 625 && *y > 2 * 280);
    assert!(
        margin
            .map(|(_, _, pixel)| pixel.0)
            .all(|pixel| pixel == [255; 3])
    );
}

fn too_many() {
    let runs = vec![("run".to_owned(), log(&[0.2, 0.4], &[])); 1000];
    let error = png_file(&charts_of_runs(&runs, Over::Steps)).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.help().unwrap().contains(".svg"), "{error}");
}

fn hugging_faces_run(folder: &Path) -> Result<(), Failed> {
    let log = RunLog::read(folder)?;
    let state: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("trainer_state.json"))?)?;
    let rows = state["log_history"].as_array().unwrap();
    let with = |key: &str| rows.iter().filter(|row| row.get(key).is_some()).count();
    assert_eq!(
        (log.trained.len(), log.scored.len()),
        (with("loss"), with("eval_loss"))
    );
    assert!(log.scored.len() > 1);
    parse(&page(
        "theirs",
        &log,
        &Record::default(),
        &judge(&log, &Record::default()),
    ));
    Ok(())
}
