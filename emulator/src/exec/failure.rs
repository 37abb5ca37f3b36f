//! What went wrong inside a kernel.

use crate::status::Status;

/// The first thing that went wrong in a launch.
#[derive(Debug, Clone)]
pub struct Failure {
    pub status: Status,
    /// Names kernel, block, thread and what happened.
    pub message: String,
}

/// What a lane did wrong; the caller knows which kernel and block it belongs to.
#[derive(Debug, Clone)]
pub struct Fault {
    pub lane: u32,
    pub status: Status,
    pub text: String,
}

impl Fault {
    /// A rule of the programming model was broken.
    pub fn misuse(lane: u32, text: impl Into<String>) -> Self {
        Self {
            lane,
            status: Status::ERROR_LAUNCH_FAILED,
            text: text.into(),
        }
    }

    /// An address leads nowhere.
    pub fn address(lane: u32, text: impl Into<String>) -> Self {
        Self {
            lane,
            status: Status::ERROR_ILLEGAL_ADDRESS,
            text: text.into(),
        }
    }

    /// An address is no multiple of what it must be.
    pub fn misaligned(lane: u32, text: impl Into<String>) -> Self {
        Self {
            lane,
            status: Status::ERROR_MISALIGNED_ADDRESS,
            text: text.into(),
        }
    }
}

/// "lanes 0-7, 9": the set bits.
pub fn lanes(mask: u32) -> String {
    let mut parts = Vec::new();
    let mut lane = 0;
    while lane < 32 {
        if mask >> lane & 1 == 0 {
            lane += 1;
            continue;
        }
        let first = lane;
        while lane < 32 && mask >> lane & 1 != 0 {
            lane += 1;
        }
        parts.push(if lane - 1 == first {
            first.to_string()
        } else {
            format!("{first}-{}", lane - 1)
        });
    }
    let word = if mask.count_ones() == 1 { "lane" } else { "lanes" };
    format!("{word} {}", parts.join(", "))
}
