//! The verdict follows its stated rules.

use libtest_mimic::Trial;
use vitcuda::metrics::Prediction;
use vitcuda::report::Record;
use vitcuda::report::record::Origin;
use vitcuda::report::verdict::{Finding, Tone, judge};

use crate::made::{judged, log, predictions, record};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a good run is called good, with its interval", good),
        trial(
            "a model at chance is called collapsed, with a tenth of the rate",
            collapsed,
        ),
        trial(
            "only pretrained weights are destroyed, and not by a step or two",
            destroyed,
        ),
        trial("a run that ends while it gets better is told so", improving),
        trial(
            "an accuracy whose interval holds the largest share warns",
            not_shown,
        ),
        trial(
            "a rising validation loss under a falling training loss is overfitting",
            overfitted,
        ),
        trial("a rise within chance is not overfitting", within_chance),
        trial("a rise of both losses is no overfitting", unstable),
        trial(
            "without both evaluations overfitting is not judged",
            not_judged,
        ),
        trial("a significant change of accuracy is called so", significant),
        trial("a run that failed says why", failed),
        trial(
            "a confident model that is often wrong is too sure",
            too_sure,
        ),
    ]
}

const FALLING: [f64; 6] = [0.6, 0.4, 0.3, 0.2, 0.1, 0.05];
const OVERFITTING: [(f64, usize); 6] = [
    (0.5, 180),
    (0.2, 190),
    (0.25, 191),
    (0.3, 190),
    (0.35, 189),
    (0.4, 190),
];

fn find<'a>(findings: &'a [Finding], title: &str) -> &'a Finding {
    let titles: Vec<&str> = findings.iter().map(|f| f.title.as_str()).collect();
    let found = findings.iter().find(|f| f.title == title);
    found.unwrap_or_else(|| panic!("`{title}` is not among {titles:?}"))
}

fn good() {
    let said = predictions(189, 4.0);
    let scored = [(0.5, 180), (0.4, 185), (0.3, 189)];
    let record = Record {
        judged: Some(judged(&said)),
        ..Record::default()
    };
    let findings = judge(&log(&FALLING[..3], &scored), &record);
    let accuracy = find(&findings, "Accuracy 94.5 %");
    assert_eq!(accuracy.tone, Tone::Good);
    // The published Wilson interval of 189 of 200.
    assert!(
        accuracy.text.contains("between 90.4 % and 96.9 %"),
        "{}",
        accuracy.text
    );
    assert!(
        accuracy.text.contains("would be right for 50.0 %"),
        "{}",
        accuracy.text
    );
    assert_eq!(find(&findings, "No sign of overfitting").tone, Tone::Good);
    assert!(findings.iter().all(|f| f.tone != Tone::Warning));
}

/// All logits equal but for a hair: a loss of ln 2, half of the images right.
fn collapsed() {
    let said = predictions(100, 1e-3);
    let findings = judge(&log(&[0.7; 6], &[(0.69, 100); 6]), &record(&said, &said));
    let collapse = find(&findings, "Collapsed to chance");
    assert_eq!(collapse.tone, Tone::Warning);
    assert!(
        collapse
            .text
            .contains("`--learning-rate 2e-5` instead of 2e-4"),
        "{}",
        collapse.text
    );
    assert!(collapse.text.contains("reaches 0.693"), "{}", collapse.text);
    // Nothing finer is said about a model that knows nothing.
    assert_eq!(findings.len(), 2);
    let accuracy = &findings[0];
    assert!(
        accuracy.text.ends_with("not better than that."),
        "{}",
        accuracy.text
    );
}

fn destroyed() {
    let said = predictions(100, 1e-3);
    let judge = |origin, steps| {
        let record = Record {
            origin,
            ..record(&said, &said)
        };
        judge(&log(&vec![0.7; steps], &[]), &record)
    };
    let text = |origin| find(&judge(origin, 6), "Collapsed to chance").text.clone();
    let pretrained = text(Some(Origin::Pretrained));
    assert!(pretrained.contains("destroys the pretrained weights"));
    for origin in [Some(Origin::Scratch), None] {
        assert!(!text(origin).contains("pretrained"), "{}", text(origin));
    }
    assert!(
        pretrained.contains("at least 95 % of that") && pretrained.contains("at least 50 steps")
    );
    // 40 steps.
    let findings = judge(Some(Origin::Pretrained), 4);
    let short = find(&findings, "Not yet better than chance");
    assert!(short.text.contains("train longer") && !short.text.contains("pretrained"));
}

