//! Row by row: layer norm and cross-entropy.

use super::{Fault, patch};

const NORM: &str = "layer_norm.cu";
const LOSS: &str = "cross_entropy.cu";
const COLUMN_SUM: &str = "column_sum.cu";

pub const LAYER_NORM: &[Fault] = &[
    Fault::forward(
        "layer_norm",
        "output 0",
        "the variance of a sample: C − 1 below",
        patch(
            NORM,
            "sqrtf(warp_sum(squares) * (1.0f / WIDTH) + eps)",
            "sqrtf(warp_sum(squares) * (1.0f / (WIDTH - 1)) + eps)",
        ),
    ),
    Fault::forward(
        "layer_norm",
        "output 0",
        "there is no bias",
        patch(
            NORM,
            "* row_rstd * weight.at[i] + bias.at[i])",
            "* row_rstd * weight.at[i])",
        ),
    ),
    Fault::forward(
        "layer_norm",
        "output 0",
        "a little too wide",
        patch(
            NORM,
            "* row_rstd * weight.at[i] + bias.at[i])",
            "* row_rstd * (1.0002f * weight.at[i]) + bias.at[i])",
        ),
    )
    .later(),
    Fault::backward(
        "layer_norm",
        "dx",
        "the part along x stays in",
        patch(
            NORM,
            "(g[step][i] - mean_g - hats[step][i] * mean_gx)",
            "(g[step][i] - mean_g)",
        ),
    ),
    Fault::backward(
        "layer_norm",
        "dx",
        "every row has its image's residual gradient",
        patch(
            NORM,
            "residual && row % residual_period == 0;",
            "residual != nullptr;",
        ),
    ),
    Fault::backward(
        "layer_norm",
        "dw",
        "x is not normalised",
        patch(
            NORM,
            "sums[0][step][i] += d * hat;",
            "sums[0][step][i] += d * value.at[i];",
        ),
    ),
    Fault::backward(
        "layer_norm",
        "db",
        "dy is weighted",
        patch(
            NORM,
            "sums[1][step][i] += d;",
            "sums[1][step][i] += d * weight.at[i];",
        ),
    ),
    Fault::backward(
        "layer_norm",
        "dbias",
        "sums of the weighted dy stand for those of dx",
        patch(
            NORM,
            "sums[2][step][i] += out.at[i];",
            "sums[2][step][i] += g[step][i];",
        ),
    ),
    Fault::backward(
        "layer_norm",
        "dw",
        "the gradient so far is overwritten",
        patch(COLUMN_SUM, "if (accumulate) total += gradient[column];", ""),
    )
    .second_micro_batch(),
    Fault::backward(
        "layer_norm",
        "dw",
        "partial sums in the other order",
        patch(
            COLUMN_SUM,
            "for (int i = 0; i < RUNS; i++) total",
            "for (int i = RUNS - 1; i >= 0; i--) total",
        ),
    )
    .later(),
];

pub const CROSS_ENTROPY: &[Fault] = &[
    Fault::forward(
        "cross_entropy",
        "output 0",
        "the mean counts images, not weights",
        patch(LOSS, "total += weights[labels[b]];", "total += 1.0f;"),
    ),
    Fault::forward(
        "cross_entropy",
        "output 0",
        "smoothing of the wrong sign",
        patch(
            LOSS,
            "smooth -= weights ? weights[c] * below : below;",
            "smooth += weights ? weights[c] * below : below;",
        ),
    ),
    Fault::forward(
        "cross_entropy",
        "output 0",
        "the last image is left out",
        patch(
            LOSS,
            "for (int b = threadIdx.x; b < images; b += THREADS) sum += losses[b];",
            "for (int b = threadIdx.x; b < images - 1; b += THREADS) sum += losses[b];",
        ),
    ),
    Fault::forward(
        "cross_entropy",
        "output 0",
        "other last bits",
        patch(LOSS, "sum * share + ", "1.0000005f * sum * share + "),
    )
    .later(),
    Fault::backward(
        "cross_entropy",
        "dlogits",
        "probabilities are not weighted",
        patch(LOSS, "(p * q_sum - q)", "(p - q)"),
    ),
    Fault::backward(
        "cross_entropy",
        "dlogits",
        "the label's own weight is left out",
        patch(
            LOSS,
            "if (c == label) q += own;",
            "if (c == label) q += kept;",
        ),
    ),
    Fault::backward(
        "cross_entropy",
        "dlogits",
        "the micro-batch's share is left out",
        patch(
            LOSS,
            "state->loss_scale * share / total",
            "state->loss_scale / total",
        ),
    ),
    Fault::backward(
        "cross_entropy",
        "dlogits",
        "a little larger",
        patch(LOSS, "(factor * (p", "(1.0005f * factor * (p"),
    )
    .later(),
];
