// Every primitive of mma.cuh, one a kernel, fed and read back register by register.
#include "common.cuh"

// d: (32, 4) registers of the lanes; x: 32 rows of 8 elements.
template <int COUNT, bool TRANSPOSED> __device__ __forceinline__ void load_matrices(unsigned* d, const unsigned short* x) {
  __shared__ __align__(16) unsigned short rows[32][8];
  for (int i = 0; i < 8; i++) rows[threadIdx.x][i] = x[threadIdx.x * 8 + i];
  __syncwarp();
  unsigned r[COUNT];
  ldmatrix<COUNT, TRANSPOSED>(r, rows[threadIdx.x]);
  for (int i = 0; i < COUNT; i++) d[threadIdx.x * 4 + i] = r[i];
}
extern "C" __global__ void ldmatrix_x1(unsigned* d, const unsigned short* x) { load_matrices<1, false>(d, x); }
extern "C" __global__ void ldmatrix_x2(unsigned* d, const unsigned short* x) { load_matrices<2, false>(d, x); }
extern "C" __global__ void ldmatrix_x4(unsigned* d, const unsigned short* x) { load_matrices<4, false>(d, x); }
extern "C" __global__ void ldmatrix_x1_trans(unsigned* d, const unsigned short* x) { load_matrices<1, true>(d, x); }
extern "C" __global__ void ldmatrix_x2_trans(unsigned* d, const unsigned short* x) { load_matrices<2, true>(d, x); }
extern "C" __global__ void ldmatrix_x4_trans(unsigned* d, const unsigned short* x) { load_matrices<4, true>(d, x); }

// Fragments by the definition, without ldmatrix. a: (16, K) row-major, b: (K, 8) row-major, d: (16, 8).
__device__ __forceinline__ unsigned two(const element* x, int i, int j) { return x[i].bits | (unsigned)x[j].bits << 16; }

extern "C" __global__ void multiply_k8(float* d, const f16* a, const f16* b) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4 * 2;
  auto pair = [](const f16* x, int i, int j) { return x[i].bits | (unsigned)x[j].bits << 16; };
  float c[1][1][4] = {0.5f, 0.25f, 0.125f, 1.0f};
  const unsigned fa[1][2] = {{pair(a, g * 8 + t, g * 8 + t + 1), pair(a, (g + 8) * 8 + t, (g + 8) * 8 + t + 1)}};
  const unsigned fb[1][1] = {{pair(b, t * 8 + g, (t + 1) * 8 + g)}};
  mma_k8<f16>(c, fa, fb);
  d[g * 8 + t] = c[0][0][0] - 0.5f;
  d[g * 8 + t + 1] = c[0][0][1] - 0.25f;
  d[(g + 8) * 8 + t] = c[0][0][2] - 0.125f;
  d[(g + 8) * 8 + t + 1] = c[0][0][3] - 1.0f;
}

#if __CUDA_ARCH__ >= 800
extern "C" __global__ void multiply_k16(float* d, const element* a, const element* b) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4 * 2;
  float c[1][1][4] = {};
  auto row = [&](int r, int k) { return two(a, r * 16 + k, r * 16 + k + 1); };
  const unsigned fa[1][4] = {{row(g, t), row(g + 8, t), row(g, t + 8), row(g + 8, t + 8)}};
  const unsigned fb[1][2] = {{two(b, t * 8 + g, (t + 1) * 8 + g), two(b, (t + 8) * 8 + g, (t + 9) * 8 + g)}};
  mma_k16<element>(c, fa, fb);
  d[g * 8 + t] = c[0][0][0];
  d[g * 8 + t + 1] = c[0][0][1];
  d[(g + 8) * 8 + t] = c[0][0][2];
  d[(g + 8) * 8 + t + 1] = c[0][0][3];
}

// Lane i copies 4, 8 and 16 bytes, and 16 of which i % 17 come from x and the rest are zero.
extern "C" __global__ void copies(unsigned char* d, const unsigned char* x) {
  __shared__ __align__(16) unsigned char to[32][48];
  const int i = threadIdx.x;
  cp_async<4>(to[i], x + i * 48);
  cp_async<8>(to[i] + 8, x + i * 48 + 8);
  cp_async_commit();
  cp_async<16>(to[i] + 16, x + i * 48 + 16);
  cp_async<16>(to[i] + 32, x + i * 48 + 32, i % 17);
  cp_async_commit();
  cp_async_wait<1>();
  for (int b = 0; b < 4; b++) d[i * 48 + b] = to[i][b];
  for (int b = 8; b < 16; b++) d[i * 48 + b] = to[i][b];
  cp_async_wait<0>();
  for (int b = 16; b < 48; b++) d[i * 48 + b] = to[i][b];
}

// Copies 12 bytes of 16, and overwrites them where they came from: nobody else's.
extern "C" __global__ void copy_three_words(float* x) {
  __shared__ __align__(16) float to[64][4];
  const int i = threadIdx.x;
  cp_async<16>(to[i], x + 4 * i, 12);
  cp_async_commit();
  cp_async_wait<0>();
  for (int k = 0; k < 4; k++) x[4 * i + k] = 2.0f * to[i][k];
}
#endif

// y: what x becomes and back; packed: two by two.
extern "C" __global__ void conversions(float* y, unsigned* packed, const float* x, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n / 2) return;
  y[2 * i] = to_float(from_float<element>(x[2 * i]));
  y[2 * i + 1] = to_float(from_float<element>(x[2 * i + 1]));
  packed[i] = pack2<element>(x[2 * i], x[2 * i + 1]);
}

extern "C" __global__ void exponentials(float* y, const float* x, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = fast_exp2(x[i]) + low_half<element>(pack2<element>(0.0f, 1.0f)) + high_half<element>(0u);
}
