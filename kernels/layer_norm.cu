// Layer norm over the last dimension, C = WIDTH columns:
//   y = (x - mean) * rstd * w + b,   rstd = 1 / sqrt(var + eps)
// and backward, with xh = (x - mean) * rstd and g = dy * w:
//   dx = rstd * (g - mean(g) - xh * mean(g * xh)),   dw = sum over rows of dy * xh,   db = sum of dy
//
// x [rows, C] f32, the residual stream, its rows x_stride apart; y, dy [rows, C] element; mean, rstd
// [rows] f32; dx [rows, C] f32, and a copy in element for the GEMMs that follow.
//
// A warp takes a row forward; backward a team of TEAM warps does, so that the sums over rows of C / 32
// / TEAM columns fit a lane's registers. Each row is read once and stays in registers.
//
// -DWIDTH=C
// -DVECTOR=4   columns a lane loads at once; 1 where C or an address is not a multiple of it
// -DTEAM=1     warps a row backward: 1, 2 or 4
#include "common.cuh"

#define THREADS 128
#define WARPS (THREADS / WARP_SIZE)

// Consecutive columns, moved by one instruction.
template <class T> struct __align__(sizeof(T) * VECTOR) Columns {
  T at[VECTOR];
};

template <class T> __device__ __forceinline__ Columns<T> load(const T* p) { return *reinterpret_cast<const Columns<T>*>(p); }
template <class T> __device__ __forceinline__ void store(T* p, const Columns<T>& x) { *reinterpret_cast<Columns<T>*>(p) = x; }

extern "C" __global__ void __launch_bounds__(THREADS)
layer_norm_forward(element* y, float* mean, float* rstd, const float* x, const float* w, const float* b,
                   int rows, int x_stride, float eps) {
  constexpr int STEPS = ceil_div(WIDTH, WARP_SIZE * VECTOR);
  const int lane = threadIdx.x % WARP_SIZE;
  const int row = blockIdx.x * WARPS + threadIdx.x / WARP_SIZE;
  if (row >= rows) return;
  x += (long long)row * x_stride;
  y += (long long)row * WIDTH;

  float values[STEPS][VECTOR];
  float sum = 0.0f;
#pragma unroll
  for (int step = 0; step < STEPS; step++) {
    const int column = (step * WARP_SIZE + lane) * VECTOR;
    if (column >= WIDTH) continue;
    const Columns<float> loaded = load(x + column);
#pragma unroll
    for (int i = 0; i < VECTOR; i++) sum += values[step][i] = loaded.at[i];
  }
  const float row_mean = warp_sum(sum) * (1.0f / WIDTH);

  float squares = 0.0f;
#pragma unroll
  for (int step = 0; step < STEPS; step++) {
    if ((step * WARP_SIZE + lane) * VECTOR >= WIDTH) continue;
#pragma unroll
    for (int i = 0; i < VECTOR; i++) {
      const float centered = values[step][i] - row_mean;
      squares += centered * centered;
    }
  }
  const float row_rstd = 1.0f / sqrtf(warp_sum(squares) * (1.0f / WIDTH) + eps);

#pragma unroll
  for (int step = 0; step < STEPS; step++) {
    const int column = (step * WARP_SIZE + lane) * VECTOR;
    if (column >= WIDTH) continue;
    const Columns<float> weight = load(w + column), bias = load(b + column);
    Columns<element> out;
#pragma unroll
    for (int i = 0; i < VECTOR; i++)
      out.at[i] = from_float<element>((values[step][i] - row_mean) * row_rstd * weight.at[i] + bias.at[i]);
    store(y + column, out);
  }
  if (lane == 0) {
    mean[row] = row_mean;
    rstd[row] = row_rstd;
  }
}

#define TEAMS (WARPS / TEAM)
#define LANES (TEAM * WARP_SIZE)

// Sums of a and b over the lanes of a team, the same bits in each. All threads of the block call it.
__device__ __forceinline__ void team_sums(float& a, float& b, float (&scratch)[WARPS][2]) {
  a = warp_sum(a);
  b = warp_sum(b);
  if constexpr (TEAM > 1) {
    const int warp = threadIdx.x / WARP_SIZE, first = warp / TEAM * TEAM;
    if (threadIdx.x % WARP_SIZE == 0) {
      scratch[warp][0] = a;
      scratch[warp][1] = b;
    }
    __syncthreads();
    a = b = 0.0f;
#pragma unroll
    for (int i = 0; i < TEAM; i++) {
      a += scratch[first + i][0];
      b += scratch[first + i][1];
    }
    __syncthreads();
  }
}

