//! Ctrl-C for a program that a test runs.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// The program dies of SIGINT unless it handles it, also where the tests ignore it, as the background
/// jobs of a shell do: what is ignored stays so in every child.
pub fn hears_ctrl_c(command: &mut Command) -> &mut Command {
    // SAFETY: `signal` may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            if libc::signal(libc::SIGINT, libc::SIG_DFL) == libc::SIG_ERR {
                Err(std::io::Error::last_os_error())
            } else {
                Ok(())
            }
        })
    }
}

/// Sends SIGINT.
pub fn press_ctrl_c(child: &Child) {
    let id = child.id().try_into().unwrap();
    // SAFETY: whoever holds the child has not waited for it, so that the id is its own.
    assert_eq!(unsafe { libc::kill(id, libc::SIGINT) }, 0);
}
