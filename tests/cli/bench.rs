//! `vitcuda bench --kernels`.

use std::collections::BTreeSet;

use serde_json::Value;
use vitcuda::ops::REGISTRY;

use super::support::run;

const SHORT: &str = "bench --kernels --model vit_digits_patch2_8 --batch-size 2 --repeats 1";

#[test]
fn every_operation_has_rows_that_make_sense() {
    let said = run(&format!("{SHORT} --json")).well();
    let rows = said
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let rows: Vec<Value> = rows.collect();
    let (ceilings, kernels) = rows.split_first().unwrap();
    assert_eq!(ceilings["what"], "ceilings");
    assert!(ceilings["copy_gb_s"].as_f64().unwrap() > 0.0);
    for row in kernels {
        assert_eq!(row["what"], "kernel");
        assert_eq!(row["emulated"], false, "{row}");
        assert_eq!(row["precision"], "f32");
        let [ms, least, rate] = ["ms", "ms_min", "gb_s"].map(|key| row[key].as_f64().unwrap());
        assert!(least > 0.0 && least <= ms && rate > 0.0, "{row}");
        // Products have a rate and, on a CPU, no ceiling; all else is held against the copy.
        assert_eq!(row["tflops"].is_null(), row["ceiling"] == "copy", "{row}");
    }
    let timed: BTreeSet<_> = kernels
        .iter()
        .map(|row| row["op"].as_str().unwrap())
        .collect();
    let registered: BTreeSet<_> = REGISTRY.iter().map(|op| op.name()).collect();
    assert_eq!(timed, registered);
}

#[test]
fn the_table_says_what_was_timed_on_what() {
    let said = run(SHORT).well();
    let head = said.stdout.lines().next().unwrap();
    assert!(head.starts_with("vit_digits_patch2_8 on cpu, "), "{head}");
    assert!(
        said.stdout.contains("attention backward"),
        "{}",
        said.stdout
    );
}
