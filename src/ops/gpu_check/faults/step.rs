//! The end of a step: the norm of the gradients, and AdamW.

use super::{Fault, patch};

const NORM: &str = "grad_norm.cu";
const ADAMW_FILE: &str = "adamw.cu";

pub const GRAD_NORM: &[Fault] = &[
    Fault::forward(
        "grad_norm",
        "output 0",
        "a block's last gradient is left out",
        patch(
            NORM,
            "i < values; i += THREADS",
            "i < values - 1; i += THREADS",
        ),
    ),
    Fault::forward(
        "grad_norm",
        "output 0",
        "the last partial sum is left out",
        patch(
            NORM,
            "i < slots; i += FINISH_THREADS",
            "i < slots - 1; i += FINISH_THREADS",
        ),
    ),
    Fault::forward(
        "grad_norm",
        "output 0",
        "the loss scale stays in",
        patch(NORM, "sqrtf(sum) / state->loss_scale", "sqrtf(sum)"),
    ),
    Fault::forward(
        "grad_norm",
        "output 0",
        "small gradients are blown up to the limit",
        patch(
            NORM,
            "fminf(1.0f, max_norm / (norm + 1e-6f))",
            "max_norm / (norm + 1e-6f)",
        ),
    ),
    Fault::forward(
        "grad_norm",
        "output 0",
        "other last bits",
        patch(NORM, "sqrtf(sum) /", "sqrtf(1.000001f * sum) /"),
    )
    .later(),
];

pub const ADAMW: &[Fault] = &[
    Fault::forward(
        "adamw",
        "output 0",
        "nothing decays",
        patch(ADAMW_FILE, "p = p * keep - rate", "p = p - rate"),
    ),
    Fault::forward(
        "adamw",
        "output 0",
        "the second moment's bias is not corrected",
        patch(
            ADAMW_FILE,
            "(sqrtf(v) / root + epsilon)",
            "(sqrtf(v) + epsilon)",
        ),
    ),
    Fault::forward(
        "adamw",
        "output 0",
        "gradients are not clipped",
        patch(ADAMW_FILE, "g *= gradient_factor;", ""),
    ),
    Fault::forward(
        "adamw",
        "output 0",
        "the last value of a tile is left alone",
        patch(
            ADAMW_FILE,
            "i < tile.length; i += THREADS",
            "i < tile.length - 1; i += THREADS",
        ),
    ),
    Fault::forward(
        "adamw",
        "output 1",
        "the gradient is kept for the first moment",
        patch(
            ADAMW_FILE,
            "store_pack(m + i, m4);",
            "store_pack(m + i, g4);",
        ),
    ),
    Fault::forward(
        "adamw",
        "output 2",
        "the gradient is kept for the second moment",
        patch(
            ADAMW_FILE,
            "store_pack(v + i, v4);",
            "store_pack(v + i, g4);",
        ),
    ),
    Fault::forward(
        "adamw",
        "output 0",
        "other last bits",
        patch(
            ADAMW_FILE,
            "g *= gradient_factor;",
            "g *= 1.000001f * gradient_factor;",
        ),
    )
    .later(),
];
