//! What a listener hears while files move.

/// Which way files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Down,
    Up,
}

/// Something that happened between here and the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transfer {
    /// Something worth a person's attention that is no error.
    Notice(String),
    /// Files start to move. Those that are where they should be already are not counted.
    Started {
        direction: Direction,
        /// The repository's id.
        repository: String,
        files: usize,
        bytes: u64,
        /// Of `bytes`, those that an earlier, interrupted download left.
        present: u64,
    },
    /// So many of the bytes are there; fewer than before where a file had to start again.
    At(u64),
    /// All files are there.
    Finished,
}

/// Somebody who is told.
pub trait Listener {
    /// Called for each transfer, in the order of time.
    fn transfer(&mut self, transfer: Transfer);
}

impl<F: FnMut(Transfer)> Listener for F {
    fn transfer(&mut self, transfer: Transfer) {
        self(transfer);
    }
}
