//! Collectives of a warp: the last lane to arrive computes for all. Kinds are numbered as in
//! prelude/collectives.h.

use super::failure::{Site, fail};
use super::matrix;
use super::thread::{LANES, Thread, Warp};
use crate::status::Status;

const SYNCWARP: u32 = 1;
const SHUFFLE: u32 = 2;
const VOTE: u32 = 3;
const REDUCE_ADD: u32 = 4;
const REDUCE_MIN: u32 = 5;
const REDUCE_MAX: u32 = 6;
const LDMATRIX: u32 = 7;
const MMA_F16_K8: u32 = 8;
const MMA_F16_K16: u32 = 9;
const MMA_BF16_K16: u32 = 10;
const MMA_BF16_K8: u32 = 11;

/// A collective that some lanes wait at.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    pub kind: u32,
    pub mask: u32,
    pub detail: u32,
    pub site: Site,
    pub arrived: u32,
}

impl Group {
    fn meets(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.mask == other.mask
            && self.detail == other.detail
            && self.site == other.site
    }
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} (mask {:#010x}) at {}",
            kind_name(self.kind, self.detail),
            self.mask,
            self.site
        )
    }
}

fn kind_name(kind: u32, detail: u32) -> &'static str {
    match (kind, detail) {
        (SYNCWARP, _) => "__syncwarp",
        (SHUFFLE, d) if d & 0x100 != 0 => "__shfl_sync",
        (SHUFFLE, d) if d & 0x200 != 0 => "__shfl_xor_sync",
        (SHUFFLE, d) if d & 0x400 != 0 => "__shfl_down_sync",
        (SHUFFLE, _) => "__shfl_up_sync",
        (VOTE, 0) => "__ballot_sync",
        (VOTE, 1) => "__any_sync",
        (VOTE, _) => "__all_sync",
        (REDUCE_ADD..=REDUCE_MAX, _) => "__reduce_sync",
        (LDMATRIX, _) => "ldmatrix",
        (MMA_F16_K8, _) => "mma.m16n8k8 f16",
        (MMA_F16_K16, _) => "mma.m16n8k16 f16",
        (MMA_BF16_K16, _) => "mma.m16n8k16 bf16",
        (MMA_BF16_K8, _) => "mma.m16n8k8 bf16",
        _ => "an unknown collective",
    }
}

/// Called by each lane, after it laid its values into the warp's `inputs`.
///
/// # Safety
/// `thread` is the calling fiber's own, which the launch keeps alive.
pub unsafe extern "C" fn collective(
    thread: *mut Thread,
    kind: u32,
    mask: u32,
    detail: u32,
    file: *const std::ffi::c_char,
    line: u32,
) {
    // SAFETY: `thread` is the running fiber's; other fibers touch the warp only while it pauses,
    // and no borrow lives across the pause.
    unsafe {
        let warp = (*thread).warp;
        let bit = 1 << (*thread).lane;
        // Nearly always this lane meets the one group that waits: no more than that happens here.
        let position = match (&(*warp).groups)[..] {
            [one, ..]
                if one.kind == kind
                    && one.mask == mask
                    && one.detail == detail
                    && one.site.line == line
                    && one.site.file == file
                    && mask & bit != 0 =>
            {
                0
            }
            _ => join(
                thread,
                Group {
                    kind,
                    mask,
                    detail,
                    site: Site { file, line },
                    arrived: bit,
                },
            ),
        };
        let groups = &mut (*warp).groups;
        let group = groups.get_unchecked_mut(position);
        group.arrived |= bit;
        if group.arrived == mask {
            complete(thread, position);
        } else {
            (*warp).ready &= !bit;
            Thread::pause(thread);
        }
    }
}

/// Finds the group that a lane belongs to, or opens it.
///
/// # Safety
/// `thread` is the calling fiber's own, which the launch keeps alive.
#[inline(never)]
unsafe fn join(thread: *mut Thread, mine: Group) -> usize {
    // SAFETY: the running fiber's warp.
    let warp = unsafe { &mut *(*thread).warp };
    if mine.mask & mine.arrived == 0 {
        let text = format!(
            "{mine}: {} calls it without being in the mask",
            lanes(mine.arrived)
        );
        fail(thread, Status::ERROR_LAUNCH_FAILED, text);
    }
    if let Some(position) = warp.groups.iter().position(|other| other.meets(&mine)) {
        return position;
    }
    check(thread, warp, &mine);
    warp.groups.push(Group { arrived: 0, ..mine });
    warp.groups.len() - 1
}

/// # Safety
/// As [`join`], and `position` is of a group of its warp.
#[inline(never)]
unsafe fn complete(thread: *mut Thread, position: usize) {
    // SAFETY: the running fiber's warp.
    unsafe {
        let warp = &mut *(*thread).warp;
        let group = warp.groups.swap_remove(position);
        warp.ready |= group.mask;
        perform(thread, warp, &group);
    }
}

