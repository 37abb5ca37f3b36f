//! Functions that an older driver does not have are not found in the library either: before anybody
//! can look for them, their entries in the library's own table of symbols are made undefined.

use std::ffi::{CStr, c_char, c_void};

use libc::{Elf64_Ehdr, Elf64_Phdr, Elf64_Sym};

use super::release;

/// Run by the loader when it has loaded the library.
#[used]
#[unsafe(link_section = ".init_array")]
static HIDE: extern "C" fn() = hide;

extern "C" fn hide() {
    if release::absent().next().is_none() {
        return;
    }
    let Some(table) = Table::own() else {
        crate::report::say("VITCUDA_EMULATOR_DRIVER: this library has no table of symbols");
        return;
    };
    for name in release::absent() {
        // SAFETY: the loader has related the library to itself by now, and nobody looks a symbol up
        // before it is done with this function.
        unsafe { table.undefine(name) };
    }
}

/// The dynamic symbols of this library.
struct Table {
    symbols: *mut Elf64_Sym,
    count: usize,
    names: *const c_char,
}

const STRING_TABLE: usize = 5;
const SYMBOL_TABLE: usize = 6;

impl Table {
    fn own() -> Option<Self> {
        // SAFETY: an all-zero Dl_info is one; dladdr fills it for an address of ours.
        let base = unsafe {
            let mut info: libc::Dl_info = std::mem::zeroed();
            let found = libc::dladdr(hide as *const c_void, &mut info) != 0;
            found.then_some(info.dli_fbase as usize)?
        };
        // SAFETY: a loaded library starts with its ELF header, which says where the program headers
        // are; the dynamic section is pairs of tag and value up to a zero tag.
        unsafe {
            let header = &*(base as *const Elf64_Ehdr);
            let first = (base + header.e_phoff as usize) as *const Elf64_Phdr;
            let segments = std::slice::from_raw_parts(first, header.e_phnum as usize);
            let dynamic = segments.iter().find(|one| one.p_type == libc::PT_DYNAMIC)?;
            let mut entry = (base + dynamic.p_vaddr as usize) as *const [usize; 2];
            let mut entries = Vec::new();
            while (*entry)[0] != 0 {
                entries.push(*entry);
                entry = entry.add(1);
            }
            let value = |tag| entries.iter().find(|one| one[0] == tag).map(|one| one[1]);
            let symbols = value(SYMBOL_TABLE)?;
            // It has no length of its own: it ends where the next table starts, at the latest.
            let after = entries
                .iter()
                .map(|one| one[1])
                .filter(|&one| one > symbols);
            Some(Self {
                symbols: symbols as *mut Elf64_Sym,
                count: (after.min()? - symbols) / size_of::<Elf64_Sym>(),
                names: value(STRING_TABLE)? as *const c_char,
            })
        }
    }

    /// Makes `name` a symbol that is used here and defined elsewhere.
    ///
    /// # Safety
    /// Nobody reads the table at this moment.
    unsafe fn undefine(&self, name: &str) {
        for i in 0..self.count {
            // SAFETY: inside the table; its names are C strings.
            unsafe {
                let symbol = self.symbols.add(i);
                let its_name = CStr::from_ptr(self.names.add((*symbol).st_name as usize));
                if its_name.to_bytes() == name.as_bytes() && make_writable(symbol) {
                    (*symbol).st_shndx = 0;
                    (*symbol).st_value = 0;
                }
            }
        }
    }
}

fn make_writable(symbol: *mut Elf64_Sym) -> bool {
    const PAGE: usize = 4096;
    let start = symbol as usize & !(PAGE - 1);
    let end = symbol as usize + size_of::<Elf64_Sym>();
    // SAFETY: pages of this library's read-only data, which may become writable copies.
    unsafe {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        libc::mprotect(start as *mut c_void, end - start, rights) == 0
    }
}