fn improving() {
    let said = predictions(189, 4.0);
    let record = Record {
        judged: Some(judged(&said)),
        ..Record::default()
    };
    let titles = |scored: &[(f64, usize)]| {
        let findings = judge(&log(&FALLING, scored), &record);
        let titles = findings.into_iter().map(|f| f.title);
        titles.collect::<Vec<_>>()
    };
    let title = "Still improving: train longer".to_owned();
    let falling = [(0.5, 180), (0.4, 183), (0.35, 185), (0.3, 189)];
    assert!(titles(&falling).contains(&title));
    let level = [(0.302, 189), (0.301, 189), (0.3005, 189), (0.3, 189)];
    let bent = [(0.5, 180), (0.3, 189), (0.31, 188), (0.29, 189)];
    for scored in [&level[..], &bent, &falling[..3]] {
        assert!(!titles(scored).contains(&title), "{scored:?}");
    }
}

fn not_shown() {
    // 112 of 200: the interval, 49.1 to 62.7 %, contains one half.
    let said = predictions(112, 0.5);
    let record = Record {
        judged: Some(judged(&said)),
        ..Record::default()
    };
    let findings = judge(&log(&[0.6], &[(0.6, 112)]), &record);
    let accuracy = find(&findings, "Accuracy 56.0 %");
    assert_eq!(accuracy.tone, Tone::Warning);
    assert!(
        accuracy
            .text
            .contains("do not show that the model is better"),
        "{}",
        accuracy.text
    );
}

/// Twice the confidence, on the same mistakes: the loss rises on the wrong images alone, by 4 on
/// 10 of 200, and falls a little on the others.
fn overfitted() {
    let (best, last) = (predictions(190, 8.0), predictions(190, 20.0));
    let findings = judge(&log(&FALLING, &OVERFITTING), &record(&best, &last));
    let finding = find(&findings, "Overfitting");
    assert_eq!(finding.tone, Tone::Warning);
    for part in [
        "From step 20",
        "to step 60",
        "the training loss goes from 0.5000 to 0.1625",
        "(Rule: ",
    ] {
        assert!(finding.text.contains(part), "{part}: {}", finding.text);
    }
    let same = find(&findings, "No evidence of a difference (200 images)");
    assert!(same.text.contains("p = 1.0000"), "{}", same.text);
    // 189 … 190 of 200 in the second half.
    find(&findings, "Ups and downs are within chance");
}

/// One image more is wrong: the mean loss rises by one image's 4 / 200 with an error as large.
fn within_chance() {
    let (best, last) = (predictions(190, 4.0), predictions(189, 4.0));
    let findings = judge(&log(&FALLING, &OVERFITTING), &record(&best, &last));
    let finding = find(&findings, "No significant overfitting");
    assert!(
        finding
            .text
            .contains("+0.0200 an image (+1.0 standard errors"),
        "{}",
        finding.text
    );
}

fn unstable() {
    let (best, last) = (predictions(190, 8.0), predictions(190, 20.0));
    let rising = [0.3, 0.2, 0.4, 0.5, 0.6, 0.6];
    let findings = judge(&log(&rising, &OVERFITTING), &record(&best, &last));
    assert_eq!(
        find(&findings, "Worse at the end than before").tone,
        Tone::Warning
    );
}

fn not_judged() {
    let findings = judge(&log(&FALLING, &OVERFITTING), &Record::default());
    let finding = find(&findings, "Overfitting is not judged");
    assert!(
        finding.text.contains("lowest at step 20 (0.2000)"),
        "{}",
        finding.text
    );
}

/// 40 images change from right to wrong: 2⁻³⁹.
fn significant() {
    let (best, last) = (predictions(190, 4.0), predictions(150, 4.0));
    let findings = judge(&log(&FALLING, &OVERFITTING), &record(&best, &last));
    let finding = find(&findings, "Step 20 is the more accurate one");
    assert!(finding.text.contains("p = 1.8e-12"), "{}", finding.text);
}

fn failed() {
    let record = Record {
        failure: Some("the loss is NaN".into()),
        ..Record::default()
    };
    let findings = judge(&log(&[f64::NAN], &[]), &record);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].text, "the loss is NaN");
}

fn too_sure() {
    let said: Vec<Prediction> = predictions(150, 9.0);
    let findings = judge(&log(&FALLING, &OVERFITTING), &record(&said, &said));
    find(&findings, "The model is too sure of itself");
    // Fifty mistakes fall evenly on both classes: neither pair is the most frequent.
    assert!(findings.iter().all(|f| f.title != "Most frequent mistake"));
}
