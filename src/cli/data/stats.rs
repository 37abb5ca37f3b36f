//! `vitcuda data stats`.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Map, Value, json};

use crate::cli::Global;
use crate::cli::images::progress_bar;
use crate::cli::output::{self, Outcome, Table};
use crate::cli::source::ColumnArgs;
use vitcuda::data::Contents;
use vitcuda::data::stats::{Member, Range, SplitStats, Stats};
use vitcuda::report::format::thousands;

/// Splits, classes, sizes, broken and repeated images
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Folder, Parquet file or folder of them, manifest, or OWNER/NAME of the hub, as for train [default: the embedded
    /// digits]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub columns: ColumnArgs,
}

pub fn run(args: &StatsArgs, global: &Global) -> Outcome {
    let source = args.columns.find(args.data.as_deref(), global)?;
    let contents = source.contents()?;
    for notice in &contents.notices {
        global.notice(notice);
    }
    let total = contents
        .splits
        .iter()
        .map(|split| split.dataset.len())
        .sum();
    let bar: ProgressBar = progress_bar("reading images", total, global);
    let stats = Stats::gather(&contents, global.decoding_threads(), |done| {
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    if global.json {
        output::json(&as_json(&source.to_string(), &contents, &stats))
    } else {
        print(&contents, &stats)
    }
}

fn as_json(data: &str, contents: &Contents, stats: &Stats) -> Value {
    let range = |range: Option<Range>| {
        range.map(|r| json!({ "least": r.least, "median": r.median, "most": r.most }))
    };
    let split = |split: &SplitStats| {
        let classes = split.classes.iter();
        let bad = split.bad.iter();
        json!({
            "name": split.name,
            "images": split.images,
            "classes": classes.map(|(n, c)| (n.clone(), json!(c))).collect::<Map<_, _>>(),
            "width": range(split.width),
            "height": range(split.height),
            "bad": bad.map(|b| json!({ "name": b.name, "reason": b.reason })).collect::<Vec<_>>(),
        })
    };
    let member = |m: &Member| json!({ "split": m.split, "name": m.name, "class": m.class });
    let group = |group: &Vec<Member>| group.iter().map(member).collect::<Value>();
    let features = contents.features.iter();
    json!({
        "data": data,
        "features": features.map(|(n, kind)| (n.clone(), json!(kind))).collect::<Map<_, _>>(),
        "splits": stats.splits.iter().map(split).collect::<Vec<_>>(),
        "same_picture": stats.same.iter().map(group).collect::<Vec<_>>(),
        "leaks": stats.leaks().map(group).collect::<Vec<_>>(),
        "contradictions": stats.contradictions().map(group).collect::<Vec<_>>(),
    })
}

fn print(contents: &Contents, stats: &Stats) -> Outcome {
    if !contents.features.is_empty() {
        let mut features = Table::new(&["column", "type"]);
        for (name, kind) in &contents.features {
            features.row(vec![name.clone(), kind.clone()]);
        }
        features.print()?;
        output::result("")?;
    }
    let mut splits = Table::new(&["split", "images", "bad", "width", "height"]);
    for split in &stats.splits {
        splits.row(vec![
            split.name.clone(),
            thousands(split.images as u64),
            split.bad.len().to_string(),
            range(split.width),
            range(split.height),
        ]);
    }
    splits.print()?;
    output::result("")?;
    classes(&stats.splits).print()?;
    for split in &stats.splits {
        let bad = split
            .bad
            .iter()
            .map(|bad| format!("{}: {}", bad.name, bad.reason));
        listed(&format!("bad images in {}", split.name), bad.collect())?;
    }
    let line = |group: &Vec<Member>| {
        let member = |m: &Member| format!("{} ({}, {})", m.name, m.split, m.class);
        group.iter().map(member).collect::<Vec<_>>().join(" = ")
    };
    let within = stats
        .same
        .iter()
        .filter(|g| g.iter().all(|m| m.split == g[0].split));
    listed(
        "the same picture more than once in a split",
        within.map(line).collect(),
    )?;
    listed(
        "the same picture in several splits (a leak)",
        stats.leaks().map(line).collect(),
    )?;
    let contradictions = stats.contradictions().map(line);
    listed(
        "the same picture in several classes",
        contradictions.collect(),
    )?;
    if stats.same.is_empty() {
        output::result("\nno picture occurs twice, within a split or between splits")?;
    }
    Ok(())
}

/// `57…1050, median 500`.
fn range(range: Option<Range>) -> String {
    match range {
        Some(r) if r.least == r.most => r.most.to_string(),
        Some(r) => format!("{}…{}, median {}", r.least, r.most, r.median),
        None => "-".into(),
    }
}

/// Images of each class in each split.
fn classes(splits: &[SplitStats]) -> Table {
    const SHOWN: usize = 100;
    let mut head = vec!["class"];
    head.extend(splits.iter().map(|split| split.name.as_str()));
    let mut table = Table::new(&head);
    let mut names: Vec<&String> = Vec::new();
    // Images of each class: those of split `i` in place `i`.
    let mut counts: HashMap<&String, Vec<usize>> = HashMap::new();
    for (i, split) in splits.iter().enumerate() {
        for (name, count) in &split.classes {
            let counts = counts.entry(name).or_insert_with(|| {
                names.push(name);
                vec![0; splits.len()]
            });
            counts[i] += count;
        }
    }
    for name in names.iter().take(SHOWN) {
        let mut cells = vec![(*name).clone()];
        cells.extend(counts[*name].iter().map(|&count| thousands(count as u64)));
        table.row(cells);
    }
    if names.len() > SHOWN {
        let mut cells = vec![format!("and {} more", names.len() - SHOWN)];
        cells.extend(splits.iter().map(|_| String::new()));
        table.row(cells);
    }
    table
}

/// The first lines, under how many there are.
fn listed(what: &str, lines: Vec<String>) -> Outcome {
    const SHOWN: usize = 20;
    if lines.is_empty() {
        return Ok(());
    }
    output::result(format_args!("\n{what}: {}", lines.len()))?;
    for line in lines.iter().take(SHOWN) {
        output::result(format_args!("  {line}"))?;
    }
    if lines.len() > SHOWN {
        output::result(format_args!(
            "  and {} more (--json lists all)",
            lines.len() - SHOWN
        ))
    } else {
        Ok(())
    }
}
