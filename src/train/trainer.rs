//! The training loop.
//!
//! At a step: update, log, evaluate, save, as transformers does it. Epoch e shows the images in the
//! order `randperm(n, seed + e)`.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope};
use std::time::Instant;

use crate::error::{Error, Result};
use crate::model::cost::hugging_face_total_flos;
use crate::report::record::Origin;
use crate::report::{BestMark, Event, Fact, Logged, Progress, Reporter};

use super::clock::Clock;
use super::config::{Interval, SaveStrategy, TrainConfig};
use super::engine::{Batch, Engine, StepOutput};
use super::evaluations::Evaluations;
use super::feed::{Feed, Ready};
use super::health::Health;
use super::metrics_file::MetricsFile;
use super::outcome::Outcome;
use super::plan::{Due, Plan};
use super::resume::{self, Beginning};
use super::run_folder::RunFolder;
use super::run_lock::RunLock;
use super::saving::Begun;
use super::schedule::LearningRate;
use super::source::BatchSource;
use super::state::TrainerState;
use super::writer::{Destination, Writer};

/// How a model is kept in a folder; the loop knows no more of its files than that. Checkpoints are
/// written by another thread.
pub trait ModelFiles: Sync {
    /// Writes `config.json`, `model.safetensors` and `preprocessor_config.json` into an existing
    /// folder, each atomically.
    fn save(&self, folder: &Path, params: &[f32]) -> Result<()>;

    /// Reads the parameters back.
    fn load(&self, folder: &Path) -> Result<Vec<f32>>;
}

/// What a run is told, besides its model and its images.
pub struct Job<'a> {
    pub config: &'a TrainConfig,
    /// Of the output folder.
    pub lock: &'a RunLock,
    pub model_files: &'a dyn ModelFiles,
    pub origin: Origin,
    /// Lines for the header of the report; the plan of the run is added to them.
    pub facts: Vec<Fact>,
    /// By flag, what else a resumed run must have in common with the run it goes on with: images,
    /// device, precision.
    pub identity: Vec<(&'static str, String)>,
    /// Commands to try after the run, shown at its end.
    pub next: Vec<String>,
    /// Set from outside to end the run after the step in progress.
    pub stop: &'a AtomicBool,
}

/// Trains the model that `engine` holds, and leaves in the output folder what Hugging Face's
/// Trainer leaves, safetensors in place of pickles.
///
/// At the end `engine` holds the parameters that were written: the last ones, or the best ones with
/// `load_best_model_at_end`.
///
/// # Errors
/// [`Error::Usage`] for settings that contradict each other, those of the run to be resumed among
/// them, or an output folder that holds another run; [`Error::Diverged`] when losses stop being
/// finite; [`Error::Interrupted`], after a checkpoint was written, when `job.stop` is set;
/// [`Error::NotSaved`] when a checkpoint could not be written, unless the run goes on without, and
/// always when the final model could not; and what engine, images and files report.
///
/// # Panics
/// If `job.lock` is not that of the output folder.
pub fn train<'a>(
    engine: &'a mut dyn Engine,
    images: &dyn BatchSource,
    validation: Option<&'a dyn BatchSource>,
    job: &'a Job<'a>,
    reporter: &'a mut dyn Reporter,
) -> Result<Outcome> {
    thread::scope(|scope| {
        let mut run = Run::new(scope, engine, images, validation, job, reporter)?;
        run.start()?;
        if job.config.eval_on_start && run.state.global_step == 0 {
            run.evaluate_start()?;
        }
        let steps = match run.catch_up()? {
            Flow::Continue => run.all_epochs(images),
            Flow::Stop => Ok(()),
        };
        if let Err(error) = steps {
            // The checkpoint being written is told of, too; the first error is what matters.
            let _ = run.wait_for_writer();
            return Err(error);
        }
        run.finish()
    })
}

/// A run in progress.
pub(super) struct Run<'a> {
    pub(super) engine: &'a mut dyn Engine,
    pub(super) validation: Option<&'a dyn BatchSource>,
    pub(super) job: &'a Job<'a>,
    pub(super) reporter: &'a mut dyn Reporter,
    pub(super) metrics: MetricsFile,
    pub(super) folder: RunFolder,
    pub(super) writer: Writer<Begun>,
    pub(super) plan: Plan,
    rate: LearningRate,
    pub(super) health: Health,
    pub(super) state: TrainerState,
    pub(super) clock: Clock,
    /// Of the last step, before clipping.
    grad_norm: f64,
    pub(super) evaluations: Evaluations,
    pub(super) early_stop: Option<String>,
    /// Steps, and seconds, of the sessions before this one.
    pub(super) first_step: u64,
    pub(super) seconds_before: f64,
}

