//! Everything behind the handles, under one lock.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use super::capture::Capture;
use super::queue::Op;
use crate::device::{Device, devices};
use crate::module::Kernel;
use crate::status::{Result, Status};

pub struct Context {
    pub device: usize,
    pub null_stream: usize,
}

pub struct Stream {
    pub context: usize,
    /// Waits for the null stream, and it for this one.
    pub blocking: bool,
    pub queue: VecDeque<Op>,
    pub issued: u64,
    pub done: u64,
    pub capture: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Recorded {
    Never,
    /// Done when the stream has done that many operations.
    At {
        stream: usize,
        position: u64,
    },
    /// In the capture of that number, which may be over.
    Captured {
        capture: usize,
        stream: usize,
    },
}

pub struct Event {
    pub timing: bool,
    pub recorded: Recorded,
    pub time: Option<Instant>,
}

pub struct Function {
    pub kernel: Arc<Kernel>,
    pub context: usize,
    /// What `cuFuncSetAttribute` allowed.
    pub max_dynamic_shared: u32,
    /// Not yet, where loading is lazy and nothing has asked for the function.
    pub loaded: bool,
}

#[derive(Default)]
pub struct State {
    pub initialised: bool,
    /// After a failed kernel every call fails with its status, as on a GPU.
    pub failed: Option<Status>,
    pub contexts: HashMap<usize, Context>,
    /// By device: context, retain count.
    pub primary: HashMap<usize, (usize, u32)>,
    pub streams: HashMap<usize, Stream>,
    pub events: HashMap<usize, Event>,
    /// By module: its functions, by name.
    pub modules: HashMap<usize, HashMap<String, usize>>,
    pub functions: HashMap<usize, Function>,
    pub captures: HashMap<usize, Capture>,
    pub graphs: HashMap<usize, Arc<Vec<Op>>>,
    pub executables: HashMap<usize, Arc<Vec<Op>>>,
    handles: usize,
}

thread_local! {
    /// The context stack of this CPU thread.
    pub static CURRENT: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// The state, whatever its condition.
pub fn state() -> MutexGuard<'static, State> {
    static STATE: OnceLock<Mutex<State>> = OnceLock::new();
    let state = STATE.get_or_init(Mutex::default).lock();
    state.unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The state for a call that needs a context, and that context.
pub fn working() -> Result<(MutexGuard<'static, State>, usize)> {
    let state = initialised()?;
    let current = CURRENT.with_borrow(|stack| stack.last().copied());
    let context = current.filter(|one| state.contexts.contains_key(one));
    let context = context.ok_or(Status::ERROR_INVALID_CONTEXT)?;
    match state.failed {
        Some(status) => Err(status),
        None => Ok((state, context)),
    }
}

/// For a call that needs a context and nothing of the state.
pub fn ready() -> Result<()> {
    working().map(drop)
}

/// The state for a call that needs only `cuInit`.
pub fn initialised() -> Result<MutexGuard<'static, State>> {
    let state = state();
    if state.initialised {
        Ok(state)
    } else {
        Err(Status::ERROR_NOT_INITIALIZED)
    }
}

impl State {
    /// A fresh opaque handle.
    pub fn handle(&mut self) -> usize {
        self.handles += 0x10;
        0xE_0000_0000 + self.handles
    }

    pub fn device(&self, context: usize) -> &'static Device {
        devices()[self.contexts[&context].device]
    }

    pub fn new_stream(&mut self, context: usize, blocking: bool) -> usize {
        let handle = self.handle();
        let stream = Stream {
            context,
            blocking,
            queue: VecDeque::new(),
            issued: 0,
            done: 0,
            capture: None,
        };
        self.streams.insert(handle, stream);
        handle
    }

    pub fn new_context(&mut self, device: usize) -> usize {
        let context = self.handle();
        let null_stream = self.new_stream(context, true);
        self.contexts.insert(
            context,
            Context {
                device,
                null_stream,
            },
        );
        context
    }

    /// The stream behind a handle of the caller: 0, 1 and 2 mean the null stream.
    pub fn stream(&self, context: usize, handle: usize) -> Result<usize> {
        if handle <= 2 {
            return Ok(self.contexts[&context].null_stream);
        }
        match self.streams.get(&handle) {
            Some(stream) if stream.context == context => Ok(handle),
            _ => super::refuse(
                Status::ERROR_INVALID_HANDLE,
                format!("{handle:#x} is no stream of this context"),
            ),
        }
    }
}

/// Forgets a failed kernel, so that a test can go on; the streams' queues are dropped.
#[unsafe(no_mangle)]
pub extern "C" fn vitcudaEmulatorReset() {
    let mut state = state();
    state.failed = None;
    state.captures.clear();
    for stream in state.streams.values_mut() {
        stream.queue.clear();
        stream.done = stream.issued;
        stream.capture = None;
    }
}
