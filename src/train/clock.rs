//! Where the time of a run goes.

use std::time::{Duration, Instant};

/// The time since the run began, and the parts of that since the last log.
pub(super) struct Clock {
    pub(super) session: Instant,
    pub(super) waiting: Duration,
    pub(super) computing: Duration,
    pub(super) images: usize,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            session: Instant::now(),
            waiting: Duration::ZERO,
            computing: Duration::ZERO,
            images: 0,
        }
    }

    pub(super) fn restart_window(&mut self) {
        (self.waiting, self.computing, self.images) = (Duration::ZERO, Duration::ZERO, 0);
    }

    pub(super) fn window_seconds(&self) -> f64 {
        (self.waiting + self.computing).as_secs_f64().max(1e-9)
    }

    pub(super) fn images_per_second(&self) -> f64 {
        self.images as f64 / self.window_seconds()
    }

    pub(super) fn wait_share(&self) -> f64 {
        self.waiting.as_secs_f64() / self.window_seconds()
    }
}
