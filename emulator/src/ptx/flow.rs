//! Control flow and registers: where diverged lanes meet again, which registers may be read before
//! they were written, and a place in a warp's register files for each.
//!
//! Lanes that part at a branch meet at its immediate post-dominator (Fung et al. 2007). The text has
//! thousands of registers, few of which live at a time: places are given by linear scan (Poletto and
//! Sarkar 1999), so that a warp's registers stay in the cache. Guarded writes do not end a life.

use std::collections::HashMap;

use super::program::*;

/// All registers of a kernel, by number.
pub struct Registers {
    pub files: Vec<File>,
    pub names: Vec<String>,
    pub contents: Vec<(u32, Content)>,
}

/// What [`allocate`] found besides places.
pub struct Allocated {
    /// Places of the three files.
    pub counts: [usize; 3],
    pub contents: Vec<(File, u32, Content)>,
    pub unwritten: Vec<(File, u32, String)>,
    pub effects: Vec<Effects>,
}

/// Replaces register numbers by places, and fills in where branches meet.
pub fn allocate(
    code: &mut [Instruction],
    lists: &mut [u32],
    registers: &Registers,
) -> Result<Allocated, String> {
    let blocks = Blocks::of(code);
    blocks.set_meets(code);
    let used: Vec<(Vec<u32>, Vec<u32>)> = code.iter().map(|one| effects(one, lists)).collect();
    let mut lives = Lives::of(code, &blocks, &used, registers.files.len());
    let filled: std::collections::HashSet<u32> = registers
        .contents
        .iter()
        .map(|&(number, _)| number)
        .collect();
    lives.unwritten.retain(|one| !filled.contains(one));
    let (places, counts) = scan(&lives, registers);
    for instruction in code.iter_mut() {
        let fields = [
            &mut instruction.guard,
            &mut instruction.d,
            &mut instruction.a,
            &mut instruction.b,
            &mut instruction.c,
        ];
        for field in fields {
            if *field != NONE {
                *field = places[*field as usize];
            }
        }
    }
    lists
        .iter_mut()
        .for_each(|one| *one = places[*one as usize]);
    let place = |number: u32| (registers.files[number as usize], places[number as usize]);
    let all = |numbers: &[u32]| numbers.iter().map(|&one| place(one)).collect();
    let contents = registers.contents.iter().map(|&(number, content)| {
        let (file, place) = place(number);
        (file, place, content)
    });
    let unwritten = lives.unwritten.iter().map(|&number| {
        let (file, place) = place(number);
        (file, place, registers.names[number as usize].clone())
    });
    Ok(Allocated {
        counts,
        contents: contents.collect(),
        unwritten: unwritten.collect(),
        effects: used
            .iter()
            .map(|(reads, writes)| Effects {
                reads: all(reads),
                writes: all(writes),
            })
            .collect(),
    })
}

/// Registers that an instruction reads and writes.
fn effects(instruction: &Instruction, lists: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let list = &lists[instruction.list.0 as usize..][..instruction.list.1 as usize];
    let written = match instruction.op {
        Op::Unpack16 | Op::Unpack32 | Op::Load(..) | Op::LoadMatrix { .. } => list.len(),
        Op::Multiply { .. } => 4,
        Op::Shuffle { found, .. } => usize::from(found),
        _ => 0,
    };
    let (to, from) = list.split_at(written);
    let there = |fields: &[u32]| {
        fields
            .iter()
            .copied()
            .filter(|&one| one != NONE)
            .collect::<Vec<_>>()
    };
    let mut reads = there(&[
        instruction.a,
        instruction.b,
        instruction.c,
        instruction.guard,
    ]);
    reads.extend(from);
    let mut writes = there(&[instruction.d]);
    writes.extend(to);
    (reads, writes)
}

/// Basic blocks, each a range of instructions, and the edges between them.
struct Blocks {
    ranges: Vec<std::ops::Range<usize>>,
    successors: Vec<Vec<usize>>,
}

