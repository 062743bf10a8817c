//! `porchd upgrade`: has the binary on disk take over without a dropped connection, and waits until it serves.

use std::process::ExitCode;

use crate::admin::protocol::Question;
use crate::cli::running::{self, Running};

/// Exit status 1 when nothing came of it: then all goes on as before.
pub fn run(running: &Running) -> ExitCode {
    running.ask(&Question::Upgrade, |answer| running::tell_done(answer, "a new edge serves\n"))
}
