//! The system's own programs, pfctl(8) and nft(8): found in fixed folders, run under a deadline, with nothing inherited.
//!
//! It waits for them. What they are told is not its business.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::clock;
use crate::home::update::UpdateError;

/// Where programs are looked for. An environment could name any.
const FOLDERS: [&str; 4] = ["/sbin", "/usr/sbin", "/bin", "/usr/bin"];
/// How long one may run. It takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(5);
/// Most bytes of what it says that are kept.
const MOST_SAID: usize = 4096;
/// Between two looks at a program that has said all and has not ended.
const LOOK: Duration = Duration::from_millis(1);

/// Where the programs are, and how long they may run.
#[derive(Debug, Clone)]
pub struct Tools {
    folders: Vec<PathBuf>,
    deadline: Duration,
}

/// What came of a program.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said, on either way.
    pub said: String,
}

impl Default for Tools {
    fn default() -> Self {
        Self { folders: FOLDERS.map(PathBuf::from).to_vec(), deadline: DEADLINE }
    }
}

impl Tools {
    /// With the programs of `folder` alone, a test's own.
    #[cfg(test)]
    pub(crate) fn of(folder: PathBuf, deadline: Duration) -> Self {
        Self { folders: vec![folder], deadline }
    }

    /// Where `program` is.
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        self.folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file())
    }

    /// Runs `program` with `arguments`, which is given `input`, and waits for its end.
    ///
    /// # Errors
    /// When it is not there, can't be started or does not end in time; then it is killed.
    pub fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<Ran, UpdateError> {
        let name = || program.to_owned();
        let path = self.find(program).ok_or_else(|| UpdateError::NoProgram { program: name() })?;
        let failed = |error: std::io::Error| UpdateError::NotRun { program: name(), why: error.to_string() };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let errors = theirs.try_clone().map_err(failed)?;
        let mut child = Command::new(path)
            .args(arguments)
            .env_clear()
            .env("PATH", "/sbin:/usr/sbin:/bin:/usr/bin")
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::from(OwnedFd::from(errors)))
            .spawn()
            .map_err(failed)?;
        let until = clock::now() + self.deadline;
        if let Some(mut stdin) = child.stdin.take() {
            // A script is far smaller than a pipe: this does not wait. A program that reads nothing says why.
            let _ = stdin.write_all(input.as_bytes());
        }
        let said = hear(ours, until);
        match end(&mut child, until) {
            Ok(Some(status)) => Ok(Ran { status, said }),
            Ok(None) => {
                // It may end by itself at this moment; waiting leaves no process behind either way.
                let _ = child.kill();
                let _ = child.wait();
                Err(UpdateError::TooSlow { program: name(), seconds: self.deadline.as_secs() })
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// All that is said until the last end of the way is closed, or it is too late.
fn hear(mut from: UnixStream, until: Instant) -> String {
    let (mut said, mut room) = (Vec::new(), [0; 1024]);
    loop {
        let left = until.saturating_duration_since(clock::now());
        if left.is_zero() || from.set_read_timeout(Some(left)).is_err() {
            break;
        }
        match from.read(&mut room) {
            Ok(0) => break,
            Ok(read) => {
                let kept = read.min(MOST_SAID.saturating_sub(said.len()));
                said.extend_from_slice(&room[..kept]);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&said).trim().to_owned()
}

/// How it ended; `None`: it did not.
fn end(child: &mut Child, until: Instant) -> std::io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if clock::now() >= until {
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}
