//! Random numbers.
//!
//! Two generators, each for its own reason: [`Philox`] is a pure function of (seed, purpose,
//! position), so nothing about it is ever saved and a kernel can draw the same numbers;
//! [`Mt19937`] is what Python and PyTorch use, so that splits and epochs come in their order.

use std::collections::HashSet;

/// Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011).
pub fn philox(key: [u32; 2], mut counter: [u32; 4]) -> [u32; 4] {
    let mut k = key;
    for _ in 0..10 {
        let a = 0xD251_1F53_u64 * u64::from(counter[0]);
        let b = 0xCD9E_8D57_u64 * u64::from(counter[2]);
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ k[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ k[1],
            a as u32,
        ];
        k = [
            k[0].wrapping_add(0x9E37_79B9),
            k[1].wrapping_add(0xBB67_AE85),
        ];
    }
    counter
}

/// What random numbers are for; streams of different purposes are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial parameters; the index is the tensor's place in the parameter table.
    Init = 1,
    /// Image augmentation; the index is (epoch, image).
    Augment = 2,
    /// Test inputs.
    Test = 3,
}

/// A stream of numbers: word `i` is a function of (seed, purpose, index, i) alone.
#[derive(Debug, Clone)]
pub struct Philox {
    key: [u32; 2],
    purpose: u32,
    index: u64,
    block: u32,
    words: [u32; 4],
    used: usize,
}

impl Philox {
    /// The stream `index` of `purpose` under `seed`.
    pub fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            purpose: purpose as u32,
            index,
            block: 0,
            words: [0; 4],
            used: 4,
        }
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            let counter = [
                self.block,
                self.index as u32,
                (self.index >> 32) as u32,
                self.purpose,
            ];
            self.words = philox(self.key, counter);
            self.block += 1;
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// Uniform in [0, 1), 32 bits fine.
    pub fn uniform(&mut self) -> f64 {
        f64::from(self.next_u32()) / 4_294_967_296.0
    }

    /// Standard normal (Box and Muller; the second value is dropped, so that one call always takes
    /// two words).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Standard normal, drawn again until it lies within ±2.
    pub fn truncated_normal(&mut self) -> f64 {
        loop {
            let z = self.normal();
            if z.abs() <= 2.0 {
                return z;
            }
        }
    }
}

/// The Mersenne Twister of Matsumoto and Nishimura (1998), 32-bit.
pub struct Mt19937 {
    state: [u32; 624],
    next: usize,
}

impl Mt19937 {
    /// Seeded as `init_genrand` does: PyTorch's CPU generator, low 32 bits of its seed.
    pub fn new(seed: u32) -> Self {
        let mut state = [seed; 624];
        for i in 1..624 {
            let previous = state[i - 1];
            state[i] = 1_812_433_253_u32
                .wrapping_mul(previous ^ (previous >> 30))
                .wrapping_add(i as u32);
        }
        Self { state, next: 624 }
    }

    /// Seeded as Python's `random.seed(seed)` (`init_by_array` over 32-bit digits).
    pub fn python(seed: u64) -> Self {
        let key: &[u32] = &match seed >> 32 {
            0 => vec![seed as u32],
            high => vec![seed as u32, high as u32],
        };
        let mut mt = Self::new(19_650_218);
        let s = &mut mt.state;
        let (mut i, mut j) = (1, 0);
        for _ in 0..624.max(key.len()) {
            s[i] = (s[i] ^ (s[i - 1] ^ (s[i - 1] >> 30)).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            (i, j) = (i + 1, (j + 1) % key.len());
            if i == 624 {
                s[0] = s[623];
                i = 1;
            }
        }
        for _ in 0..623 {
            s[i] = (s[i] ^ (s[i - 1] ^ (s[i - 1] >> 30)).wrapping_mul(1_566_083_941))
                .wrapping_sub(i as u32);
            i += 1;
            if i == 624 {
                s[0] = s[623];
                i = 1;
            }
        }
        s[0] = 0x8000_0000;
        mt
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == 624 {
            for i in 0..624 {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % 624] & 0x7fff_ffff);
                let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + 397) % 624] ^ (y >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Python's `random._randbelow(n)`, 1 ≤ n < 2³².
    fn below(&mut self, n: usize) -> usize {
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let r = (self.next_u32() >> (32 - bits)) as usize;
            if r < n {
                return r;
            }
        }
    }

    /// Python's `random.sample(range(n), k)`; panics if `k > n`, as Python raises.
    pub fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        assert!(k <= n && n < 1 << 32, "sample {k} of {n}");
        // CPython tracks the chosen ones in a set when the set is smaller than a list of all.
        let mut set_size = 21;
        if k > 5 {
            let mut power = 1;
            while power < 3 * k {
                power *= 4;
            }
            set_size += power;
        }
        if n <= set_size {
            let mut pool: Vec<usize> = (0..n).collect();
            (0..k)
                .map(|i| {
                    let j = self.below(n - i);
                    let chosen = pool[j];
                    pool[j] = pool[n - i - 1];
                    chosen
                })
                .collect()
        } else {
            let mut chosen = HashSet::with_capacity(k);
            (0..k)
                .map(|_| {
                    loop {
                        let j = self.below(n);
                        if chosen.insert(j) {
                            return j;
                        }
                    }
                })
                .collect()
        }
    }
}

/// `torch.randperm(n)` on the CPU after `torch.manual_seed(seed)`, n < 2³² / 20.
///
/// Hugging Face's Trainer orders epoch `e` by `seed + e`.
pub fn randperm(n: usize, seed: u64) -> Vec<usize> {
    let mut mt = Mt19937::new(seed as u32);
    let mut order: Vec<usize> = (0..n).collect();
    for i in 0..n.saturating_sub(1) {
        let j = i + mt.next_u32() as usize % (n - i);
        order.swap(i, j);
    }
    order
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    /// Known answers of Random123 1.14 (`kat_vectors`, philox4x32 10).
    #[test]
    fn philox_gives_the_known_answers() {
        assert_eq!(
            philox([0; 2], [0; 4]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
    }

    /// Numbers of the tutorial's notebook, made with CPython.
    #[test]
    fn sample_is_pythons() {
        let mut mt = Mt19937::python(42);
        let train = mt.sample(23_410, 1000);
        assert_eq!(train[..8], [20952, 3648, 819, 9012, 8024, 7314, 4572, 3358]);
        let taken: HashSet<usize> = train.into_iter().collect();
        let rest: Vec<usize> = (0..23_410).filter(|i| !taken.contains(i)).collect();
        let validation: Vec<usize> = mt
            .sample(rest.len(), 200)
            .iter()
            .map(|&i| rest[i])
            .collect();
        assert_eq!(
            validation[..8],
            [13774, 9337, 17121, 18482, 16896, 14987, 2752, 20466]
        );
    }

    /// Made with torch 2.5.1.
    #[test]
    fn randperm_is_torchs() {
        assert_eq!(
            randperm(1000, 42)[..8],
            [542, 618, 816, 68, 94, 215, 60, 585]
        );
        assert_eq!(
            randperm(1000, 43)[..8],
            [588, 148, 223, 575, 689, 935, 932, 343]
        );
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let mut stream = Philox::new(7, Purpose::Test, 0);
        let z: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = z.iter().sum::<f64>() / z.len() as f64;
        let variance = z.iter().map(|v| v * v).sum::<f64>() / z.len() as f64;
        assert_abs_diff_eq!(mean, 0.0, epsilon = 0.03);
        assert_abs_diff_eq!(variance, 1.0, epsilon = 0.05);
    }
}
