//! Every image of a set once: read in the order in which they are stored, decoded on many threads.

use std::sync::{Arc, Condvar, Mutex};

use super::dataset::Dataset;
use super::encoded::{Encoded, Reader};
use super::prefetch::Prefetch;

/// The index of each image and `work` of it, in the order of storage.
pub fn scan<T: Send + 'static>(
    dataset: Arc<Dataset>,
    threads: usize,
    work: impl Fn(usize, Encoded) -> T + Send + Sync + 'static,
) -> impl Iterator<Item = (usize, T)> {
    let order = dataset.storage_order();
    let turns = Turns::default();
    let count = order.len();
    Prefetch::new(count, 4 * threads, threads, move |n| {
        let i = order[n];
        let encoded = turns.take(n, |reader| reader.read(dataset.origin(i)));
        (i, work(i, encoded))
    })
}

/// A reader that threads use one after the other, by number.
///
/// [`Prefetch`] begins its work in order, so the thread whose turn it is has always begun.
#[derive(Default)]
struct Turns {
    state: Mutex<(usize, Reader)>,
    passed: Condvar,
}

impl Turns {
    fn take<T>(&self, turn: usize, read: impl FnOnce(&mut Reader) -> T) -> T {
        let state = self.state.lock().expect("readers do not panic");
        let mut state = self
            .passed
            .wait_while(state, |(next, _)| *next != turn)
            .expect("readers do not panic");
        let result = read(&mut state.1);
        state.0 += 1;
        drop(state);
        self.passed.notify_all();
        result
    }
}
