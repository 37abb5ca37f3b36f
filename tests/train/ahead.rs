//! Collecting the next step's images while a device makes a step.

use std::time::Duration;

use libtest_mimic::Trial;
use vitcuda::error::{Error, Result};
use vitcuda::model::config::VitConfig;
use vitcuda::model::params::ParamTable;
use vitcuda::report::Event;
use vitcuda::train::BatchSource;
use vitcuda::train::config::Interval;
use vitcuda::train::engine::{Batch, Begun, Engine, OptimizerState, Staged, StepOutput};
use vitcuda::train::health::MAX_NONFINITE;
use vitcuda::train::source::Batches;

use crate::fakes::{Numbered, Scripted, tiny_config};
use crate::play::{Play, notices};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "the next batch is staged before a step is waited for",
            order,
        ),
        trial(
            "a device that works by itself changes no number and no order",
            same_run,
        ),
        trial("a loss is told of its own step", own_step),
        trial(
            "images that cannot be had end the run when it is their turn",
            gone,
        ),
        trial("only the time in which the device is idle is a wait", waits),
        trial(
            "what the engine has to say is told once, behind its step",
            engine_notices,
        ),
    ]
}

/// Plays a script as a device that works by itself, and keeps the order of calls.
struct Device {
    script: Scripted,
    calls: Vec<String>,
    staged: Option<(Staged, Vec<u8>)>,
    under_way: Option<StepOutput>,
    /// What it says while a step is under way, and before the first.
    at_work: bool,
}

impl Device {
    fn new() -> Self {
        Self {
            script: Scripted::new(tiny_config(2)),
            calls: Vec::new(),
            staged: None,
            under_way: None,
            at_work: true,
        }
    }

    fn call(&mut self, name: &str, step: u64) {
        self.calls.push(format!("{name} {step}"));
    }
}

impl Engine for Device {
    fn config(&self) -> &VitConfig {
        self.script.config()
    }

    fn table(&self) -> &ParamTable {
        self.script.table()
    }

    fn train_step(&mut self, _: &[&Batch], _: f64) -> Result<StepOutput> {
        panic!("the loop leaves this device time")
    }

    fn begin_step(
        &mut self,
        micro_batches: &[&Batch],
        first: Option<Staged>,
        lr: f64,
    ) -> Result<Begun> {
        assert!(self.under_way.is_none(), "two steps at once");
        // An evaluation in between has used the place.
        if let Some((staged, images)) = self.staged.take() {
            assert_eq!((first, &images), (Some(staged), &micro_batches[0].images));
        }
        self.under_way = Some(self.script.train_step(micro_batches, lr)?);
        self.call("begin", self.script.steps);
        Ok(Begun::UnderWay)
    }

    fn stage(&mut self, batch: &Batch) -> Result<Option<Staged>> {
        let step = self.script.steps + 1;
        self.call("stage", step);
        self.staged = Some((Staged(step), batch.images.clone()));
        Ok(Some(Staged(step)))
    }

    fn is_at_work(&self) -> Result<bool> {
        Ok(self.at_work)
    }

    fn finish_step(&mut self, step: Begun) -> Result<StepOutput> {
        assert!(matches!(step, Begun::UnderWay));
        self.call("finish", self.script.steps);
        Ok(self.under_way.take().expect("a step was begun"))
    }

    fn take_notices(&mut self) -> Vec<String> {
        match self.script.steps {
            2 => vec!["the second step is over".into()],
            _ => Vec::new(),
        }
    }

    fn logits(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        assert!(self.under_way.is_none(), "an evaluation in a step");
        self.staged = None;
        self.script.logits(batch)
    }

    fn params(&self) -> Result<Vec<f32>> {
        self.script.params()
    }

    fn set_params(&mut self, params: &[f32]) -> Result<()> {
        self.script.set_params(params)
    }

    fn optimizer(&self) -> Result<OptimizerState> {
        self.script.optimizer()
    }

    fn set_optimizer(&mut self, state: &OptimizerState) -> Result<()> {
        self.script.set_optimizer(state)
    }
}

fn order() {
    for accumulation in [1, 3] {
        let mut play = Play::new();
        // Two epochs of two steps each.
        play.train_images = Numbered::new(16 * 2 * accumulation);
        play.config.gradient_accumulation_steps = accumulation;
        play.config.num_train_epochs = 2.0;
        let mut device = Device::new();
        play.run(&mut device).unwrap();
        let expected = [
            "stage 1", "begin 1", "stage 2", "finish 1", "begin 2", "stage 3", "finish 2",
            "begin 3", "stage 4", "finish 3", "begin 4", "finish 4",
        ];
        assert_eq!(device.calls, expected);
    }
}

