// What a GEMM does with its tile before it reaches memory: everything that would otherwise be a pass
// of its own over a tensor.
//
// Accumulators lie in the lanes as mma leaves them: two columns here, two there. Each warp turns them
// round in shared memory, 16 rows at a time, so that a lane holds PACK_COLUMNS = 4 neighbouring
// columns and a row of the warp is read and written as one piece. An epilogue is a struct with
//
//   begin(column)               once: what belongs to the lane's columns (a bias)
//   fetch(row, column)          starts reading what belongs to one row (a residual): an `Aux`
//   apply(row, column, v, aux)  writes the row's four values
//   end(shared, row0, column0)  once: what a block sums up over its tile; all threads call it
//
// and `rows`, `columns`: the size of c. `row` and `column` are places in c; all but `end`
// are called only for rows < `rows` and columns < `columns`. Columns behind `columns` within a pack are left out.
//
// -DPACK=4 if every row stride and base address of the epilogue's tensors is a multiple of four
// elements, and `columns` is; -DPACK=1 otherwise.
#pragma once
#include "gemm.cuh"

constexpr int PACK_COLUMNS = 4;
constexpr int LANES_A_ROW = WARP_N / PACK_COLUMNS, ROWS_A_PASS = WARP_SIZE / LANES_A_ROW;
constexpr int PASSES = 16 / ROWS_A_PASS;
// Floats from row to row of a warp's 16 rows in shared memory: 8 mod 32, so that the stores of
// fragments (8 bytes from each of 4 rows x 4 lanes) meet every bank once. Loads follow the rows.
constexpr int PITCH = WARP_N + 8;
static_assert(WARP_N == 32 || WARP_N == 64, "a pass is made of whole rows, the pitch suits the banks");

// Bytes of shared memory of a block: the pipeline's tiles, later the rows of the warps.
constexpr int PIPELINE_BYTES = STAGES * (TILE_M + TILE_N) * TILE_K * 2;
constexpr int EPILOGUE_BYTES = WARPS_M * WARPS_N * 16 * PITCH * 4;

// ------------------------------------------------------------------------------------- packs of four

struct Values {
  float at[PACK_COLUMNS];
};

struct alignas(8) HalfPack {
  unsigned low, high;
};

// The values p[0..4), of which the first `count` exist; the others are zero.
__device__ __forceinline__ Values load_values(const float* p, int count) {
  Values v = {};
  if constexpr (PACK == 4) {
    const Pack<float> pack = load_pack(p);
#pragma unroll
    for (int i = 0; i < 4; i++) v.at[i] = pack.at[i];
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (i < count) v.at[i] = p[i];
    }
  }
  return v;
}

__device__ __forceinline__ Values load_values(const element* p, int count) {
  Values v = {};
  if constexpr (PACK == 4) {
    const HalfPack pack = *reinterpret_cast<const HalfPack*>(p);
    v = {low_half<element>(pack.low), high_half<element>(pack.low), low_half<element>(pack.high), high_half<element>(pack.high)};
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (i < count) v.at[i] = to_float(p[i]);
    }
  }
  return v;
}

__device__ __forceinline__ void store_values(float* p, const Values& v, int count) {
  if constexpr (PACK == 4) {
    store_pack(p, Pack<float>{v.at[0], v.at[1], v.at[2], v.at[3]});
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (i < count) p[i] = v.at[i];
    }
  }
}

__device__ __forceinline__ void store_values(element* p, const Values& v, int count) {
  if constexpr (PACK == 4) {
    *reinterpret_cast<HalfPack*>(p) = {pack2<element>(v.at[0], v.at[1]), pack2<element>(v.at[2], v.at[3])};
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (i < count) p[i] = from_float<element>(v.at[i]);
    }
  }
}

// What the next kernel will read: v as `element` keeps it.
__device__ __forceinline__ float rounded(float v) { return to_float(from_float<element>(v)); }

// -------------------------------------------------------------------------------------- from mma's lanes

