// The end of a step's gradients, and what becomes of the step:
//
//   norm = sqrt(sum of g^2) / loss_scale   clip = min(1, max_norm / (norm + 1e-6)), 1 for max_norm 0
//
// A gradient that overflowed makes the sum infinite or NaN. Then nothing is updated and the loss scale
// halves; after `growth_interval` steps in a row without that, it doubles (Micikevicius et al. 2018,
// and PyTorch's GradScaler).
//
// Most kernels that write gradients leave the sums of their squares, one a block, in the array
// `squares`; grad_norm_squares does it for the others. Sums are in f32: scaled gradients would have to
// have a norm of 1.8e19 to overflow there, and such a step is one to skip.
#include "common.cuh"
#include "step_state.cuh"

#define THREADS 256
#define WARPS (THREADS / WARP_SIZE)
#define VALUES 8192  // of a block of grad_norm_squares

// squares[block] = sum of the squares of the block's VALUES gradients, of `count` in all.
extern "C" __global__ void __launch_bounds__(THREADS) grad_norm_squares(float* squares, const float* gradients, long long count) {
  __shared__ float scratch[WARPS];
  const long long first = (long long)blockIdx.x * VALUES;
  const int values = (int)min((long long)VALUES, count - first);
  gradients += first;
  float sum = 0.0f;
#pragma unroll 8
  for (int i = threadIdx.x; i < values; i += THREADS) sum = fmaf(gradients[i], gradients[i], sum);
  sum = block_sum<THREADS>(sum, scratch);
  if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

// Loss scale after a step. It grows only as long as it stays finite. growth_interval 0: it never changes.
__device__ __forceinline__ void update_loss_scale(StepState* state, bool overflow, int growth_interval) {
  state->good_steps = overflow ? 0 : state->good_steps + 1;
  if (growth_interval == 0) return;
  if (overflow) state->loss_scale *= 0.5f;
  if (state->good_steps < growth_interval) return;
  if (isfinite(2.0f * state->loss_scale)) state->loss_scale *= 2.0f;
  state->good_steps = 0;
}

// Reduces squares (slots), and leaves in `state` what AdamW and the host want to know. Row u of `rates`
// (rows, at least 1) is for the update after u others; the last row is for all that come after it.
// One block.
extern "C" __global__ void __launch_bounds__(THREADS) grad_norm_finish(
    StepState* state, const float* squares, const UpdateRates* rates,
    int slots, int rows, float max_norm, int growth_interval) {
  __shared__ float scratch[WARPS];
  float sum = 0.0f;
#pragma unroll 8
  for (int i = threadIdx.x; i < slots; i += THREADS) sum += squares[i];
  sum = block_sum<THREADS>(sum, scratch);
  if (threadIdx.x > 0) return;

  const float norm = sqrtf(sum) / state->loss_scale;
  const bool overflow = !isfinite(norm) || !isfinite(state->loss);
  state->grad_norm = norm;
  state->found_inf = overflow;
  if (overflow) {
    state->skipped++;
  } else {
    const float clip = max_norm > 0.0f ? fminf(1.0f, max_norm / (norm + 1e-6f)) : 1.0f;
    const UpdateRates row = rates[min(state->updates, rows - 1)];
    state->gradient_factor = clip / state->loss_scale;  // of this step's scale, before it changes
    state->learning_rate = row.learning_rate;
    state->keep = row.keep;
    state->rate = row.rate;
    state->root = row.root;
    state->updates++;
  }
  update_loss_scale(state, overflow, growth_interval);
}
