// y = x W^T + b, and its gradients dx = dy W and dW = dy^T x, each with what follows it at once.
//
//   x, dx (rows, inputs)   y, dy (rows, outputs)   w (outputs, inputs), 16 bits   dw the same, f32
//   bias (outputs) f32, or null for none
//
// All are products of one kind (gemm.cuh), with M x N the result and K what is summed over:
//
//                      M        N        K        a                   b
//   forward            rows     outputs  inputs   x, K contiguous     w, K contiguous
//   backward_input     rows     inputs   outputs  dy, K contiguous    w, N contiguous
//   backward_weight    outputs  inputs   rows     dy, M contiguous    x, N contiguous
//
// Strides are elements from row to row; dw and f32 partial sums have none between. Any size is right,
// multiples of eight are fast.
//
// A specialisation defines one kernel's name in capitals (LINEAR_FORWARD_GELU), and
//   TILE_M TILE_N TILE_K   tile of a block; k in steps of TILE_K
//   WARP_M WARP_N          tile of a warp
//   STAGES                 tiles of k in shared memory; 2 on sm_75
//   MIN_BLOCKS             blocks on a multiprocessor, which bounds the registers of a thread
//   COPY_A COPY_B          bytes of a copy, 16, 8, 4 or 2: divides address, stride and contiguous length
//   PACK                   columns the epilogue moves at once, 4 or 1 (epilogue.cuh)
//   PATCHES                patches of an image: for LINEAR_FORWARD_PATCH, and for
//                          LINEAR_BACKWARD_WEIGHT[_PART] where dy has a class row before them
// The grid is (tiles of M times tiles of N), and the dynamic shared memory
// max(STAGES (TILE_M + TILE_N) TILE_K 2, warps 16 (WARP_N + 8) 4) bytes.
//
// LINEAR_BACKWARD_WEIGHT_SUM and LINEAR_BACKWARD_BIAS take none of these.
#if defined(LINEAR_BACKWARD_WEIGHT_SUM) || defined(LINEAR_BACKWARD_BIAS)
#include "common.cuh"
#else
#include "epilogue.cuh"

// This block's tile of c = sum over k of a b, from k_begin to k_end, handed to `epilogue`.
template <bool A_K_CONTIGUOUS, bool B_K_CONTIGUOUS, int GROUP = 0, class Epilogue>
__device__ __forceinline__ void gemm(Epilogue epilogue, const element* a, int a_stride, const element* b, int b_stride, int k_begin, int k_end) {
  extern __shared__ __align__(128) unsigned char shared[];
  typedef Operand<A_K_CONTIGUOUS, TILE_M, COPY_A, GROUP> A;
  typedef Operand<B_K_CONTIGUOUS, TILE_N, COPY_B> B;
  const int M = epilogue.rows, N = epilogue.columns;
  const TilePosition tile = tile_position(blockIdx.x, M, N);
  const int row0 = tile.m * TILE_M, column0 = tile.n * TILE_N;
  Accumulators c = {};
  multiply(c, A(a, a_stride, row0, M, k_begin, k_end), B(b, b_stride, column0, N, k_begin, k_end),
           reinterpret_cast<element*>(shared), ceil_div(k_end - k_begin, TILE_K));
  finish_tile(c, epilogue, shared, row0, column0);
}
#endif

// ----------------------------------------------------------------------------------------- forward

#ifdef LINEAR_FORWARD
// y = x W^T + b.
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) linear_forward(
    element* y, const element* x, const element* w, const float* bias,
    int rows, int outputs, int inputs, int y_stride, int x_stride, int w_stride) {
  gemm<true, true>(BiasEpilogue<element>{{{rows, outputs}, bias}, y, y_stride}, x, x_stride, w, w_stride, 0, inputs);
}
#endif

#ifdef LINEAR_FORWARD_F32
// y = x W^T + b, y in f32: logits.
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) linear_forward_f32(
    float* y, const element* x, const element* w, const float* bias,
    int rows, int outputs, int inputs, int y_stride, int x_stride, int w_stride) {
  gemm<true, true>(BiasEpilogue<float>{{{rows, outputs}, bias}, y, y_stride}, x, x_stride, w, w_stride, 0, inputs);
}
#endif

#ifdef LINEAR_FORWARD_GELU
// h = x W^T + b, y = gelu(h), both with y_stride; h may be null where no backward pass follows.
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) linear_forward_gelu(
    element* y, element* h, const element* x, const element* w, const float* bias,
    int rows, int outputs, int inputs, int y_stride, int x_stride, int w_stride) {
  gemm<true, true>(GeluEpilogue{{{rows, outputs}, bias}, y, h, y_stride}, x, x_stride, w, w_stride, 0, inputs);
}
#endif

#ifdef LINEAR_FORWARD_RESIDUAL
// y = residual + x W^T + b in f32; the residual may be y itself.
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) linear_forward_residual(
    float* y, const float* residual, const element* x, const element* w, const float* bias,
    int rows, int outputs, int inputs, int y_stride, int residual_stride, int x_stride, int w_stride) {
  gemm<true, true>(ResidualEpilogue{{{rows, outputs}, bias}, y, residual, y_stride, residual_stride}, x, x_stride, w, w_stride, 0, inputs);
}
#endif

