//! Text for the person at the terminal.
//!
//! Unlike `print!` it does not panic when nobody reads: a closed pipe or a full disk is an exit status.

use std::io::{self, Write};
use std::process::ExitCode;

/// Writes to standard output. The status is that of a command which has nothing more to do.
pub(super) fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes to standard error. When that fails there is nobody left to tell.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
