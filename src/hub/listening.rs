//! Work whose progress is heard on the thread that waits for it.

use std::sync::mpsc::{Sender, channel};
use std::thread;

/// Does `work` on another thread and hands whatever it sends to `hear` on this one: listeners need
/// not be ready for threads.
pub(super) fn listening<T: Send, E: Send>(
    work: impl FnOnce(Sender<E>) -> T + Send,
    hear: impl FnMut(E),
) -> T {
    let (sender, heard) = channel();
    thread::scope(|scope| {
        let work = scope.spawn(|| work(sender));
        heard.into_iter().for_each(hear);
        match work.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
