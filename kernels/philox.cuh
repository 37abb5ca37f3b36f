// Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011), the streams of
// src/rng.rs to the bit: word i of a stream is a function of (seed, purpose, index, i) alone.
#pragma once

struct PhiloxWords {
  unsigned at[4];
};

__device__ __forceinline__ PhiloxWords philox(unsigned key0, unsigned key1, PhiloxWords counter) {
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const unsigned a = counter.at[0], b = counter.at[2];
    counter = {__umulhi(0xcd9e8d57u, b) ^ counter.at[1] ^ key0, 0xcd9e8d57u * b,
               __umulhi(0xd2511f53u, a) ^ counter.at[3] ^ key1, 0xd2511f53u * a};
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
  return counter;
}

// Words 4 block to 4 block + 3 of the stream `index` of `purpose` (Purpose in src/rng.rs) under `seed`.
__device__ __forceinline__ PhiloxWords philox_words(long long seed, unsigned purpose, long long index, unsigned block) {
  return philox((unsigned)seed, (unsigned)(seed >> 32), {block, (unsigned)index, (unsigned)(index >> 32), purpose});
}

// In [0, 1), 24 bits: as many as f32 holds without rounding up to 1.
__device__ __forceinline__ float uniform(unsigned word) { return (word >> 8) * 0x1p-24f; }
