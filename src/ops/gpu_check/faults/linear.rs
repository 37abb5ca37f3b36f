//! Products and their epilogues: `linear.cu`, `gemm.cuh`, `epilogue.cuh`; and the patches.

use super::{Fault, patch};
use crate::device::Patch;

const GEMM: &str = "gemm.cuh";
const EPILOGUE: &str = "epilogue.cuh";
const PATCHES: &str = "patch_embed.cu";
const COLUMN_SUM: &str = "column_sum.cu";

/// Rows of a's fragments 8 apart change places, where a lies across: of dy in dyᵀ x only.
const HALVES_OF_DY: Patch = patch(
    GEMM,
    "place<COLUMNS>(along_k + lane % 8, along_c)",
    "place<COLUMNS>(along_k + lane % 8, along_c ^ (IS_A ? 8 : 0))",
);
const NO_SLOPE: Patch = patch(
    EPILOGUE,
    "v.at[i] *= fmaf(h.at[i], n.density, n.below);",
    "v.at[i] *= n.below;",
);
const LAST_ROW_ONLY: Patch = patch(EPILOGUE, "sums.at[i] += v.at[i];", "sums.at[i] = v.at[i];");
const EVEN_ROWS_ONLY: Patch = patch(
    GEMM,
    "low_half<element>(from.a[i][j]) + high_half<element>(from.a[i][j])",
    "low_half<element>(from.a[i][j])",
);
const OVERWRITES_WEIGHT: Patch = patch(EPILOGUE, "v.at[i] += before.at[i];", "(void)before;");
const OVERWRITES_SUM: Patch = patch(COLUMN_SUM, "if (accumulate) total += gradient[column];", "");
const LAST_BITS_OF_WEIGHT: Patch = patch(
    EPILOGUE,
    "v.at[i] += before.at[i];",
    "v.at[i] += before.at[i] + 1.2e-7f * v.at[i];",
);

pub const LINEAR: &[Fault] = &[
    Fault::forward(
        "linear",
        "output 0",
        "the last values of each row are left out",
        patch(
            GEMM,
            "(!K_CONTIGUOUS || columns_left > 0); }",
            "(!K_CONTIGUOUS || columns_left > PIECE); }",
        ),
    ),
    Fault::forward(
        "linear",
        "output 0",
        "quarters of a fragment change places",
        patch(
            GEMM,
            "along_k = k + (IS_A ? third : second);",
            "along_k = k + (IS_A ? second : third);",
        ),
    ),
    Fault::forward(
        "linear",
        "output 0",
        "the bias is taken off",
        patch(EPILOGUE, "v.at[i] += b.at[i];", "v.at[i] -= b.at[i];"),
    ),
    Fault::forward(
        "linear",
        "output 0",
        "the sum is rounded to 16 bits before the bias is added",
        patch(
            EPILOGUE,
            "v.at[i] += b.at[i];",
            "v.at[i] = rounded(v.at[i]) + b.at[i];",
        ),
    ),
    Fault::forward(
        "linear",
        "output 0",
        "the residual is taken off",
        patch(EPILOGUE, "v.at[i] += r.at[i];", "v.at[i] -= r.at[i];"),
    ),
    Fault::forward(
        "linear",
        "output 0",
        "the GELU weighs by the probability above",
        patch(EPILOGUE, "x * normal(x).below", "x * normal(-x).below"),
    ),
    Fault::forward(
        "linear",
        "output 0",
        "the bias is rounded to 16 bits",
        patch(
            EPILOGUE,
            "v.at[i] += b.at[i];",
            "v.at[i] += rounded(b.at[i]);",
        ),
    )
    .later(),
    Fault::backward(
        "linear",
        "dx",
        "the last output is left out",
        patch(
            "linear.cu",
            "dx, dx_stride}, dy, dy_stride, w, w_stride, 0, outputs);",
            "dx, dx_stride}, dy, dy_stride, w, w_stride, 0, outputs - 1);",
        ),
    ),
    Fault::backward("linear", "dx", "the GELU's slope is Φ(h) alone", NO_SLOPE),
    Fault::backward(
        "linear",
        "dw",
        "halves of dy's fragments change places",
        HALVES_OF_DY,
    ),
    Fault::backward(
        "linear",
        "dw",
        "the last part of a split sum is left out",
        patch(
            "linear.cu",
            "for (int part = 0; part < part_count; part++)",
            "for (int part = 0; part < part_count - 1; part++)",
        ),
    )
    .where_sums_are_split(),
    Fault::backward(
        "linear",
        "db",
        "every second row of dy is left out",
        EVEN_ROWS_ONLY,
    ),
    Fault::backward(
        "linear",
        "db",
        "a lane's last row stands for all",
        LAST_ROW_ONLY,
    ),
    Fault::backward(
        "linear",
        "dw",
        "the gradient so far is overwritten",
        OVERWRITES_WEIGHT,
    )
    .second_micro_batch(),
    Fault::backward(
        "linear",
        "db",
        "the gradient so far is overwritten",
        OVERWRITES_SUM,
    )
    .second_micro_batch(),
    Fault::backward("linear", "dw", "another last bit", LAST_BITS_OF_WEIGHT).later(),
];