/// Whether the loop goes on after a step.
#[derive(PartialEq)]
pub(super) enum Flow {
    Continue,
    Stop,
}

impl<'a> Run<'a> {
    fn new<'scope>(
        scope: &'scope Scope<'scope, '_>,
        engine: &'a mut dyn Engine,
        images: &dyn BatchSource,
        validation: Option<&'a dyn BatchSource>,
        job: &'a Job<'a>,
        reporter: &'a mut dyn Reporter,
    ) -> Result<Self>
    where
        'a: 'scope,
    {
        let (config, examples) = (job.config, images.len());
        assert_eq!(job.lock.folder(), config.output_dir, "the folder is locked");
        let plan = Plan::new(config, examples)?;
        let validation = validation.filter(|images| !images.is_empty());
        let evaluates = config.eval != Interval::Never || config.eval_on_start;
        if validation.is_none() && evaluates {
            return Err(Error::usage(
                "evaluations are asked for, but there are no validation images",
                "give a `validation` folder or `--eval-samples`, or use `--eval-strategy no`",
            ));
        }
        let rate = LearningRate::new(config, plan.max_steps);
        let class_counts = images.class_counts(engine.config().num_labels());
        let warmup_steps = rate.warmup_steps();
        let mut state = TrainerState::new(config, &plan);
        let counts = (examples, validation.map_or(0, |images| images.len()));
        let settings = resume::settings(job, engine, counts);
        let (folder, beginning) = resume::open(config, &settings)?;
        state.stateful_callbacks.settings = settings;
        let destination = Destination {
            folder: folder.clone(),
            model_files: job.model_files,
            table: engine.table().clone(),
            limit: config.save_total_limit,
        };
        let mut run = Self {
            writer: Writer::start(scope, destination),
            metrics: MetricsFile::append(folder.path().join("metrics.jsonl"))?,
            health: Health::new(
                config,
                plan.max_steps,
                warmup_steps,
                job.origin,
                &class_counts,
            ),
            state,
            engine,
            validation,
            job,
            reporter,
            folder,
            plan,
            rate,
            clock: Clock::new(),
            grad_norm: f64::NAN,
            evaluations: Evaluations::default(),
            early_stop: None,
            first_step: 0,
            seconds_before: 0.0,
        };
        match beginning {
            Beginning::New => {}
            Beginning::Anew(text) => run.emit(Event::Notice { text })?,
            Beginning::At(point) => run.restore(*point)?,
        }
        Ok(run)
    }

    fn start(&mut self) -> Result<()> {
        let mut facts = self.job.facts.clone();
        let validation = self.validation.as_ref().map(|images| images.len());
        facts.push(Fact::new(
            "plan",
            self.plan.in_words(self.job.config, validation),
        ));
        facts.extend(self.resumed_at());
        let (saving, no_room) = self.saving_plan();
        facts.extend(saving);
        let max_steps = self.plan.max_steps;
        self.emit(Event::RunStarted { facts, max_steps })?;
        no_room.map_or(Ok(()), |text| self.emit(Event::Notice { text }))
    }

    /// Whether no step is left to be made.
    pub(super) fn is_over(&self) -> bool {
        self.state.global_step >= self.plan.max_steps || self.early_stop.is_some()
    }

    /// One update of the parameters; the next one is made ready meanwhile.
    pub(super) fn step(&mut self, update: Ready, feed: &mut Feed) -> Result<Option<Result<Ready>>> {
        let Ready { batches, first } = update;
        let (begun_at, waited_before) = (Instant::now(), self.clock.waiting);
        let rate = self.rate.at(self.state.totals().updates + 1);
        let micro_batches: Vec<&Batch> = batches.iter().collect();
        let begun = self.engine.begin_step(&micro_batches, first, rate)?;
        let next = self.make_ready(feed);
        let output = self.engine.finish_step(begun)?;
        let waited = self.clock.waiting - waited_before;
        let computing = begun_at.elapsed().saturating_sub(waited);
        self.clock.computing += computing;
        self.state.totals().time.training_seconds += computing.as_secs_f64();
        self.made(&batches, output)?;
        Ok(next)
    }

    /// Takes in an update of the parameters.
    fn made(&mut self, batches: &[Batch], output: StepOutput) -> Result<()> {
        let images: usize = batches.iter().map(Batch::len).sum();
        self.clock.images += images;
        let step = self.state.global_step + 1;
        self.state.global_step = step;
        self.state.epoch = self.plan.epoch_at(step);
        let totals = self.state.totals();
        totals.images += images as u64;
        totals.updates += u64::from(output.loss.is_finite() && output.grad_norm.is_finite());
        totals.losses.add(output.loss);
        totals.window.add(output.loss);
        self.grad_norm = output.grad_norm;
        let images = totals.images;
        self.state.total_flos = hugging_face_total_flos(self.engine.config(), images);

        for text in self.engine.take_notices() {
            self.emit(Event::Notice { text })?;
        }
        match self.health.observe(step, batches, &output) {
            Ok(None) => {}
            Ok(Some(text)) => self.emit(Event::Notice { text })?,
            Err(error) => return Err(self.with_what_is_left(error)),
        }
        let progress = Progress {
            step,
            max_steps: self.plan.max_steps,
            epoch: self.state.epoch,
            loss: output.loss,
            images_per_second: self.clock.images_per_second(),
            remaining_seconds: self.clock.session.elapsed().as_secs_f64()
                / (step - self.first_step) as f64
                * (self.plan.max_steps - step) as f64,
        };
        self.emit(Event::Progress(progress))
    }

    /// Logs, evaluates and saves, where due.
    pub(super) fn after_step(&mut self) -> Result<Flow> {
        let step = self.state.global_step;
        self.look_at_writer()?;
        let due = self.plan.due(step);
        if due.log {
            self.log()?;
        }
        if self.stop_is_set() {
            return Err(self.interrupted());
        }
        self.evaluate_and_save(due)
    }

    /// The rest of what is due after a step.
    pub(super) fn evaluate_and_save(&mut self, due: Due) -> Result<Flow> {
        let mut mark = BestMark::NotBest;
        if due.evaluate {
            mark = match self.evaluate_step() {
                Err(Error::Interrupted { .. }) => return Err(self.interrupted()),
                evaluated => evaluated?,
            }
        }
        let last = self.is_over();
        let save = match self.job.config.save {
            SaveStrategy::Never => false,
            SaveStrategy::Best => mark == BestMark::Best,
            SaveStrategy::Epoch | SaveStrategy::Steps(_) => due.save || last,
        };
        if save {
            self.save()?;
        }
        if last {
            Ok(Flow::Stop)
        } else if self.stop_is_set() {
            Err(self.interrupted())
        } else {
            Ok(Flow::Continue)
        }
    }

    fn stop_is_set(&self) -> bool {
        self.job.stop.load(Ordering::Relaxed)
    }

    fn log(&mut self) -> Result<()> {
        let (step, epoch) = (self.state.global_step, self.state.epoch);
        let learning_rate = self.rate.logged(self.state.totals().updates);
        let window = std::mem::take(&mut self.state.totals().window);
        let logged = Logged {
            step,
            epoch,
            loss: window.mean(),
            grad_norm: self.grad_norm,
            learning_rate,
            nonfinite_losses: window.nonfinite,
            images_per_second: self.clock.images_per_second(),
            data_wait: self.clock.wait_share(),
        };
        self.clock.restart_window();
        self.state.push_logged(&logged);
        self.emit(Event::Logged(logged))
    }

    /// Seconds since the run began, without the time between its sessions.
    pub(super) fn runtime(&self) -> f64 {
        self.seconds_before + self.clock.session.elapsed().as_secs_f64()
    }

    /// Tells the listeners, and `metrics.jsonl` if the event belongs there.
    pub(super) fn emit(&mut self, event: Event) -> Result<()> {
        if matches!(
            event,
            Event::Logged(_) | Event::Evaluated(_) | Event::Saved(_)
        ) {
            let was_behind = self.metrics.is_behind();
            match self.metrics.write(&event) {
                Err(error) if !was_behind => {
                    let error = self.not_saved("the log could not be written", &error);
                    self.by_policy(Err(error))?;
                }
                _ => {} // a disk that stays full is told of once
            }
        }
        self.reporter.event(&event);
        Ok(())
    }
}
