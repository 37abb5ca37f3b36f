//! Work done ahead of whoever needs it, on several threads, handed over in order.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

/// The results of `work(0)`, `work(1)`, … in this order, at most `window` of them ahead.
pub struct Prefetch<T> {
    queue: Arc<Queue<T>>,
    work: Arc<Work<T>>,
    threads: Vec<JoinHandle<()>>,
}

type Work<T> = dyn Fn(usize) -> T + Send + Sync;

struct Queue<T> {
    state: Mutex<State<T>>,
    count: usize,
    window: usize,
    /// The first slot was filled.
    ready: Condvar,
    /// The first slot was taken, or nobody wants more.
    room: Condvar,
}

struct State<T> {
    /// Results begun and not yet taken; `None` while one is being worked on.
    slots: VecDeque<Option<thread::Result<T>>>,
    /// Number of the first slot's result.
    first: usize,
    stopped: bool,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts `threads` threads on `work(0)` to `work(count - 1)`. Where memory is too short for all
    /// of them, fewer have to do; where it is for any, whoever asks for a result does the work.
    pub fn new(
        count: usize,
        window: usize,
        threads: usize,
        work: impl Fn(usize) -> T + Send + Sync + 'static,
    ) -> Self {
        let queue = Arc::new(Queue {
            state: Mutex::new(State {
                slots: VecDeque::new(),
                first: 0,
                stopped: false,
            }),
            count,
            window: window.max(1),
            ready: Condvar::new(),
            room: Condvar::new(),
        });
        let work: Arc<Work<T>> = Arc::new(work);
        let spawn = |_| {
            let (queue, work) = (queue.clone(), work.clone());
            thread::Builder::new()
                .spawn(move || queue.serve(&*work))
                .ok()
        };
        let threads = (0..threads.clamp(1, count.max(1))).map_while(spawn);
        Self {
            threads: threads.collect(),
            queue,
            work,
        }
    }
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code that can panic runs under the lock.
        self.state.lock().expect("the queue is never poisoned")
    }

    fn serve(&self, work: &Work<T>) {
        loop {
            let mut state = self.lock();
            let number = loop {
                let number = state.first + state.slots.len();
                if state.stopped || number == self.count {
                    return;
                }
                if state.slots.len() < self.window {
                    break number;
                }
                state = self.room.wait(state).expect("the queue is never poisoned");
            };
            state.slots.push_back(None);
            drop(state);
            // A panic goes to the consumer, who would otherwise wait for ever.
            let result = catch_unwind(AssertUnwindSafe(|| work(number)));
            let mut state = self.lock();
            let slot = number - state.first;
            state.slots[slot] = Some(result);
            if slot == 0 {
                self.ready.notify_one();
            }
        }
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let mut state = self.queue.lock();
        if self.threads.is_empty() {
            let number = state.first;
            state.first += usize::from(number < self.queue.count);
            drop(state);
            return (number < self.queue.count).then(|| (self.work)(number));
        }
        while state.first < self.queue.count {
            if let Some(Some(_)) = state.slots.front() {
                let result = state.slots.pop_front().flatten();
                state.first += 1;
                drop(state);
                self.queue.room.notify_one();
                return result.map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)));
            }
            let woken = self.queue.ready.wait(state);
            state = woken.expect("the queue is never poisoned");
        }
        None
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.queue.lock().stopped = true;
        self.queue.room.notify_all();
        for thread in self.threads.drain(..) {
            // A worker's panic was handed over as a result, or nobody asked for it.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_come_in_order_and_never_too_far_ahead() {
        let begun = Arc::new(AtomicUsize::new(0));
        let count = begun.clone();
        let mut prefetch = Prefetch::new(200, 7, 4, move |i| {
            count.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_micros((i % 5) as u64 * 50));
            i * i
        });
        for taken in 0..200 {
            assert!(begun.load(Ordering::SeqCst) <= taken + 7);
            assert_eq!(prefetch.next(), Some(taken * taken));
        }
        assert_eq!(prefetch.next(), None);
    }

    #[test]
    fn dropping_early_ends_the_threads() {
        let mut prefetch = Prefetch::new(usize::MAX, 2, 3, |i| i);
        assert_eq!(prefetch.next(), Some(0));
        drop(prefetch);
    }

    #[test]
    fn a_panic_of_the_work_reaches_the_consumer() {
        let mut prefetch = Prefetch::new(3, 2, 1, |i| assert_ne!(i, 1, "work"));
        assert_eq!(prefetch.next(), Some(()));
        assert!(catch_unwind(AssertUnwindSafe(|| prefetch.next())).is_err());
        assert_eq!(prefetch.next(), Some(()));
    }
}
