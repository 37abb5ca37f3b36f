//! What the updates of a run are made of, collected ahead of them.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::rng::randperm;

use super::config::TrainConfig;
use super::engine::{Batch, Staged};
use super::plan::Plan;
use super::source::{BatchSource, Batches};
use super::trainer::{Flow, Run};

/// The micro-batches of each update of a run, in order, from one epoch to the next.
pub(super) struct Feed<'a> {
    images: &'a dyn BatchSource,
    plan: Plan,
    config: &'a TrainConfig,
    /// Updates that were fed, those of earlier sessions among them.
    fed: u64,
    /// Of the epoch in progress.
    batches: Option<Batches<'a>>,
}

impl<'a> Feed<'a> {
    /// What comes after `done` updates.
    pub(super) fn new(
        images: &'a dyn BatchSource,
        plan: &Plan,
        config: &'a TrainConfig,
        done: u64,
    ) -> Self {
        Self {
            images,
            plan: plan.clone(),
            config,
            fed: done,
            batches: None,
        }
    }

    /// The batches of epoch `epoch` from its update `first` on.
    fn epoch(&self, epoch: u64, first: u64) -> Batches<'a> {
        let batch_size = self.config.train_batch_size;
        let mut order = randperm(self.plan.examples, self.config.seed.wrapping_add(epoch));
        order.drain(..self.plan.images_before(first, batch_size));
        self.images.batches(epoch, order, batch_size)
    }
}

impl Iterator for Feed<'_> {
    type Item = Result<Vec<Batch>>;

    /// The micro-batches of the next update, to the last one of the run.
    fn next(&mut self) -> Option<Self::Item> {
        if self.fed >= self.plan.max_steps {
            return None;
        }
        let per_epoch = self.plan.updates_per_epoch;
        let (epoch, update) = (self.fed / per_epoch, self.fed % per_epoch);
        if update == 0 || self.batches.is_none() {
            self.batches = Some(self.epoch(epoch, update));
        }
        let batches = self.batches.as_mut().expect("set above");
        let wanted = self.plan.micro_batches(update) as usize;
        let batches: Result<Vec<Batch>> = batches.by_ref().take(wanted).collect();
        if let Ok(batches) = &batches {
            assert_eq!(batches.len(), wanted, "batches of an epoch");
        }
        self.fed += 1;
        Some(batches)
    }
}

/// An update that can be made.
pub(super) struct Ready {
    pub(super) batches: Vec<Batch>,
    /// The first of them, on its way to the device.
    pub(super) first: Option<Staged>,
}

impl Run<'_> {
    /// Makes the updates that are left of the run.
    pub(super) fn all_epochs(&mut self, images: &dyn BatchSource) -> Result<()> {
        let done = self.state.global_step;
        let mut feed = Feed::new(images, &self.plan, self.job.config, done);
        let mut ready = self.make_ready(&mut feed);
        while let Some(update) = ready {
            // What goes wrong with the update after it is told when its turn comes.
            ready = self.step(update?, &mut feed)?;
            if self.after_step()? == Flow::Stop {
                break;
            }
        }
        Ok(())
    }

    /// Collects the next update and sends its first batch on its way, under the step that the device
    /// is at work on, if it is.
    pub(super) fn make_ready(&mut self, feed: &mut Feed) -> Option<Result<Ready>> {
        let waiting = Instant::now();
        let batches = feed.next()?;
        Some(batches.and_then(|batches| {
            // The time that somebody else has used was nobody's wait.
            if !self.engine.is_at_work()? {
                self.waited(waiting.elapsed());
            }
            let first = self.engine.stage(&batches[0])?;
            Ok(Ready { batches, first })
        }))
    }

    fn waited(&mut self, time: Duration) {
        self.clock.waiting += time;
        self.state.totals().time.data_wait_seconds += time.as_secs_f64();
    }
}
