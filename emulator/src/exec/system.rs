//! What a kernel asks the system for: `printf` and `assert`.

use super::failure::Fault;
use super::vector::LANES;
use super::warp::Turn;
use crate::memory;
use crate::ptx::program::Instruction;
use crate::status::Status;

impl Turn<'_> {
    fn argument(&self, i: &Instruction, index: usize, lane: usize) -> u64 {
        let register = self.program.list(i)[index] as usize;
        self.warp.registers.wide[register].0[lane]
    }

    /// A C string in device memory.
    fn text(&self, address: u64) -> String {
        let mut bytes = Vec::new();
        let mut at = address as usize;
        while memory::is_device_range(at, 1) && memory::all_have(at, 1, memory::LIVE) {
            // SAFETY: just found to be live.
            let byte = unsafe { *(at as *const u8) };
            if byte == 0 {
                break;
            }
            bytes.push(byte);
            at += 1;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// `vprintf(format, arguments)`: numbers and strings; arguments lie in local memory, each at a
    /// multiple of its size.
    pub fn print(&mut self, i: &Instruction, mask: u32) -> Result<(), Fault> {
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            let format = self.text(self.argument(i, 0, lane));
            let arguments = self.argument(i, 1, lane).wrapping_sub(super::access::LOCAL_WINDOW) as usize;
            let mut at = arguments;
            let mut next = |bytes: usize| {
                at = at.next_multiple_of(bytes);
                let found = self.warp.local[lane].get(at..at + bytes);
                at += bytes;
                let mut value = [0; 8];
                found.map(|found| value[..bytes].copy_from_slice(found));
                u64::from_le_bytes(value)
            };
            let mut out = String::new();
            let mut rest = format.chars();
            while let Some(c) = rest.next() {
                if c != '%' {
                    out.push(c);
                    continue;
                }
                let mut wide = false;
                loop {
                    match rest.next() {
                        Some('l') => wide = true,
                        Some('d' | 'i') if wide => break out.push_str(&(next(8) as i64).to_string()),
                        Some('d' | 'i') => break out.push_str(&(next(4) as i32).to_string()),
                        Some('u') => break out.push_str(&next(if wide { 8 } else { 4 }).to_string()),
                        Some('x' | 'p') => break out.push_str(&format!("{:x}", next(if wide { 8 } else { 4 }))),
                        Some('f' | 'g' | 'e') => break out.push_str(&f64::from_bits(next(8)).to_string()),
                        Some('s') => {
                            let address = next(8);
                            break out.push_str(&self.text(address));
                        }
                        Some('c') => break out.push(next(4) as u8 as char),
                        Some('%') => break out.push('%'),
                        Some(_) => {} // flags and widths
                        None => break,
                    }
                }
            }
            print!("{out}");
        }
        Ok(())
    }

    /// `__assertfail(message, file, line, function, size)`.
    pub fn assert(&mut self, i: &Instruction, mask: u32) -> Result<(), Fault> {
        let lane = mask.trailing_zeros() as usize % LANES;
        let text = self.text(self.argument(i, 0, lane));
        Err(Fault { lane: lane as u32, status: Status::ERROR_ASSERT, text: format!("assertion `{text}` failed") })
    }
}