// Hands the accumulators of the block's tile, whose first place in c is (row0, column0), to `epilogue`.
// `shared` has EPILOGUE_BYTES that nobody reads any more.
template <class Epilogue>
__device__ __forceinline__ void finish_tile(const Accumulators& c, Epilogue& epilogue, unsigned char* shared, int row0, int column0) {
  const int warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE;
  float* const mine = reinterpret_cast<float*>(shared) + warp * 16 * PITCH;
  // This lane's part of the first fragment, as a pointer of its own: NVRTC splits the first store of a
  // strip in two, with bank conflicts, where the whole place is one sum.
  float2* const fragment = reinterpret_cast<float2*>(mine) + lane / 4 * PITCH / 2 + lane % 4;
  const int first_row = row0 + warp / WARPS_N * WARP_M + lane / LANES_A_ROW;
  const int column_in_warp = lane % LANES_A_ROW * PACK_COLUMNS;
  const int column = column0 + warp % WARPS_N * WARP_N + column_in_warp;
  const bool has_columns = column < epilogue.columns;
  if (has_columns) epilogue.begin(column);
  // The loop is not unrolled, only the choice of the fragments is: registers have no index, and an
  // epilogue's text is long.
#pragma unroll 1
  for (int strip = 0; strip < FRAGMENTS_M; strip++) {
    typename Epilogue::Aux aux[PASSES];
#pragma unroll
    for (int pass = 0; pass < PASSES; pass++) {
      const int row = first_row + strip * 16 + pass * ROWS_A_PASS;
      if (has_columns && row < epilogue.rows) aux[pass] = epilogue.fetch(row, column);
    }
    __syncwarp();  // the rows of the strip before have been read
#pragma unroll
    for (int i = 0; i < FRAGMENTS_M; i++) {
      if (i != strip) continue;
#pragma unroll
      for (int j = 0; j < FRAGMENTS_N; j++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          fragment[8 * half * PITCH / 2 + 4 * j] = make_float2(c[i][j][2 * half], c[i][j][2 * half + 1]);
        }
      }
    }
    __syncwarp();
#pragma unroll
    for (int pass = 0; pass < PASSES; pass++) {
      const int row = first_row + strip * 16 + pass * ROWS_A_PASS;
      const Pack<float> pack = load_pack(mine + (lane / LANES_A_ROW + pass * ROWS_A_PASS) * PITCH + column_in_warp);
      if (has_columns && row < epilogue.rows) epilogue.apply(row, column, {pack.at[0], pack.at[1], pack.at[2], pack.at[3]}, aux[pass]);
    }
  }
  epilogue.end(shared, row0, column0);
}

struct Nothing {};

// What most epilogues have in common.
struct Plain {
  typedef Nothing Aux;
  int rows, columns;
  __device__ __forceinline__ int count(int column) const { return columns - column; }
  __device__ __forceinline__ void begin(int) {}
  __device__ __forceinline__ Nothing fetch(int, int) const { return {}; }
  __device__ __forceinline__ void end(unsigned char*, int, int) {}
};

// ----------------------------------------------------------------------------------------- forward

// The bias of the lane's columns: (columns) f32, or none.
struct Biased : Plain {
  const float* bias;
  Values b;
  __device__ __forceinline__ void begin(int column) {
    if (bias) b = load_values(bias + column, count(column));
  }
  __device__ __forceinline__ void add_bias(Values& v) const {
#pragma unroll
    for (int i = 0; i < PACK_COLUMNS; i++) v.at[i] += b.at[i];
  }
};

// y = c + bias.
template <class Output> struct BiasEpilogue : Biased {
  Output* y;
  int stride;
  __device__ __forceinline__ void apply(int row, int column, Values v, Nothing) const {
    add_bias(v);
    store_values(y + (long long)row * stride + column, v, count(column));
  }
};

// The normal distribution's Phi(h), the probability below h, and phi(h), the density there.
struct Normal {
  float below, density;
};

// Phi(-t) = phi-like tail exp(-t^2 / 2) erfcx(t / sqrt 2) / 2, with half of erfcx as a polynomial in
// 1 / (1 + 0.36 t / sqrt 2), fitted on 0 <= t <= 13: Phi is within 2 units in the last place of 1,
// and of its own size within 5e-6 for h > -9. One exponential serves both functions.
__device__ __forceinline__ Normal normal(float h) {
  constexpr float HALF_ERFCX[] = {5.2272164e-5f, 0.10035754f, 0.112592772f, 0.040846366f, 0.23668359f, -0.19998081f, 0.2938611f, -0.08441285f};
  const float gauss = fast_exp2(h * h * -0.72134752f);
  const float u = fast_reciprocal(fmaf(0.25455844f, fabsf(h), 1.0f));
  float half_erfcx = HALF_ERFCX[7];
#pragma unroll
  for (int i = 6; i >= 0; i--) half_erfcx = fmaf(half_erfcx, u, HALF_ERFCX[i]);
  const float tail = gauss * half_erfcx;
  return {h < 0.0f ? tail : 1.0f - tail, gauss * 0.39894228f};
}

// h = c + bias, which the backward pass needs (`h` may be null where there is none), and
// y = gelu(h) = h Phi(h) of the h that is stored.
struct GeluEpilogue : Biased {
  element *y, *h;
  int stride;
  __device__ __forceinline__ void apply(int row, int column, Values v, Nothing) const {
    const long long at = (long long)row * stride + column;
    add_bias(v);
    if (h) store_values(h + at, v, count(column));
#pragma unroll
    for (int i = 0; i < PACK_COLUMNS; i++) {
      const float x = rounded(v.at[i]);
      v.at[i] = x * normal(x).below;
    }
    store_values(y + at, v, count(column));
  }
};

// y = residual + c + bias, in f32; the two may be one tensor.
struct ResidualEpilogue : Biased {
  typedef Values Aux;
  float* y;
  const float* residual;
  int stride, residual_stride;
  __device__ __forceinline__ Values fetch(int row, int column) const {
    return load_values(residual + (long long)row * residual_stride + column, count(column));
  }
  __device__ __forceinline__ void apply(int row, int column, Values v, const Values& r) const {
    add_bias(v);
#pragma unroll
    for (int i = 0; i < PACK_COLUMNS; i++) v.at[i] += r.at[i];
    store_values(y + (long long)row * stride + column, v, count(column));
  }
};

