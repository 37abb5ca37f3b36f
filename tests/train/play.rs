//! A run from its settings to its files, for a test to look at.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tempfile::TempDir;
use vitcuda::error::{Error, Result};
use vitcuda::model::tensor_file::{self, Tensor, TensorFile};
use vitcuda::report::record::Origin;
use vitcuda::report::{Event, Logged, Reporter};
use vitcuda::train::config::{Interval, SaveStrategy, TrainConfig};
use vitcuda::train::engine::Engine;
use vitcuda::train::{BatchSource, Job, ModelFiles, Outcome, RunLock, train};

use crate::fakes::Numbered;

/// The parameters as one tensor, on a disk with room for so many models.
pub struct OneTensor {
    room: usize,
    saved: AtomicUsize,
}

impl OneTensor {
    pub fn with_room(room: usize) -> Self {
        let saved = AtomicUsize::new(0);
        Self { room, saved }
    }
}

impl ModelFiles for OneTensor {
    fn save(&self, folder: &Path, params: &[f32]) -> Result<()> {
        if self.saved.fetch_add(1, Ordering::Relaxed) == self.room {
            let full = std::io::ErrorKind::StorageFull.into();
            return Err(Error::io(folder, "write it", full));
        }
        let shape = [params.len()];
        let mut tensors = [Tensor {
            name: "params".into(),
            shape: &shape,
            values: params,
        }];
        tensor_file::write(folder.join("model.safetensors"), &mut tensors, &[])
    }

    fn load(&self, folder: &Path) -> Result<Vec<f32>> {
        let file = TensorFile::open(folder.join("model.safetensors"))?;
        let shape = file.shape("params").expect("saved by us").to_vec();
        file.read_vec("params", &shape)
    }
}

/// Keeps all events.
#[derive(Default)]
pub struct Listener(pub Vec<Event>);

impl Reporter for Listener {
    fn event(&mut self, event: &Event) {
        self.0.push(event.clone());
    }
}

/// A run to be played.
pub struct Play {
    pub config: TrainConfig,
    _folder: TempDir,
    pub stop: Arc<AtomicBool>,
    pub train_images: Numbered,
    pub validation_images: Numbered,
    pub model_files: OneTensor,
    pub events: Vec<Event>,
}

impl Play {
    /// 1,000 + 200 images, the tutorial's 16 a step; no logs, evaluations or checkpoints.
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        Self {
            config: TrainConfig {
                output_dir: folder.path().join("run"),
                learning_rate: 2e-4,
                num_train_epochs: 1.0,
                train_batch_size: 16,
                eval_batch_size: 64,
                logging: Interval::Steps(10),
                save: SaveStrategy::Never,
                ..TrainConfig::default()
            },
            _folder: folder,
            stop: Arc::default(),
            train_images: Numbered::new(1000),
            validation_images: Numbered::new(200),
            model_files: OneTensor::with_room(usize::MAX),
            events: Vec::new(),
        }
    }

    /// Evaluates and saves every `steps`.
    pub fn every(mut self, steps: u64) -> Self {
        self.config.eval = Interval::Steps(steps);
        self.config.save = SaveStrategy::Steps(steps);
        self
    }

    pub fn run(&mut self, engine: &mut dyn Engine) -> Result<Outcome> {
        let images = self.train_images.clone();
        self.run_on(engine, &images)
    }

    /// On other images than its own.
    pub fn run_on(
        &mut self,
        engine: &mut dyn Engine,
        train_images: &dyn BatchSource,
    ) -> Result<Outcome> {
        let lock = RunLock::take(&self.config.output_dir)?;
        let job = Job {
            config: &self.config,
            lock: &lock,
            model_files: &self.model_files,
            origin: Origin::Pretrained,
            facts: Vec::new(),
            identity: Vec::new(),
            next: vec!["vitcuda predict".into()],
            stop: &self.stop,
        };
        let mut listener = Listener::default();
        let outcome = train(
            engine,
            train_images,
            Some(&self.validation_images),
            &job,
            &mut listener,
        );
        self.events = listener.0;
        outcome
    }

    pub fn output(&self) -> &Path {
        &self.config.output_dir
    }

    /// Names in the output folder that begin with `start`, sorted.
    pub fn files(&self, start: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.output()).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|n| n.starts_with(start)).collect();
        names.sort();
        names
    }

    pub fn json(&self, file: &str) -> serde_json::Value {
        let text = std::fs::read_to_string(self.output().join(file)).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

pub fn logged_row(event: &Event) -> Option<&Logged> {
    match event {
        Event::Logged(logged) => Some(logged),
        _ => None,
    }
}

pub fn notices(play: &Play) -> Vec<&str> {
    let texts = play.events.iter().filter_map(|event| match event {
        Event::Notice { text } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}
