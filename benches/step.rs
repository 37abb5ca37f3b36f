//! `cargo bench --bench step`: whole steps of ViT-S/14 at batch 8 on the CPU, a JSON line each.
//!
//! `vitcuda bench --step` does the same for any model and batch.

use vitcuda::bench::{self, Pass, Repeats};
use vitcuda::device::Device;
use vitcuda::model::presets;

fn main() -> vitcuda::Result<()> {
    let mut config = presets::preset("vit_small_patch14_224").expect("a preset");
    config.set_labels(&["cat", "dog"]);
    let mut engine = bench::random_engine(Device::Cpu, config)?;
    let repeats = Repeats {
        warmup: 1,
        timed: 9,
    };
    for pass in [Pass::Train, Pass::Inference] {
        let time = bench::step(engine.as_mut(), pass, 8, repeats)?;
        println!("{}", serde_json::to_string(&time).expect("plain values"));
    }
    Ok(())
}