// Row b PATCHES + p of c is patch p of image b: with bias and the position's embedding it becomes row
// b (PATCHES + 1) + 1 + p of the stream x.
#ifdef PATCHES
struct PatchEpilogue : Biased {
  typedef Values Aux;
  float* x;
  const float* positions;
  __device__ __forceinline__ Values fetch(int row, int column) const {
    return load_values(positions + (long long)(row % PATCHES + 1) * columns + column, count(column));
  }
  __device__ __forceinline__ void apply(int row, int column, Values v, const Values& position) const {
    add_bias(v);
#pragma unroll
    for (int i = 0; i < PACK_COLUMNS; i++) v.at[i] += position.at[i];
    store_values(x + (long long)(row + row / PATCHES + 1) * columns + column, v, count(column));
  }
};
#endif

// ---------------------------------------------------------------------------------------- backward

// dx = c.
struct StoreEpilogue : Plain {
  element* dx;
  int stride;
  __device__ __forceinline__ void apply(int row, int column, const Values& v, Nothing) const {
    store_values(dx + (long long)row * stride + column, v, count(column));
  }
};

// dh = c * gelu'(h) with gelu'(h) = Phi(h) + h phi(h), and the sums of dh over the rows of the tile:
// one row of column_sums (tiles along M, columns).
struct GeluBackwardEpilogue : Plain {
  typedef Values Aux;
  element* dh;
  float* column_sums;
  const element* h;
  int stride;
  Values sums;
  __device__ __forceinline__ Values fetch(int row, int column) const {
    return load_values(h + (long long)row * stride + column, count(column));
  }
  __device__ __forceinline__ void apply(int row, int column, Values v, const Values& h) {
#pragma unroll
    for (int i = 0; i < PACK_COLUMNS; i++) {
      const Normal n = normal(h.at[i]);
      v.at[i] *= fmaf(h.at[i], n.density, n.below);
      sums.at[i] += v.at[i];
    }
    store_values(dh + (long long)row * stride + column, v, count(column));
  }
  // Lanes over the same columns, then the warps over them from top to bottom.
  __device__ __forceinline__ void end(unsigned char* shared, int row0, int column0) {
    float* const rows = reinterpret_cast<float*>(shared);  // (WARPS_M, TILE_N)
    const int warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE;
    __syncthreads();  // nobody reads the strips any more
#pragma unroll
    for (int i = 0; i < PACK_COLUMNS; i++) {
#pragma unroll
      for (int lanes = LANES_A_ROW; lanes < WARP_SIZE; lanes *= 2) sums.at[i] += __shfl_xor_sync(FULL_WARP, sums.at[i], lanes);
    }
    const int column_in_tile = warp % WARPS_N * WARP_N + lane * PACK_COLUMNS;
    if (lane < LANES_A_ROW) store_pack(rows + warp / WARPS_N * TILE_N + column_in_tile, Pack<float>{sums.at[0], sums.at[1], sums.at[2], sums.at[3]});
    __syncthreads();
    for (int column = threadIdx.x; column < TILE_N && column0 + column < columns; column += THREADS) {
      float sum = 0.0f;
#pragma unroll
      for (int warp = 0; warp < WARPS_M; warp++) sum += rows[warp * TILE_N + column];
      column_sums[(long long)(row0 / TILE_M) * columns + column0 + column] = sum;
    }
  }
};

// dw = c, or dw += c with `accumulate`, and in `squares`, unless null, the sum of the squares of what
// dw becomes, one a block.
struct WeightEpilogue : Plain {
  typedef Values Aux;
  float* dw;
  float* squares;
  int accumulate;
  float sum;
  __device__ __forceinline__ Values fetch(int row, int column) const {
    if (!accumulate) return {};
    return load_values(dw + (long long)row * columns + column, count(column));
  }
  __device__ __forceinline__ void apply(int row, int column, Values v, const Values& before) {
#pragma unroll
    for (int i = 0; i < PACK_COLUMNS; i++) {
      v.at[i] += before.at[i];
      sum = fmaf(v.at[i], v.at[i], sum);  // zero behind the last column: both factors are
    }
    store_values(dw + (long long)row * columns + column, v, count(column));
  }
  __device__ __forceinline__ void end(unsigned char* shared, int, int) {
    if (!squares) return;
    __syncthreads();  // nobody reads the strips any more
    sum = block_sum<THREADS>(sum, reinterpret_cast<float*>(shared));
    if (threadIdx.x == 0) squares[blockIdx.x] = sum;
  }
};

// One part of a product whose sum over k is split: c as it is, (rows, columns) f32.
struct PartEpilogue : Plain {
  float* part;
  __device__ __forceinline__ void apply(int row, int column, const Values& v, Nothing) const {
    store_values(part + (long long)row * columns + column, v, count(column));
  }
};
