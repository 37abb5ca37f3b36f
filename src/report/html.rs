//! `report.html`: one page with everything inside, no script, nothing fetched. It is well-formed
//! XML too.

use std::fmt::Write;

use super::format::thousands;
use super::plot::charts_of_run;
use super::record::{Judged, Mistake, Record};
use super::run_log::RunLog;
use super::verdict::{Finding, Tone};
use super::xml::escape;

/// Classes of which the whole confusion matrix is shown.
const MATRIX_CLASSES: usize = 30;

/// Confused pairs shown in place of a larger matrix.
const CONFUSED_PAIRS: usize = 20;

const STYLE: &str = "\
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; } th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 1px solid #8888; }
.finding { border-left: 4px solid #8888; padding: .1rem 1rem; margin: .8rem 0; }
.finding p { margin: .2rem 0; } .good { border-color: #009e73; } .warning { border-color: #d55e00; }
.scroll { overflow-x: auto; } svg { max-width: 100%; height: auto; display: block; }
.sheet { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; width: 8.5rem; font-size: .8rem; } figcaption { overflow-wrap: anywhere; }
figure img { width: 8.5rem; height: 8.5rem; object-fit: contain; background: #8882; }
.pixels { image-rendering: pixelated; }
";

/// The page about a run called `name`.
pub fn page(name: &str, log: &RunLog, record: &Record, findings: &[Finding]) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n\
         <meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n",
        title = escape(name)
    );
    facts(&mut page, record);
    verdict(&mut page, findings, record);
    curves(&mut page, log);
    if let Some(judged) = &record.judged {
        classes(&mut page, judged);
        confusion(&mut page, judged);
        mistakes(&mut page, judged);
        calibration(&mut page, judged);
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn facts(page: &mut String, record: &Record) {
    if record.facts.is_empty() {
        return;
    }
    page.push_str("<table>\n");
    for fact in &record.facts {
        let (name, text) = (escape(&fact.name), escape(&fact.text));
        let _ = writeln!(
            page,
            "<tr><td>{name}</td><td style=\"text-align:left\">{text}</td></tr>"
        );
    }
    page.push_str("</table>\n");
}

fn verdict(page: &mut String, findings: &[Finding], record: &Record) {
    if findings.is_empty() && record.notices.is_empty() {
        return;
    }
    page.push_str("<h2>Verdict</h2>\n");
    for finding in findings {
        let class = match finding.tone {
            Tone::Good => "finding good",
            Tone::Neutral => "finding",
            Tone::Warning => "finding warning",
        };
        let (title, text) = (escape(&finding.title), escape(&finding.text));
        let _ = writeln!(
            page,
            "<div class=\"{class}\"><p><strong>{title}</strong></p><p>{text}</p></div>"
        );
    }
    if record.notices.is_empty() {
        return;
    }
    page.push_str("<details><summary>Notices during the run</summary>\n<ul>\n");
    for notice in &record.notices {
        let _ = writeln!(page, "<li>{}</li>", escape(notice));
    }
    page.push_str("</ul></details>\n");
}

fn curves(page: &mut String, log: &RunLog) {
    let charts = charts_of_run(log);
    if !charts.is_empty() {
        page.push_str("<h2>Curves</h2>\n");
    }
    for chart in charts {
        page.push_str(&chart.svg(0.0));
    }
}

/// A share in per cent, or a dash.
fn percent(share: Option<f64>) -> String {
    match share.filter(|share| share.is_finite()) {
        Some(share) => format!("{:.1} %", 100.0 * share),
        None => "–".into(),
    }
}

fn classes(page: &mut String, judged: &Judged) {
    let summary = &judged.summary;
    let loss = match summary.loss {
        Some(loss) => format!("{loss:.4}"),
        None => "not finite".into(),
    };
    let _ = write!(
        page,
        "<h2>Classes</h2>\n<p>{}, on {} images: accuracy {}, {}loss {loss}.</p>\n\
         <div class=\"scroll\"><table>\n<thead><tr><th>class</th><th>images</th><th>correct</th>\
         <th>recall</th><th>precision</th><th>F1</th></tr></thead>\n<tbody>\n",
        escape(&judged.what),
        thousands(summary.samples as u64),
        percent(Some(summary.accuracy())),
        if judged.classes.len() > 5 {
            format!(
                "among the five most probable {}, ",
                percent(Some(summary.top5_accuracy))
            )
        } else {
            String::new()
        },
    );
    for (name, count) in judged.classes.iter().zip(summary.confusion.class_counts()) {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(name),
            count.samples,
            count.correct,
            percent(count.recall()),
            percent(count.precision()),
            percent(count.f1())
        );
    }
    let [precision, recall, f1] = summary.confusion.macro_averages().map(|s| percent(Some(s)));
    let _ = write!(
        page,
        "<tr><td>mean of the classes</td><td></td><td></td><td>{recall}</td><td>{precision}</td>\
         <td>{f1}</td></tr>\n</tbody></table></div>\n"
    );
}

fn confusion(page: &mut String, judged: &Judged) {
    page.push_str("<h2>Confusion</h2>\n");
    let names: Vec<String> = judged.classes.iter().map(|name| escape(name)).collect();
    let confusion = &judged.summary.confusion;
    if names.len() > MATRIX_CLASSES {
        page.push_str("<p>The most frequent mistakes:</p>\n<ul>\n");
        for (label, class, images) in confusion.confused().into_iter().take(CONFUSED_PAIRS) {
            let (label, class) = (&names[label], &names[class]);
            let _ = writeln!(page, "<li>{label} taken for {class}: {images}</li>");
        }
        page.push_str("</ul>\n");
        return;
    }
    page.push_str("<div class=\"scroll\"><table>\n<thead><tr><th>is \\ taken for</th>");
    for name in &names {
        let _ = write!(page, "<th>{name}</th>");
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for (label, row) in confusion.rows().iter().enumerate() {
        let _ = write!(page, "<tr><td>{}</td>", names[label]);
        let total: usize = row.iter().sum();
        for (class, &images) in row.iter().enumerate() {
            let share = images as f64 / total.max(1) as f64;
            let colour = if class == label {
                "0,158,115"
            } else {
                "213,94,0"
            };
            let _ = write!(
                page,
                "<td style=\"background:rgba({colour},{:.2})\">{images}</td>",
                0.8 * share
            );
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

fn mistakes(page: &mut String, judged: &Judged) {
    let wrong = judged.summary.samples - judged.summary.correct;
    if wrong == 0 {
        page.push_str("<h2>Mistakes</h2>\n<p>None.</p>\n");
        return;
    }
    let _ = write!(
        page,
        "<h2>Mistakes</h2>\n<p>{} of {}, those that the model was surest of first. Look for wrong \
         labels among them.</p>\n<div class=\"sheet\">\n",
        judged.mistakes.len(),
        thousands(wrong as u64)
    );
    for mistake in &judged.mistakes {
        figure(page, mistake, &judged.classes);
    }
    page.push_str("</div>\n");
}

fn figure(page: &mut String, mistake: &Mistake, classes: &[String]) {
    page.push_str("<figure>");
    if let Some(thumbnail) = &mistake.thumbnail {
        // Digits of 8 × 8 pixels are to be seen as such.
        let tiny = thumbnail.width.max(thumbnail.height) < 64;
        let class = if tiny { " class=\"pixels\"" } else { "" };
        let _ = write!(
            page,
            "<img src=\"{}\" width=\"{}\" height=\"{}\" alt=\"\"{class}/>",
            escape(&thumbnail.url),
            thumbnail.width,
            thumbnail.height
        );
    }
    let taken_for = match mistake.predicted {
        Some(class) => format!(
            "{} {}",
            escape(&classes[class]),
            percent(mistake.confidence)
        ),
        None => "not a number".into(),
    };
    let _ = writeln!(
        page,
        "<figcaption><strong>{}</strong> {}<br/>taken for {taken_for}<br/>{}</figcaption></figure>",
        escape(&classes[mistake.label]),
        percent(mistake.label_probability),
        escape(&mistake.name)
    );
}

fn calibration(page: &mut String, judged: &Judged) {
    let calibration = &judged.summary.calibration;
    let _ = write!(
        page,
        "<h2>Calibration</h2>\n<p>Expected calibration error {}: how far accuracy and confidence \
         lie apart, over bins of confidence.</p>\n<table>\n<thead><tr><th>confidence</th>\
         <th>images</th><th>accuracy</th></tr></thead>\n<tbody>\n",
        percent(Some(calibration.expected_error()))
    );
    for bin in calibration.bins().iter().filter(|bin| bin.images > 0) {
        let share = |sum: f64| percent(Some(sum / bin.images as f64));
        let (confidence, accuracy) = (share(bin.confidence), share(bin.correct as f64));
        let images = bin.images;
        let _ = writeln!(
            page,
            "<tr><td>{confidence}</td><td>{images}</td><td>{accuracy}</td></tr>"
        );
    }
    page.push_str("</tbody></table>\n");
}
