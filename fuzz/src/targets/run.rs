//! What a run leaves, and reads again when it is resumed or reported on.

use std::fs;
use std::path::Path;

use vitcuda::model::params::ParamTable;
use vitcuda::report::plot::{Over, charts_of_runs, svg_file};
use vitcuda::report::verdict::judge;
use vitcuda::report::{Record, RunLog, page};
use vitcuda::train::config::{Changes, Resume};
use vitcuda::train::{fuzzing, optimizer_file, resume};

use super::{tiny_config, write};
use crate::Input;

/// The checkpoint that is at hand, of a run on the ten digits.
const CHECKPOINT: &str = "checkpoint-2";
const STEP: u64 = 2;
const CLASSES: usize = 10;

pub fn prepare_state(folder: &Path) {
    fs::create_dir(folder.join(CHECKPOINT)).expect("a folder");
}

/// The end of the input's name says which file of a run it is.
pub fn state(input: &Input, folder: &Path) -> bool {
    let checkpoint = folder.join(CHECKPOINT);
    if input.name.ends_with("evaluations.json") {
        write(&checkpoint, "evaluations.json", input);
        return fuzzing::evaluations(&checkpoint, CLASSES).is_ok();
    }
    if input.name.ends_with("metrics.jsonl") {
        let file = write(folder, "metrics.jsonl", input);
        return fuzzing::metrics(&file, STEP).is_ok();
    }
    if input.name.ends_with("optimizer.safetensors") {
        write(&checkpoint, "optimizer.safetensors", input);
        let table = ParamTable::new(&tiny_config());
        return optimizer_file::load(&checkpoint, &table.params, STEP).is_ok();
    }
    let is_owner = input.name.ends_with("run.json");
    let path = if is_owner {
        write(folder, "run.json", input)
    } else {
        write(&checkpoint, "trainer_state.json", input)
    };
    let resume = Resume {
        checkpoint: None,
        changes: Changes::Refuse,
    };
    let accepted = resume::batch_size(folder, &resume).is_ok();
    fs::remove_file(path).expect("it was written");
    accepted
}

/// The page and the curves of a run, one of whose files is the input.
pub fn report(input: &Input, folder: &Path) -> bool {
    const FILES: [&str; 3] = ["report.json", "metrics.jsonl", "trainer_state.json"];
    let named = FILES.iter().find(|file| input.name.ends_with(*file));
    let name = named.copied().unwrap_or(FILES[0]);
    let path = write(folder, name, input);
    let (log, record) = (RunLog::read(folder), Record::read(folder));
    fs::remove_file(path).expect("it was written");
    let accepted = match name {
        "report.json" => record.is_ok(),
        _ => log.is_ok(),
    };
    let log = log.unwrap_or_default();
    let record = record.ok().flatten().unwrap_or_default();
    let findings = judge(&log, &record);
    page("run", &log, &record, &findings);
    for over in [Over::Steps, Over::Epochs] {
        svg_file(&charts_of_runs(&[("run".to_owned(), log.clone())], over));
    }
    accepted
}
