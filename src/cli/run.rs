//! `porchd run`: serve until told to stop, as warden and edge or as one process.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cli::{check, output};
use crate::os::activation;
use crate::provision::ProvisionError;
use crate::provision::activated::Activated;
use crate::provision::in_process::InProcess;
use crate::supervisor;
use crate::supervisor::daemon::StartError;
use crate::supervisor::refusal::Refusal;
use crate::warden;

/// How it is run.
#[derive(Debug, Clone, Args)]
pub struct Manner {
    /// Run as one process, with the privileges that it is started with: for development and containers.
    /// It can't be upgraded while it serves.
    #[arg(long)]
    one_process: bool,
    /// `off`: the edge does not confine itself to what the configuration names. To find out whether that is in the
    /// way of something, and never else.
    #[arg(long, value_name = "WHETHER", default_value = "on")]
    confine: Confine,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Confine {
    On,
    Off,
}

/// Serves what `file` says; exit status 1 when it can't start.
pub fn run(file: &Path, manner: &Manner) -> ExitCode {
    let activated = Activated::new(activation::sockets());
    if manner.one_process {
        let provision = InProcess::new(file.into()).with_activated(activated);
        return match supervisor::start(Box::new(provision), supervisor::Options::default()) {
            Ok(running) => running.wait(),
            Err(error) => fail(&told(file, &error)),
        };
    }
    let confine = manner.confine == Confine::On;
    match warden::run(warden::Options { file: file.into(), confine, activated }) {
        Ok(status) => status,
        Err(warden::StartError::Unreadable(error)) if is_missing(&error) => fail(&check::no_file(file)),
        Err(error) => fail(&error.to_string()),
    }
}

/// The log may be what failed, so the person at the terminal is told directly.
pub(super) fn fail(why: &str) -> ExitCode {
    output::complain(&format!("{why}\n"));
    ExitCode::FAILURE
}

/// Why it can't start. Who has no configuration yet is shown the least one.
fn told(file: &Path, error: &StartError) -> String {
    match error {
        StartError::Refused(Refusal::Unreadable(error)) if is_missing(error) => check::no_file(file),
        _ => error.to_string(),
    }
}

fn is_missing(error: &ProvisionError) -> bool {
    matches!(error, ProvisionError::File { source, .. } if source.kind() == ErrorKind::NotFound)
}