// dx gets the gradient, plus residual where there is one: that of row r is row r / residual_period,
// and only rows that are multiples of residual_period have one. residual may be dx itself. dx_copy may
// be null. partials [blocks][3 C] gets the block's sums over rows: dw, db, and dx (the gradient of the
// bias of the linear layer that added into the stream).
extern "C" __global__ void __launch_bounds__(THREADS)
layer_norm_backward(float* dx, element* dx_copy, float* partials, const element* dy, const float* x, const float* w,
                    const float* mean, const float* rstd, const float* residual,
                    int rows, int x_stride, int residual_period) {
  constexpr int STEPS = ceil_div(WIDTH, LANES * VECTOR);
  __shared__ float scratch[WARPS][2];
  const int lane = threadIdx.x % LANES, team = threadIdx.x / LANES;
  Columns<float> sums[3][STEPS] = {};

  for (int first = blockIdx.x * TEAMS; first < rows; first += gridDim.x * TEAMS) {
    const int row = first + team;
    const bool live = row < rows;
    const long long at = (long long)row * WIDTH;
    const float row_mean = live ? mean[row] : 0.0f, row_rstd = live ? rstd[row] : 0.0f;
    float hats[STEPS][VECTOR], g[STEPS][VECTOR];
    float sum_g = 0.0f, sum_gx = 0.0f;
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
      const int column = (step * LANES + lane) * VECTOR;
      if (!live || column >= WIDTH) continue;
      const Columns<element> gradient = load(dy + at + column);
      const Columns<float> value = load(x + (long long)row * x_stride + column), weight = load(w + column);
#pragma unroll
      for (int i = 0; i < VECTOR; i++) {
        const float d = to_float(gradient.at[i]), hat = (value.at[i] - row_mean) * row_rstd;
        sums[0][step].at[i] += d * hat;
        sums[1][step].at[i] += d;
        hats[step][i] = hat;
        g[step][i] = d * weight.at[i];
        sum_g += g[step][i];
        sum_gx += g[step][i] * hat;
      }
    }
    team_sums(sum_g, sum_gx, scratch);
    const float mean_g = sum_g * (1.0f / WIDTH), mean_gx = sum_gx * (1.0f / WIDTH);
    const bool added = residual && row % residual_period == 0;
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
      const int column = (step * LANES + lane) * VECTOR;
      if (!live || column >= WIDTH) continue;
      Columns<float> out = {};
      if (added) out = load(residual + (long long)(row / residual_period) * WIDTH + column);
      Columns<element> copy;
#pragma unroll
      for (int i = 0; i < VECTOR; i++) {
        out.at[i] += row_rstd * (g[step][i] - mean_g - hats[step][i] * mean_gx);
        sums[2][step].at[i] += out.at[i];
        copy.at[i] = from_float<element>(out.at[i]);
      }
      store(dx + at + column, out);
      if (dx_copy) store(dx_copy + at + column, copy);
    }
  }

  // The teams' sums, added in their order; the last one writes.
  partials += (long long)blockIdx.x * 3 * WIDTH;
  if constexpr (TEAMS == 1) {
#pragma unroll
    for (int kind = 0; kind < 3; kind++)
#pragma unroll
      for (int step = 0; step < STEPS; step++) {
        const int column = (step * LANES + lane) * VECTOR;
        if (column < WIDTH) store(partials + kind * WIDTH + column, sums[kind][step]);
      }
  } else {
    __shared__ Columns<float> total[3][WIDTH / VECTOR];
    for (int turn = 0; turn < TEAMS; turn++) {
      if (turn == team) {
#pragma unroll
        for (int kind = 0; kind < 3; kind++)
#pragma unroll
          for (int step = 0; step < STEPS; step++) {
            const int column = (step * LANES + lane) * VECTOR;
            if (column >= WIDTH) continue;
            Columns<float> sum = sums[kind][step];
            if (turn > 0) {
              const Columns<float> before = total[kind][column / VECTOR];
#pragma unroll
              for (int i = 0; i < VECTOR; i++) sum.at[i] = before.at[i] + sum.at[i];
            }
            if (turn + 1 < TEAMS) total[kind][column / VECTOR] = sum;
            else store(partials + kind * WIDTH + column, sum);
          }
      }
      __syncthreads();
    }
  }
}
