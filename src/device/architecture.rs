//! What an architecture gives a kernel, and how much of it a kernel takes.

use super::gpu::Properties;

/// Resources of a multiprocessor, from "Technical Specifications per Compute Capability" of
/// NVIDIA's CUDA programming guide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// 75 for sm_75.
    pub sm: u32,
    /// Resident threads.
    pub threads: u32,
    /// Resident blocks.
    pub blocks: u32,
    /// Shared memory, in bytes.
    pub shared: u32,
    /// The most that one block can have of it.
    pub shared_per_block: u32,
    /// Multiprocessors of a common card.
    pub multiprocessors: u32,
}

const KIB: u32 = 1 << 10;
/// 32-bit registers of a multiprocessor.
const REGISTERS: u32 = 64 * KIB;
/// Registers are given to warps in units of this many.
const REGISTER_UNIT: u32 = 256;

impl Architecture {
    /// Those that kernels are compiled for in the tests.
    pub const ALL: [Self; 7] = [
        Self::new(75, 1024, 16, 64, 64, 40),
        Self::new(80, 2048, 32, 164, 163, 108),
        Self::new(86, 1536, 16, 100, 99, 82),
        Self::new(89, 1536, 24, 100, 99, 128),
        Self::new(90, 2048, 32, 228, 227, 132),
        Self::new(100, 2048, 32, 228, 227, 148),
        Self::new(120, 1536, 24, 100, 99, 170),
    ];

    const fn new(
        sm: u32,
        threads: u32,
        blocks: u32,
        shared_kib: u32,
        shared_per_block_kib: u32,
        multiprocessors: u32,
    ) -> Self {
        Self {
            sm,
            threads,
            blocks,
            shared: shared_kib * KIB,
            shared_per_block: shared_per_block_kib * KIB,
            multiprocessors,
        }
    }

    /// One with the resources of the newest that is not newer than `capability`.
    pub fn near((major, minor): (u32, u32)) -> Self {
        let sm = 10 * major + minor;
        let older = Self::ALL.into_iter().rfind(|known| known.sm <= sm);
        Self {
            sm,
            ..older.unwrap_or(Self::ALL[0])
        }
    }

    /// Compute capability, (major, minor).
    pub fn capability(&self) -> (u32, u32) {
        (self.sm / 10, self.sm % 10)
    }

    /// A GPU of this architecture, as far as launchers ask.
    pub fn properties(&self) -> Properties {
        Properties {
            name: format!("sm_{}", self.sm),
            capability: self.capability(),
            multiprocessors: self.multiprocessors,
            shared_per_block: self.shared_per_block,
            shared_per_multiprocessor: self.shared,
            l2: 0,
            memory: 0,
            driver: super::OLDEST_DRIVER,
        }
    }

    /// Blocks that a multiprocessor runs at once, 0 if not even one fits.
    ///
    /// `threads` of a block, `registers` of a thread, `shared` bytes of a block in all.
    pub fn resident_blocks(&self, threads: u32, registers: u32, shared: u32) -> u32 {
        let warps = threads.div_ceil(32);
        let registers = (32 * registers).next_multiple_of(REGISTER_UNIT) * warps;
        // The system keeps 1 KiB of each block from sm_80 on.
        let reserved = if self.sm >= 80 { KIB } else { 0 };
        if shared > self.shared_per_block {
            return 0;
        }
        let limits = [
            self.blocks,
            self.threads / (32 * warps),
            REGISTERS.checked_div(registers).unwrap_or(self.blocks),
            self.shared
                .checked_div(shared + reserved)
                .unwrap_or(self.blocks),
        ];
        limits.into_iter().min().expect("four limits")
    }
}

/// What ptxas says about a kernel (`--ptxas-options=-v`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    /// The `__global__` function.
    pub kernel: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Static shared memory of a block, in bytes.
    pub shared: u32,
    /// Bytes of a thread's stack: local memory that is not spilled registers.
    pub stack: u32,
    /// Bytes of spilled registers that are stored and loaded.
    pub spills: u32,
}

impl Resources {
    /// The kernels of a compiler's log; none where NVRTC is too old to pass ptxas's words on.
    pub fn of(log: &str) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for line in log.lines() {
            if let Some(rest) = after(line, "Compiling entry function '") {
                let kernel = rest.split('\'').next().unwrap_or_default().to_owned();
                found.push(Self {
                    kernel,
                    ..Self::default()
                });
            }
            let Some(last) = found.last_mut() else {
                continue;
            };
            if line.contains("bytes stack frame") {
                last.stack = before(line, " bytes stack frame");
                last.spills =
                    before(line, " bytes spill stores") + before(line, " bytes spill loads");
            }
            if line.contains("Used ") {
                last.registers = before(line, " registers");
                last.shared = before(line, " bytes smem");
            }
        }
        found
    }
}

fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark).map(|(_, rest)| rest)
}

/// The number that stands before `unit`, 0 where there is none.
fn before(line: &str, unit: &str) -> u32 {
    let Some((head, _)) = line.split_once(unit) else {
        return 0;
    };
    let digits = head
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |i| i + 1);
    head[digits..].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read() {
        let log = "ptxas info    : Compiling entry function 'one' for 'sm_75'
ptxas info    : Function properties for one
ptxas         .     8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 70 registers, used 1 barriers, 2304 bytes smem, 436 bytes cmem[0]
ptxas info    : Compiling entry function 'two' for 'sm_75'
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 27 registers, used 0 barriers, 412 bytes cmem[0]";
        let one = Resources {
            kernel: "one".into(),
            registers: 70,
            shared: 2304,
            stack: 8,
            spills: 28,
        };
        let two = Resources {
            kernel: "two".into(),
            registers: 27,
            ..Resources::default()
        };
        assert_eq!(Resources::of(log), [one, two]);
        assert_eq!(Resources::of("nothing of ptxas"), []);
    }

    /// Known answers of NVIDIA's occupancy calculator.
    #[test]
    fn blocks_that_fit() {
        let [turing, ampere, ..] = Architecture::ALL;
        assert_eq!(turing.resident_blocks(128, 32, 0), 8, "threads");
        assert_eq!(turing.resident_blocks(32, 32, 0), 16, "blocks");
        assert_eq!(turing.resident_blocks(256, 128, 0), 2, "registers");
        assert_eq!(
            turing.resident_blocks(128, 32, 32 << 10),
            2,
            "shared memory"
        );
        assert_eq!(turing.resident_blocks(128, 32, 65 << 10), 0);
        assert_eq!(
            ampere.resident_blocks(128, 255, 0),
            2,
            "255 registers are 256"
        );
        assert_eq!(ampere.resident_blocks(128, 32, 81 << 10), 2);
        assert_eq!(
            ampere.resident_blocks(128, 32, 82 << 10),
            1,
            "1 KiB each is the system's"
        );
    }
}
