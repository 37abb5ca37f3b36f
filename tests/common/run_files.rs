//! What a run leaves, for tests that compare one with another.
#![allow(dead_code)] // each test binary uses its own part

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Keys that no two runs share: times, rates, and the size of files in which these are written out.
fn is_time(key: &str) -> bool {
    ["second", "runtime", "data_wait", "bytes"]
        .iter()
        .any(|part| key.contains(part))
}

fn without_times(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(key, _)| !is_time(key))
            .map(|(key, value)| (key, without_times(value)))
            .collect(),
        Value::Array(values) => values.into_iter().map(without_times).collect(),
        other => other,
    }
}

fn json(text: &str) -> Value {
    without_times(serde_json::from_str(text).unwrap())
}

/// The lines of `metrics.jsonl`: a checkpoint may be told of a few steps after its own, for it is
/// written while training goes on.
fn lines(text: &str) -> String {
    let mut rows: Vec<Value> = text.lines().map(json).collect();
    rows.sort_by_key(|row| (row["step"].as_u64(), row["event"] == "saved"));
    let rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    rows.join("\n")
}

/// For people: full of times and command lines, or saying the same as `metrics.jsonl`.
fn is_for_people(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    path.components().any(|part| part.as_os_str() == "runs")
        || ["report.html", "report.json", "metrics.csv", "README.md"]
            .map(Some)
            .contains(&name)
}

/// Every file of a run: JSON without its times, the rest byte for byte.
pub fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if is_for_people(&name) {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let text = || String::from_utf8(bytes.clone()).unwrap();
            let bytes = match path.extension().and_then(|e| e.to_str()) {
                Some("json") => json(&text()).to_string().into_bytes(),
                Some("jsonl") => lines(&text()).into_bytes(),
                _ => bytes,
            };
            found.insert(name, bytes);
        }
    }
    found
}

/// What of `found` is not as `expected`, if anything is.
pub fn difference(
    found: &BTreeMap<PathBuf, Vec<u8>>,
    expected: &BTreeMap<PathBuf, Vec<u8>>,
) -> Option<String> {
    let names = |files: &BTreeMap<PathBuf, _>| files.keys().cloned().collect::<Vec<_>>();
    if names(found) != names(expected) {
        return Some(format!("{:?}, not {:?}", names(found), names(expected)));
    }
    let differing = expected
        .iter()
        .find(|(name, bytes)| found[*name] != **bytes);
    differing.map(|(name, bytes)| {
        let same = |(a, b): &(&u8, &u8)| a == b;
        let at = std::iter::zip(&found[name], bytes).take_while(same).count();
        let around = |bytes: &[u8]| {
            let part = &bytes[at.saturating_sub(60)..bytes.len().min(at + 60)];
            String::from_utf8_lossy(part).into_owned()
        };
        format!(
            "{} at byte {at}:\n{}\nnot\n{}",
            name.display(),
            around(&found[name]),
            around(bytes)
        )
    })
}

/// Starts a run again and again, killing it at moments that `moment` draws, until one gets to its
/// end; gives the number of kills.
pub fn killed_until_done(
    mut session: impl FnMut() -> std::process::Command,
    mut moment: impl FnMut() -> std::time::Duration,
) -> usize {
    let mut kills = 0;
    loop {
        let mut running = session()
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(moment());
        if let Some(status) = running.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return kills;
        }
        running.kill().unwrap();
        running.wait().unwrap();
        kills += 1;
    }
}
