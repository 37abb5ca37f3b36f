//! The thread that writes checkpoints, so that training does not wait for a disk.
//!
//! One checkpoint is written at a time and none waits beside it: whoever has the next one waits
//! first. So a run needs room for one copy of its state, however slow the disk is.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::Scope;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::files::{self, Indent};
use crate::model::params::ParamTable;
use crate::report::BestMark;

use super::engine::OptimizerState;
use super::evaluations::Evaluations;
use super::optimizer_file;
use super::run_folder::RunFolder;
use super::state::TrainerState;
use super::trainer::ModelFiles;

/// The state of a run after a step.
pub(super) struct Snapshot {
    pub(super) params: Vec<f32>,
    /// None where only models are saved.
    pub(super) optimizer: Option<OptimizerState>,
    pub(super) evaluations: Evaluations,
    pub(super) state: TrainerState,
    pub(super) mark: BestMark,
}

/// Something to be written.
pub(super) enum Work {
    Checkpoint(Box<Snapshot>),
    /// The model of the best evaluation, in a run without checkpoints.
    Best(Vec<f32>),
}

/// What writing took.
pub(super) struct Written {
    pub(super) bytes: u64,
    pub(super) seconds: f64,
}

/// Where and how checkpoints are written.
pub(super) struct Destination<'a> {
    pub(super) folder: RunFolder,
    pub(super) model_files: &'a dyn ModelFiles,
    pub(super) table: ParamTable,
    /// Checkpoints to keep.
    pub(super) limit: Option<usize>,
}

/// The thread. Dropping its handle lets it finish what it writes.
pub(super) struct Writer<Tag> {
    work: Sender<Work>,
    written: Receiver<Result<Written>>,
    /// What belongs to the work in progress.
    tag: Option<Tag>,
}

impl<Tag> Writer<Tag> {
    /// A thread that writes to `destination` until its handle is dropped.
    pub(super) fn start<'scope, 'a: 'scope>(
        scope: &'scope Scope<'scope, '_>,
        destination: Destination<'a>,
    ) -> Self {
        let (work, to_write) = channel();
        let (done, written) = channel();
        scope.spawn(move || {
            for work in to_write {
                // Nobody listens any more where the run has ended in an error.
                let _ = done.send(destination.write(work));
            }
        });
        Self {
            work,
            written,
            tag: None,
        }
    }

    /// Begins to write; `tag` comes back with the result.
    ///
    /// # Panics
    /// If other work is in progress.
    pub(super) fn begin(&mut self, work: Work, tag: Tag) {
        assert!(self.tag.is_none(), "one checkpoint at a time");
        self.work.send(work).expect("the thread waits for work");
        self.tag = Some(tag);
    }

    /// What came with the work in progress.
    pub(super) fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The result of the work in progress, if it is done.
    pub(super) fn poll(&mut self) -> Option<(Tag, Result<Written>)> {
        match self.written.try_recv() {
            Ok(result) => self.tag.take().map(|tag| (tag, result)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("the thread that writes has panicked"),
        }
    }

    /// Waits for the work in progress, if there is any, and gives its result.
    pub(super) fn wait(&mut self) -> Option<(Tag, Result<Written>)> {
        let tag = self.tag.take()?;
        let result = self.written.recv();
        Some((tag, result.expect("the thread that writes has panicked")))
    }
}

impl Destination<'_> {
    fn write(&self, work: Work) -> Result<Written> {
        let start = Instant::now();
        let bytes = match work {
            Work::Checkpoint(snapshot) => self.checkpoint(&snapshot)?,
            Work::Best(params) => self.best(&params)?,
        };
        Ok(Written {
            bytes,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    /// Writes a checkpoint, and lets it become `last/` and perhaps `best/`; old ones go.
    fn checkpoint(&self, snapshot: &Snapshot) -> Result<u64> {
        let Snapshot { state, .. } = snapshot;
        let step = state.global_step;
        let checkpoint = self.folder.save_checkpoint(step, |folder| {
            self.model_files.save(folder, &snapshot.params)?;
            if let Some(optimizer) = &snapshot.optimizer {
                optimizer_file::save(folder, &self.table, optimizer)?;
            }
            snapshot.evaluations.save(folder)?;
            files::write_json(folder.join("trainer_state.json"), state, Indent::Two)
        })?;
        self.folder.set_last(&checkpoint)?;
        if snapshot.mark == BestMark::Best {
            self.folder.set_best(&checkpoint)?;
        }
        if let Some(limit) = self.limit {
            self.folder.rotate(limit, state.best_global_step)?;
        }
        size(&checkpoint)
    }

    fn best(&self, params: &[f32]) -> Result<u64> {
        let best = self.folder.make_best()?;
        self.model_files.save(&best, params)?;
        size(&best)
    }
}

/// Bytes of the files in `folder`.
pub(super) fn size(folder: &Path) -> Result<u64> {
    let total = || -> std::io::Result<u64> {
        let mut total = 0;
        for entry in folder.read_dir()? {
            total += entry?.metadata()?.len();
        }
        Ok(total)
    };
    total().map_err(|e| Error::io(folder, "measure it", e))
}