impl Blocks {
    fn of(code: &[Instruction]) -> Self {
        let mut is_start = vec![false; code.len() + 1];
        is_start[0] = true;
        for (pc, instruction) in code.iter().enumerate() {
            match instruction.op {
                Op::Branch { target, .. } => {
                    is_start[target as usize] = true;
                    is_start[pc + 1] = true;
                }
                Op::Exit => is_start[pc + 1] = true,
                _ => {}
            }
        }
        let starts: Vec<usize> = (0..code.len()).filter(|&pc| is_start[pc]).collect();
        let ends = starts.iter().skip(1).copied().chain([code.len()]);
        let ranges: Vec<_> = starts
            .iter()
            .copied()
            .zip(ends)
            .map(|(from, to)| from..to)
            .collect();
        let block_at: HashMap<usize, usize> =
            starts.iter().enumerate().map(|(i, &pc)| (pc, i)).collect();
        let successors = ranges.iter().enumerate().map(|(i, range)| {
            let last = &code[range.end - 1];
            let mut next = Vec::new();
            if let Op::Branch { target, .. } = last.op {
                next.push(block_at[&(target as usize)]);
            }
            // Of an Exit with a guard only those who stay count: who has returned is met by nobody.
            let falls = match last.op {
                Op::Branch { .. } | Op::Exit => last.guard != NONE,
                _ => true,
            };
            if falls && i + 1 < ranges.len() && !next.contains(&(i + 1)) {
                next.push(i + 1);
            }
            next
        });
        let successors = successors.collect();
        Self { ranges, successors }
    }

    /// Immediate post-dominators (Cooper, Harvey and Kennedy 2001, on the graph turned round). The
    /// last number stands for the end.
    fn post_dominators(&self) -> Vec<usize> {
        let end = self.ranges.len();
        let mut predecessors = vec![Vec::new(); end + 1];
        for (from, next) in self.successors.iter().enumerate() {
            next.iter().for_each(|&to| predecessors[to].push(from));
            if next.is_empty() {
                predecessors[end].push(from);
            }
        }
        // Post-order of the turned graph, from the end.
        let (mut order, mut seen, mut stack) = (Vec::new(), vec![false; end + 1], vec![(end, 0)]);
        seen[end] = true;
        while let Some((block, next)) = stack.last_mut() {
            match predecessors[*block].get(*next) {
                Some(&one) => {
                    *next += 1;
                    if !seen[one] {
                        seen[one] = true;
                        stack.push((one, 0));
                    }
                }
                None => {
                    order.push(*block);
                    stack.pop();
                }
            }
        }
        let mut rank = vec![0; end + 1];
        order
            .iter()
            .enumerate()
            .for_each(|(i, &block)| rank[block] = i + 1);
        let mut immediate = vec![usize::MAX; end + 1];
        immediate[end] = end;
        let mut changed = true;
        while changed {
            changed = false;
            for &block in order.iter().rev().filter(|&&block| block != end) {
                let next = self.successors[block].iter().copied();
                let ends = self.successors[block].is_empty().then_some(end);
                let known = next.chain(ends).filter(|&one| immediate[one] != usize::MAX);
                let met = known.reduce(|mut a, mut b| {
                    while a != b {
                        while rank[a] < rank[b] {
                            a = immediate[a];
                        }
                        while rank[b] < rank[a] {
                            b = immediate[b];
                        }
                    }
                    a
                });
                let Some(met) = met else { continue };
                if immediate[block] != met {
                    immediate[block] = met;
                    changed = true;
                }
            }
        }
        immediate
    }

    fn set_meets(&self, code: &mut [Instruction]) {
        let immediate = self.post_dominators();
        for (block, range) in self.ranges.iter().enumerate() {
            let last = &mut code[range.end - 1];
            let Op::Branch { meet, .. } = &mut last.op else {
                continue;
            };
            // A block that never ends has no post-dominator: its lanes meet nowhere.
            if let Some(at) = self.ranges.get(immediate[block]) {
                *meet = at.start as u32;
            }
        }
    }
}

/// First and last instruction at which each register matters.
struct Lives {
    spans: Vec<Option<(usize, usize)>>,
    /// Read on some way before they were written.
    unwritten: Vec<u32>,
    last: usize,
}

/// A set of registers.
#[derive(Clone, PartialEq)]
struct Set(Vec<u64>);

impl Set {
    fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn put(&mut self, one: u32) {
        self.0[one as usize / 64] |= 1 << (one % 64);
    }

    fn has(&self, one: u32) -> bool {
        self.0[one as usize / 64] >> (one % 64) & 1 != 0
    }

    fn each(&self) -> impl Iterator<Item = u32> {
        let words = self.0.iter().enumerate();
        words.flat_map(|(i, &word)| {
            (0..64)
                .filter(move |bit| word >> bit & 1 != 0)
                .map(move |bit| i as u32 * 64 + bit)
        })
    }
}

