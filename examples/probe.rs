use std::time::Instant;
use vitcuda::model::config::VitConfig;
use vitcuda::model::params::{Init, ParamTable};
use vitcuda::rng::{Philox, Purpose};
use vitcuda::train::cpu::CpuEngine;
use vitcuda::train::engine::{Batch, Engine, Hyper};
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
fn main() {
    let b: usize = std::env::args().nth(1).map_or(8, |v| v.parse().unwrap());
    let mut c = VitConfig {
        hidden_size: 384,
        num_attention_heads: 6,
        intermediate_size: 1536,
        patch_size: 14,
        ..Default::default()
    };
    c.set_labels(&["a", "b"]);
    let t = ParamTable::new(&c);
    let mut p = vec![0f32; t.len];
    for (i, q) in t.params.iter().enumerate() {
        let mut s = Philox::new(1, Purpose::Init, i as u64);
        for v in &mut p[q.range.clone()] {
            *v = match q.init {
                Init::Zeros => 0.0,
                Init::Ones => 1.0,
                Init::TruncatedNormal(d) => (d * s.truncated_normal()) as f32,
            };
        }
    }
    let lookup = std::array::from_fn(|_| std::array::from_fn(|i| i as f32 / 127.5 - 1.0));
    let mut s = Philox::new(2, Purpose::Test, 0);
    let batch = Batch {
        images: (0..b * 3 * 224 * 224).map(|_| s.next_u32() as u8).collect(),
        labels: (0..b as u32).map(|i| i % 2).collect(),
    };
    let mut e = CpuEngine::new(c, p, lookup, Hyper::default());
    for what in ["train", "infer"] {
        let mut ts = vec![];
        if what == "train" {
            e.train_step(&[&batch], 1e-5).unwrap();
        } else {
            e.logits(&batch).unwrap();
        }
        let c0 = cpu();
        for _ in 0..8 {
            let t = Instant::now();
            if what == "train" {
                let o = e.train_step(&[&batch], 1e-5).unwrap();
                if ts.is_empty() {
                    println!("{o:?}");
                }
            } else {
                e.logits(&batch).unwrap();
            }
            ts.push(t.elapsed().as_secs_f64());
        }
        ts.sort_by(f64::total_cmp);
        println!("   cpu seconds/image {:.4}", (cpu() - c0) / 8.0 / b as f64);
        println!(
            "{what} B={b}: median {:.2} images/s, best {:.2}",
            b as f64 / ts[4],
            b as f64 / ts[0]
        );
    }
}
