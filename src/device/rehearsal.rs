//! Finding out what some work launches, before any of it is compiled.

use super::{Gpu, Launch};
use crate::error::Result;

impl Gpu {
    /// The kernels that `work` launches, in its order. Nothing is compiled and no kernel runs, so
    /// [`Gpu::prepare`] can then compile all of them at once.
    ///
    /// `work` must not depend on what kernels compute. One rehearsal at a time.
    pub fn rehearse(&self, work: impl FnOnce() -> Result<()>) -> Result<Vec<Launch>> {
        let set = |to| std::mem::replace(&mut *self.lock_rehearsal(), to);
        set(Some(Vec::new()));
        let worked = work();
        let launched = set(None).expect("set above");
        worked.map(|()| launched)
    }

    /// Whether a rehearsal is on; then the launch is noted.
    pub(super) fn is_rehearsed(&self, launch: impl FnOnce() -> Launch) -> bool {
        match &mut *self.lock_rehearsal() {
            Some(launched) => {
                launched.push(launch());
                true
            }
            None => false,
        }
    }

    fn lock_rehearsal(&self) -> std::sync::MutexGuard<'_, Option<Vec<Launch>>> {
        self.rehearsal.lock().expect("no panic while it is held")
    }
}