#ifdef LINEAR_FORWARD_PATCH
// Patch p of image b, row b PATCHES + p of `patches` (rows, inputs), to row b (PATCHES + 1) + 1 + p of
// the stream x (.., outputs), f32: its product with W, the bias, and row 1 + p of `positions`
// (PATCHES + 1, outputs). The class rows of x are left alone.
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) linear_forward_patch(
    float* x, const element* patches, const element* w, const float* bias, const float* positions,
    int rows, int outputs, int inputs) {
  gemm<true, true>(PatchEpilogue{{{rows, outputs}, bias}, x, positions}, patches, inputs, w, inputs, 0, inputs);
}
#endif

// ---------------------------------------------------------------------------------------- backward

#ifdef LINEAR_BACKWARD_INPUT
// dx = dy W.
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) linear_backward_input(
    element* dx, const element* dy, const element* w,
    int rows, int outputs, int inputs, int dx_stride, int dy_stride, int w_stride) {
  gemm<true, false>(StoreEpilogue{{rows, inputs}, dx, dx_stride}, dy, dy_stride, w, w_stride, 0, outputs);
}
#endif

#ifdef LINEAR_BACKWARD_INPUT_GELU
// dh = (dy W) * gelu'(h) for the layer that read gelu(h), and the sums of dh over the rows of each
// tile: column_sums (tiles of rows, inputs), of which column_sum (column_sum.cu) makes the bias's
// gradient. h and dh have dh_stride.
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) linear_backward_input_gelu(
    element* dh, float* column_sums, const element* dy, const element* w, const element* h,
    int rows, int outputs, int inputs, int dh_stride, int dy_stride, int w_stride) {
  gemm<true, false>(GeluBackwardEpilogue{{rows, inputs}, dh, column_sums, h, dh_stride}, dy, dy_stride, w, w_stride, 0, outputs);
}
#endif

#ifndef PATCHES
#define PATCHES 0
#endif

#ifdef LINEAR_BACKWARD_WEIGHT
// dw = dy^T x, or dw += with `accumulate`; squares[block], unless null, the sum of squares of the tile.
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) linear_backward_weight(
    float* dw, float* squares, const element* dy, const element* x,
    int rows, int outputs, int inputs, int dy_stride, int x_stride, int accumulate) {
  gemm<false, false, PATCHES>(WeightEpilogue{{outputs, inputs}, dw, squares, accumulate}, dy, dy_stride, x, x_stride, 0, rows);
}
#endif

#ifdef LINEAR_BACKWARD_WEIGHT_PART
// Split over the rows, for weights with fewer tiles than the device has room for: blockIdx.y sums its
// `part_rows` rows (a multiple of TILE_K), the last one what is left: parts (gridDim.y, outputs, inputs).
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) linear_backward_weight_part(
    float* parts, const element* dy, const element* x,
    int rows, int outputs, int inputs, int dy_stride, int x_stride, int part_rows) {
  const int begin = blockIdx.y * part_rows, end = min(rows, begin + part_rows);
  float* const part = parts + (long long)blockIdx.y * outputs * inputs;
  gemm<false, false, PATCHES>(PartEpilogue{{outputs, inputs}, part}, dy, dy_stride, x, x_stride, begin, end);
}
#endif

#ifdef LINEAR_BACKWARD_WEIGHT_SUM
#define THREADS 256
#define VALUES 4096  // of a block
// dw (+)= the sum over parts (part_count, count), first to last; squares[block], unless null, the sum
// of squares of the block's values.
extern "C" __global__ void __launch_bounds__(THREADS) linear_backward_weight_sum(
    float* dw, float* squares, const float* parts, int count, int part_count, int accumulate) {
  __shared__ float scratch[THREADS / WARP_SIZE];
  float square = 0.0f;
  for (int i = threadIdx.x; i < VALUES; i += THREADS) {
    const long long at = (long long)blockIdx.x * VALUES + i;
    if (at >= count) break;
    float sum = 0.0f;
#pragma unroll 4
    for (int part = 0; part < part_count; part++) sum += parts[(long long)part * count + at];
    if (accumulate) sum += dw[at];
    dw[at] = sum;
    square = fmaf(sum, sum, square);
  }
  if (!squares) return;
  square = block_sum<THREADS>(square, scratch);
  if (threadIdx.x == 0) squares[blockIdx.x] = square;
}
#endif

#ifdef LINEAR_BACKWARD_BIAS
#define COLUMNS WARP_SIZE  // of a block
#define GROUPS 8           // group g of its threads takes rows g, g + 8, ...
#define THREADS (COLUMNS * GROUPS)
// column_sums[blockIdx.y] (outputs) = the sum of `part_rows` rows of dy: for gradients dy whose maker
// does not sum them up itself. column_sum (column_sum.cu) makes db of them.
extern "C" __global__ void __launch_bounds__(THREADS) linear_backward_bias(
    float* column_sums, const element* dy, int rows, int outputs, int dy_stride, int part_rows) {
  __shared__ float sums[GROUPS][COLUMNS];
  const int group = threadIdx.x / COLUMNS, lane = threadIdx.x % COLUMNS;
  const int column = blockIdx.x * COLUMNS + lane;
  const int begin = blockIdx.y * part_rows, end = min(rows, begin + part_rows);
  float sum = 0.0f;
  if (column < outputs) {
#pragma unroll 8
    for (int row = begin + group; row < end; row += GROUPS) sum += to_float(dy[(long long)row * dy_stride + column]);
  }
  sums[group][lane] = sum;
  __syncthreads();
  if (group > 0 || column >= outputs) return;
  sum = 0.0f;
#pragma unroll
  for (int i = 0; i < GROUPS; i++) sum += sums[i][lane];
  column_sums[(long long)blockIdx.y * outputs + column] = sum;
}
#endif
