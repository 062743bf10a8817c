//! `porchd run`: serve until told to stop.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{check, output};
use crate::provision::ProvisionError;
use crate::provision::in_process::InProcess;
use crate::supervisor;
use crate::supervisor::daemon::StartError;
use crate::supervisor::refusal::Refusal;

/// Serves what `file` says; exit status 1 when it can't start.
pub fn run(file: &Path) -> ExitCode {
    match supervisor::start(Box::new(InProcess::new(file.into())), &supervisor::Options::default()) {
        Ok(running) => running.wait(),
        Err(error) => {
            // The log may be what failed, so the person at the terminal is told directly.
            output::complain(&format!("{}\n", told(file, &error)));
            ExitCode::FAILURE
        }
    }
}

/// Why it can't start. Who has no configuration yet is shown the least one.
fn told(file: &Path, error: &StartError) -> String {
    match error {
        StartError::Refused(Refusal::Unreadable(ProvisionError::File { source, .. }))
            if source.kind() == ErrorKind::NotFound =>
        {
            check::no_file(file)
        }
        _ => error.to_string(),
    }
}
