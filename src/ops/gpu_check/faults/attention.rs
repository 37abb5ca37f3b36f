//! Attention: `attention.cu`, `attention.cuh`.

use super::{Fault, patch};
use crate::device::Patch;

const PASSES: &str = "attention.cu";
const PARTS: &str = "attention.cuh";

const NO_DELTA_IN_QUERIES: Patch = patch(
    PASSES,
    "d[tile][v] = p * (d[tile][v] - delta[v / 2]);",
    "d[tile][v] = p * d[tile][v];",
);
const NO_DELTA_IN_KEYS: Patch = patch(
    PASSES,
    "d[tile][v] = p * (d[tile][v] - delta);",
    "d[tile][v] = p * d[tile][v];",
);

pub const ATTENTION: &[Fault] = &[
    Fault::forward(
        "attention",
        "output 0",
        "one key of the padding counts",
        patch(
            PARTS,
            ">= Rows::LAST_ROWS) s[tile][v] = MINUS_INFINITY;",
            "> Rows::LAST_ROWS) s[tile][v] = MINUS_INFINITY;",
        ),
    ),
    Fault::forward(
        "attention",
        "output 0",
        "keys stand for values",
        patch(
            PASSES,
            "times(sum, s, keys.tile(1, slot), row);",
            "times(sum, s, keys.tile(0, slot), row);",
        ),
    ),
    Fault::forward(
        "attention",
        "output 0",
        "the sum of earlier blocks is not shrunk",
        patch(PASSES, "total[r] *= shrink;", ""),
    ),
    Fault::forward(
        "attention",
        "output 1",
        "the largest score in the wrong base",
        patch(
            PASSES,
            "fmaf(largest[r], LN_2, logf(total[r]))",
            "fmaf(largest[r], LOG2_E, logf(total[r]))",
        ),
    ),
    Fault::forward(
        "attention",
        "output 0",
        "probabilities add up to a little more than one",
        patch(PASSES, "1.0f / total[r]", "1.0002f / total[r]"),
    )
    .later(),
    Fault::backward(
        "attention",
        "dqkv",
        "dQ: the row sum is not taken off",
        NO_DELTA_IN_QUERIES,
    ),
    Fault::backward(
        "attention",
        "dqkv",
        "dK: the row sum is not taken off",
        NO_DELTA_IN_KEYS,
    ),
    Fault::backward(
        "attention",
        "dqkv",
        "dK is not scaled",
        patch(
            PASSES,
            "for (int r = 0; r < 2; r++) scale_row(d_k, r, scale);",
            "",
        ),
    ),
    Fault::backward(
        "attention",
        "dquery",
        "the row sum is not taken off",
        NO_DELTA_IN_QUERIES,
    ),
    Fault::backward(
        "attention",
        "dkey_value",
        "dK: the row sum is not taken off",
        NO_DELTA_IN_KEYS,
    ),
    Fault::backward(
        "attention",
        "dkey_value",
        "dV: queries stand for dO",
        patch(
            PASSES,
            "times(d_v, s, queries.tile(1, slot), row)",
            "times(d_v, s, queries.tile(0, slot), row)",
        ),
    ),
    Fault::backward(
        "attention",
        "dbias",
        "half the rows are left out of the column sums",
        patch(
            PASSES,
            "(real[0] ? x[v / 2][v % 2] : 0.0f) + (real[1] ? x[v / 2][v % 2 + 2] : 0.0f)",
            "(real[0] ? x[v / 2][v % 2] : 0.0f)",
        ),
    ),
    Fault::backward(
        "attention",
        "dbias",
        "the gradient so far is overwritten",
        patch(
            "column_sum.cu",
            "if (accumulate) total += gradient[column];",
            "",
        ),
    )
    .second_micro_batch(),
    Fault::backward(
        "attention",
        "dqkv",
        "dQ a little larger",
        patch(
            PASSES,
            "scale_row(d_q, r, scale)",
            "scale_row(d_q, r, 1.0005f * scale)",
        ),
    )
    .later(),
];