/// What a run tells of itself, without its times.
fn told(play: &Play) -> Vec<String> {
    let events = play.events.iter().filter_map(|event| match event {
        Event::Progress(p) => Some(format!("{} {}", p.step, p.loss)),
        Event::Logged(l) => Some(format!(
            "log {} {} {} {} {}",
            l.step, l.loss, l.grad_norm, l.learning_rate, l.nonfinite_losses
        )),
        Event::Evaluated(e) => Some(format!("evaluate {} {:?}", e.step, e.scores.eval_loss)),
        Event::Saved(s) => Some(format!("save {} {:?}", s.step, s.mark)),
        Event::Notice { text } if !text.contains("second") => Some(text.clone()),
        _ => None,
    });
    events.collect()
}

fn same_run() {
    let play = |engine: &mut dyn Engine| {
        let mut play = Play::new().every(7);
        play.config.num_train_epochs = 2.0;
        play.config.gradient_accumulation_steps = 4;
        play.config.logging = Interval::Steps(3);
        let outcome = play.run(engine).unwrap();
        (told(&play), outcome.state.global_step)
    };
    let script = |step| StepOutput {
        loss: if step == 5 { f64::NAN } else { step as f64 },
        grad_norm: 0.5,
    };
    let mut waiting = Scripted::new(tiny_config(2));
    let mut device = Device::new();
    (waiting.on_step, device.script.on_step) = (script, script);
    assert_eq!(play(&mut device), play(&mut waiting));
    let steps = |engine: &Scripted| engine.record.lock().unwrap().steps.clone();
    assert_eq!(steps(&device.script), steps(&waiting));
}

fn own_step() {
    let mut play = Play::new().every(4);
    let mut device = Device::new();
    device.script.on_step = |step| StepOutput {
        loss: if step < 10 { 1.0 } else { f64::NAN },
        grad_norm: 1.0,
    };
    let error = play.run(&mut device).unwrap_err();
    assert_eq!(error.exit_code(), 7);
    assert!(error.to_string().contains("10 to 59"), "{error}");
    assert_eq!(device.script.steps, 9 + u64::from(MAX_NONFINITE));
    let told = "the loss of step 10 is NaN; the step is left out";
    assert!(notices(&play).iter().any(|text| text.starts_with(told)));
    assert_eq!(play.files("checkpoint"), ["checkpoint-4", "checkpoint-8"]);
}

/// Images of which those from batch `good` on cannot be had, and all take their time.
struct Failing {
    images: Numbered,
    good: usize,
    time: Duration,
}

impl BatchSource for Failing {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn class_counts(&self, classes: usize) -> Vec<usize> {
        self.images.class_counts(classes)
    }

    fn batches(&self, epoch: u64, order: Vec<usize>, batch_size: usize) -> Batches<'_> {
        let batches = self.images.batches(epoch, order, batch_size).enumerate();
        Box::new(batches.map(|(index, batch)| {
            std::thread::sleep(self.time);
            if index < self.good {
                batch
            } else {
                Err(Error::data("photo.jpg", "it is gone", "leave it there"))
            }
        }))
    }
}

fn gone() {
    for engine in [
        &mut Device::new() as &mut dyn Engine,
        &mut Scripted::new(tiny_config(2)),
    ] {
        let mut play = Play::new().every(4);
        play.config.logging = Interval::Steps(1);
        let images = Failing {
            images: Numbered::new(1000),
            good: 4,
            time: Duration::ZERO,
        };
        let error = play.run_on(engine, &images).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        let told = told(&play);
        assert!(told.last().unwrap().starts_with("save 4"), "{told:?}");
        assert_eq!(play.files("checkpoint"), ["checkpoint-4"]);
    }
}

fn waits() {
    let waited = |at_work| {
        let mut play = Play::new();
        play.config.max_steps = Some(4);
        let images = Failing {
            images: Numbered::new(1000),
            good: usize::MAX,
            time: Duration::from_millis(20),
        };
        let mut device = Device::new();
        device.at_work = at_work;
        let mut outcome = play.run_on(&mut device, &images).unwrap();
        outcome.state.totals().time.data_wait_seconds
    };
    // What is left is the evaluation at the end, whose images are there at once.
    assert!(waited(true) < 0.02);
    assert!(waited(false) >= 4.0 * 0.02);
}

fn engine_notices() {
    let mut play = Play::new();
    play.config.max_steps = Some(3);
    play.run(&mut Device::new()).unwrap();
    assert_eq!(notices(&play), ["the second step is over"]);
    let told = play.events.iter().map(|event| match event {
        Event::Progress(p) => p.step,
        Event::Notice { .. } => 99,
        _ => 0,
    });
    let told: Vec<u64> = told.filter(|&step| step > 0).collect();
    assert_eq!(told, [1, 99, 2, 3]);
}
