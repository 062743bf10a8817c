//! Runs a unit test once more as a program of its own: limits, the umask and sudden death are a process' alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FOLDER: &str = "PORCHD_TEST_FOLDER";

/// The folder that the program was given; `None`: this is the ordinary run of the test.
pub(super) fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// The program that runs `test` (its path in the crate) in `folder`, after the shell has done `first`.
pub(super) fn program(test: &str, folder: &Path, first: &str) -> Command {
    let mut command = Command::new("sh");
    // A core is a large file, and there is nothing to find in it.
    command.arg("-c").arg(format!("ulimit -c 0; {first}; exec \"$0\" --exact \"$1\" --nocapture"));
    command.arg(std::env::current_exe().unwrap()).arg(test);
    command.env(FOLDER, folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// An empty folder that goes away with its test.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("porchd-os-{:x}", crate::clock::random()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