/// What can be wrong when a lane is the first at its collective.
fn check(thread: *mut Thread, warp: &Warp, mine: &Group) {
    let absent = mine.mask & !warp.exist;
    if absent != 0 {
        let text = format!("{mine}: {} do not exist in this warp", lanes(absent));
        fail(thread, Status::ERROR_LAUNCH_FAILED, text);
    }
    // This lane waits for one that waits elsewhere for this lane. Longer circles end as deadlocks.
    let crossed = |other: &&Group| other.arrived & mine.mask != 0 && other.mask & mine.arrived != 0;
    if let Some(other) = warp.groups.iter().find(crossed) {
        let text = format!(
            "divergent lanes: {} of warp {} arrives at {mine} while {} at {other}; they can never meet",
            lanes(mine.arrived),
            warp.index,
            lanes_wait(other.arrived)
        );
        fail(thread, Status::ERROR_LAUNCH_FAILED, text);
    }
}

fn lanes_wait(mask: u32) -> String {
    let verb = if mask.count_ones() == 1 {
        "waits"
    } else {
        "wait"
    };
    format!("{} {verb}", lanes(mask))
}

/// A lane mask in words.
pub fn lanes(mask: u32) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut lane = 0;
    while lane < 32 {
        if mask >> lane & 1 == 0 {
            lane += 1;
            continue;
        }
        let run = (mask >> lane).trailing_ones();
        parts.push(match run {
            1 => lane.to_string(),
            _ => format!("{lane}-{}", lane + run - 1),
        });
        lane += run;
    }
    let noun = if mask.count_ones() == 1 {
        "lane"
    } else {
        "lanes"
    };
    format!("{noun} {}", parts.join(", "))
}

/// All lanes of the group are here: computes what each takes away.
///
/// # Safety
/// `thread` is a lane of `warp`, and every lane of `group` waits.
unsafe fn perform(thread: *mut Thread, warp: &mut Warp, group: &Group) {
    // SAFETY: the running fiber's block; `warp` is not part of it by value.
    let run = unsafe { &mut *(*thread).run };
    match group.kind {
        SYNCWARP => warp.epoch = warp.epoch.wrapping_add(1),
        SHUFFLE => {
            run.counters.warp_collectives += 1;
            for lane in members(group.mask) {
                let source = warp.inputs[2][lane] as usize;
                if source >= LANES || group.mask >> source & 1 == 0 {
                    let text = format!(
                        "{group}: lane {lane} reads lane {source}, which is not in the mask"
                    );
                    fail(thread, Status::ERROR_LAUNCH_FAILED, text);
                }
                warp.outputs[0][lane] = warp.inputs[0][source];
                warp.outputs[1][lane] = warp.inputs[1][source];
            }
        }
        VOTE..=REDUCE_MAX => {
            run.counters.warp_collectives += 1;
            let values = members(group.mask).map(|lane| (lane, warp.inputs[0][lane]));
            let signed = group.detail == 1;
            let result = match group.kind {
                VOTE => values.fold(0, |all, (lane, value)| all | value << lane),
                REDUCE_ADD => values.fold(0u32, |sum, (_, value)| sum.wrapping_add(value)),
                REDUCE_MIN if signed => values.map(|(_, v)| v as i32).min().unwrap_or(0) as u32,
                REDUCE_MIN => values.map(|(_, v)| v).min().unwrap_or(0),
                _ if signed => values.map(|(_, v)| v as i32).max().unwrap_or(0) as u32,
                _ => values.map(|(_, v)| v).max().unwrap_or(0),
            };
            for lane in members(group.mask) {
                warp.outputs[0][lane] = result;
            }
        }
        LDMATRIX => {
            // SAFETY: as for mma below.
            let loaded = unsafe { matrix::ldmatrix(run, warp, group.detail) };
            if let Err((lane, status, text)) = loaded {
                let text = format!("ldmatrix at {}: lane {lane} {text}", group.site);
                fail(thread, status, text);
            }
        }
        MMA_F16_K8 | MMA_F16_K16 | MMA_BF16_K8 | MMA_BF16_K16 => {
            if group.kind != MMA_F16_K8 && run.arch() < 80 {
                let text = format!("{group} needs sm_80, this device is sm_{}", run.arch());
                fail(thread, Status::ERROR_LAUNCH_FAILED, text);
            }
            let (format, depth) = match group.kind {
                MMA_F16_K8 => (matrix::Format::F16, 8),
                MMA_F16_K16 => (matrix::Format::F16, 16),
                MMA_BF16_K8 => (matrix::Format::Bf16, 8),
                _ => (matrix::Format::Bf16, 16),
            };
            let tiles = (group.detail & 0xFF) as usize * (group.detail >> 8) as usize;
            run.counters.mma += tiles as u64;
            run.counters.mma_flops += (2 * 16 * 8 * depth * tiles) as u64;
            // SAFETY: every lane brought its fragments, arrays of the sizes in `detail`, and waits.
            unsafe { matrix::mma(warp, format, depth, group.detail) };
        }
        unknown => fail(
            thread,
            Status::ERROR_LAUNCH_FAILED,
            format!("collective {unknown} is not known"),
        ),
    }
}

fn members(mask: u32) -> impl Iterator<Item = usize> {
    (0..LANES).filter(move |lane| mask >> lane & 1 == 1)
}
