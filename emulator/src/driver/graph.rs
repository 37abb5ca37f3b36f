//! Graphs: lists of work that came out of a capture.

use std::ffi::{c_uint, c_ulonglong};

use super::queue::Op;
use super::state::working;
use super::{Out, api, refuse};
use crate::status::{Result, Status};

fn instantiate(out: Out<usize>, graph: usize) -> Result<()> {
    let (mut state, _) = working()?;
    let Some(ops) = state.graphs.get(&graph).cloned() else {
        return refuse(
            Status::ERROR_INVALID_HANDLE,
            format!("{graph:#x} is no graph"),
        );
    };
    let handle = state.handle();
    state.executables.insert(handle, ops);
    out.give(handle)
}

api! {
    fn cuGraphInstantiateWithFlags(out: Out<usize>, graph: usize, _flags: c_ulonglong) { instantiate(out, graph) }

    fn cuGraphUpload(executable: usize, stream: usize) {
        let (state, context) = working()?;
        state.stream(context, stream)?;
        state.executables.get(&executable).map(drop).ok_or(Status::ERROR_INVALID_HANDLE)
    }

    fn cuGraphLaunch(executable: usize, stream: usize) {
        let (mut state, context) = working()?;
        let stream = state.stream(context, stream)?;
        let Some(ops) = state.executables.get(&executable).cloned() else {
            return refuse(Status::ERROR_INVALID_HANDLE, format!("{executable:#x} is no executable graph"));
        };
        state.enqueue(stream, Op::Graph(ops))
    }

    fn cuGraphExecDestroy(executable: usize) {
        let (mut state, _) = working()?;
        state.executables.remove(&executable).map(drop).ok_or(Status::ERROR_INVALID_HANDLE)
    }

    fn cuGraphDestroy(graph: usize) {
        let (mut state, _) = working()?;
        state.graphs.remove(&graph).map(drop).ok_or(Status::ERROR_INVALID_HANDLE)
    }

    fn cuGraphGetNodes(graph: usize, nodes: *mut usize, count: Out<usize>) {
        let (state, _) = working()?;
        let ops = state.graphs.get(&graph).ok_or(Status::ERROR_INVALID_HANDLE)?;
        if !nodes.is_null() {
            let room = count.read()?.min(ops.len());
            // SAFETY: the driver API's contract: room for as many nodes as `count` says.
            (0..room).for_each(|i| unsafe { *nodes.add(i) = graph + 1 + i });
        }
        count.give(ops.len())
    }

    fn cuGraphCreate(out: Out<usize>, flags: c_uint) {
        if flags != 0 {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        let (mut state, _) = working()?;
        let handle = state.handle();
        state.graphs.insert(handle, Default::default());
        out.give(handle)
    }
}