pub const MLP: &[Fault] = &[
    Fault::forward(
        "mlp",
        "output 0",
        "there is no GELU",
        patch(EPILOGUE, "v.at[i] = x * normal(x).below;", "v.at[i] = x;"),
    ),
    Fault::forward(
        "mlp",
        "output 0",
        "the residual stands for the sum",
        patch(EPILOGUE, "v.at[i] += r.at[i];", "v.at[i] = r.at[i];"),
    ),
    Fault::forward(
        "mlp",
        "output 0",
        "another last bit",
        patch(
            EPILOGUE,
            "v.at[i] += r.at[i];",
            "v.at[i] += r.at[i] + 1.2e-7f * r.at[i];",
        ),
    )
    .later(),
    Fault::backward("mlp", "dx", "the GELU's slope is Φ(h) alone", NO_SLOPE),
    Fault::backward(
        "mlp",
        "dfc1_weight",
        "halves of dy's fragments change places",
        HALVES_OF_DY,
    ),
    Fault::backward(
        "mlp",
        "dfc1_bias",
        "a lane's last row stands for all",
        LAST_ROW_ONLY,
    ),
    Fault::backward(
        "mlp",
        "dfc2_weight",
        "h is kept for gelu(h)",
        patch(EPILOGUE, "v.at[i] = x * normal(x).below;", "v.at[i] = x;"),
    ),
    Fault::backward(
        "mlp",
        "dfc2_bias",
        "every second row of dy is left out",
        EVEN_ROWS_ONLY,
    ),
    Fault::backward(
        "mlp",
        "dfc1_weight",
        "the gradient so far is overwritten",
        OVERWRITES_WEIGHT,
    )
    .second_micro_batch(),
    Fault::backward(
        "mlp",
        "dfc1_bias",
        "the gradient so far is overwritten",
        OVERWRITES_SUM,
    )
    .second_micro_batch(),
    Fault::backward(
        "mlp",
        "dfc1_weight",
        "another last bit",
        LAST_BITS_OF_WEIGHT,
    )
    .later(),
];

pub const PATCH_EMBED: &[Fault] = &[
    Fault::forward(
        "patch_embed",
        "output 0",
        "each patch has the position before its own",
        patch(
            EPILOGUE,
            "(long long)(row % PATCHES + 1) * columns",
            "(long long)(row % PATCHES) * columns",
        ),
    ),
    Fault::forward(
        "patch_embed",
        "output 0",
        "the class token has no position",
        patch(PATCHES, "class_token[c] + position[c]", "class_token[c]"),
    ),
    Fault::forward(
        "patch_embed",
        "output 0",
        "neighbours in the table of bytes change places",
        patch(PATCHES, "(lookup[i])", "(lookup[i ^ 1])"),
    ),
    Fault::forward(
        "patch_embed",
        "output 0",
        "the colours are in the other order",
        patch(
            PATCHES,
            "channel = i % VALUES / (PATCH * PATCH);",
            "channel = CHANNELS - 1 - i % VALUES / (PATCH * PATCH);",
        ),
    ),
    Fault::forward(
        "patch_embed",
        "output 0",
        "the position is added before the bias",
        patch(
            EPILOGUE,
            "    add_bias(v);
#pragma unroll
    for (int i = 0; i < PACK_COLUMNS; i++) v.at[i] += position.at[i];
",
            "#pragma unroll
    for (int i = 0; i < PACK_COLUMNS; i++) v.at[i] += position.at[i];
    add_bias(v);
",
        ),
    )
    .later(),
    Fault::backward(
        "patch_embed",
        "dclass",
        "the last image of each run is left out",
        patch(COLUMN_SUM, "part < end; part++", "part < end - 1; part++"),
    ),
    Fault::backward(
        "patch_embed",
        "dposition",
        "every block sums the first columns",
        patch(
            COLUMN_SUM,
            "(long long)part * stride + column]",
            "(long long)part * stride + lane]",
        ),
    ),
    Fault::backward(
        "patch_embed",
        "dweight",
        "only the first class row is passed over",
        patch(
            GEMM,
            "(long long)(row + row / GROUP + 1) * stride",
            "(long long)(row + 1) * stride",
        ),
    ),
    Fault::backward(
        "patch_embed",
        "dbias",
        "the last runs of the parts are left out",
        patch(
            COLUMN_SUM,
            "for (int i = 0; i < RUNS; i++) total",
            "for (int i = 0; i < RUNS - 2; i++) total",
        ),
    ),
    Fault::backward(
        "patch_embed",
        "dclass",
        "the gradient so far is overwritten",
        OVERWRITES_SUM,
    )
    .second_micro_batch(),
    Fault::backward(
        "patch_embed",
        "dweight",
        "the gradient so far is overwritten",
        OVERWRITES_WEIGHT,
    )
    .second_micro_batch(),
    Fault::backward(
        "patch_embed",
        "dweight",
        "another last bit",
        LAST_BITS_OF_WEIGHT,
    )
    .later(),
];