impl Lives {
    fn of(
        code: &[Instruction],
        blocks: &Blocks,
        used: &[(Vec<u32>, Vec<u32>)],
        count: usize,
    ) -> Self {
        let size = blocks.ranges.len();
        let (mut reads, mut writes) = (vec![Set::new(count); size], vec![Set::new(count); size]);
        for (block, range) in blocks.ranges.iter().enumerate() {
            for pc in range.clone() {
                for &one in used[pc].0.iter().filter(|&&one| !writes[block].has(one)) {
                    reads[block].put(one);
                }
                if code[pc].guard == NONE {
                    used[pc].1.iter().for_each(|&one| writes[block].put(one));
                }
            }
        }
        let mut before = vec![Set::new(count); size];
        let mut after = vec![Set::new(count); size];
        let mut changed = true;
        while changed {
            changed = false;
            for block in (0..size).rev() {
                for &next in &blocks.successors[block] {
                    let incoming = before[next].0.clone();
                    after[block]
                        .0
                        .iter_mut()
                        .zip(incoming)
                        .for_each(|(to, from)| *to |= from);
                }
                let words = after[block]
                    .0
                    .iter()
                    .zip(&writes[block].0)
                    .zip(&reads[block].0);
                let live: Vec<u64> = words
                    .map(|((after, writes), reads)| after & !writes | reads)
                    .collect();
                if live != before[block].0 {
                    before[block].0 = live;
                    changed = true;
                }
            }
        }
        let mut lives = Self {
            spans: vec![None; count],
            unwritten: before[0].each().collect(),
            last: code.len(),
        };
        for (block, range) in blocks.ranges.iter().enumerate() {
            before[block]
                .each()
                .for_each(|one| lives.extend(one, range.start));
            after[block]
                .each()
                .for_each(|one| lives.extend(one, range.end - 1));
            for pc in range.clone() {
                let both = used[pc].0.iter().chain(&used[pc].1);
                both.for_each(|&one| lives.extend(one, pc));
            }
        }
        lives
    }

    fn extend(&mut self, register: u32, pc: usize) {
        let span = self.spans[register as usize].get_or_insert((pc, pc));
        *span = (span.0.min(pc), span.1.max(pc));
    }
}

/// A place for each register. Constants and those that may be unwritten share theirs with nobody.
fn scan(lives: &Lives, registers: &Registers) -> (Vec<u32>, [usize; 3]) {
    let mut spans = lives.spans.clone();
    let alone = registers
        .contents
        .iter()
        .map(|&(number, _)| number)
        .chain(lives.unwritten.iter().copied());
    alone.for_each(|number| spans[number as usize] = Some((0, lives.last)));
    let mut order: Vec<u32> = (0..spans.len() as u32)
        .filter(|&one| spans[one as usize].is_some())
        .collect();
    order.sort_by_key(|&one| spans[one as usize].map_or(0, |(start, _)| start));
    let mut places = vec![0; spans.len()];
    let mut counts = [0usize; 3];
    let mut free: [Vec<u32>; 3] = Default::default();
    let mut active: Vec<std::collections::BinaryHeap<std::cmp::Reverse<(usize, u32)>>> =
        vec![Default::default(); 3];
    for register in order {
        let file = registers.files[register as usize] as usize;
        let (start, end) = spans[register as usize].expect("filtered above");
        while let Some(&std::cmp::Reverse((ended, place))) = active[file].peek() {
            if ended >= start {
                break;
            }
            active[file].pop();
            free[file].push(place);
        }
        let place = free[file].pop().unwrap_or_else(|| {
            counts[file] += 1;
            counts[file] as u32 - 1
        });
        places[register as usize] = place;
        active[file].push(std::cmp::Reverse((end, place)));
    }
    (places, counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(op: Op, guard: u32) -> Instruction {
        Instruction {
            op,
            guard,
            negated: false,
            d: NONE,
            a: NONE,
            b: NONE,
            c: NONE,
            list: (0, 0),
        }
    }

    #[test]
    fn lanes_meet_behind_an_exit_of_some() {
        let branch = Op::Branch {
            target: 3,
            meet: NONE,
        };
        let mut code = [
            instruction(branch, 0),
            instruction(Op::Exit, 1),
            instruction(Op::Nop, NONE),
            instruction(Op::Nop, NONE),
            instruction(Op::Exit, NONE),
        ];
        Blocks::of(&code).set_meets(&mut code);
        assert!(matches!(code[0].op, Op::Branch { meet: 3, .. }));
    }
}
