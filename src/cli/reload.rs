//! `porchd reload`: has the running porchd take the new configuration, and waits for what comes of it.
//!
//! Service managers use it in place of SIGHUP, because a signal can't answer.

use std::process::ExitCode;

use crate::admin::protocol::Question;
use crate::cli::running::{self, Running};

/// Prints what has changed; exit status 1 when the configuration was refused, with every error.
pub fn run(running: &Running) -> ExitCode {
    running.ask(&Question::Reload, |answer| running::tell_done(answer, "nothing changed\n"))
}
