//! `cargo bench --bench step`: whole steps of ViT-S/14 at batch 8 on the CPU, a JSON line each.
//!
//! `vitcuda bench --step` does the same for any model and batch.

use vitcuda::bench::{self, Pass, Setup};
use vitcuda::device::Device;
use vitcuda::model::presets;

fn main() -> vitcuda::Result<()> {
    let setup = Setup {
        device: Device::Cpu,
        model: "vit_small_patch14_224",
        batch_size: 8,
        warmup: 1,
        repeats: 9,
    };
    let mut config = presets::preset(setup.model).expect("a preset");
    config.set_labels(&["cat", "dog"]);
    let mut engine = bench::random_engine(setup.device, config, setup.batch_size)?;
    for pass in [Pass::Train, Pass::Inference] {
        let time = bench::step(engine.as_mut(), pass, &setup)?;
        println!("{}", serde_json::to_string(&time).expect("plain values"));
    }
    Ok(())
}
