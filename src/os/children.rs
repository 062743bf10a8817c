//! Child processes by their ids: how they end, and how they are ended.

#![expect(unsafe_code, reason = "waitpid(2) and kill(2) by process id have no safe form in std")]

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// A process that this one has started, or taken over from the program that it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub i32);

/// Whether the child has ended, and how; it is gone from the list of processes then.
///
/// # Errors
/// `ECHILD`: it is no child of this process.
pub fn ended(child: ProcessId) -> io::Result<Option<ExitStatus>> {
    let mut status = 0;
    // SAFETY: `status` lives through the call, which only writes to it.
    match unsafe { libc::waitpid(child.0, &raw mut status, libc::WNOHANG) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        _ => Ok(Some(ExitStatus::from_raw(status))),
    }
}

/// Ends the child at once. It must not have been waited for yet.
pub fn kill(child: ProcessId) {
    // SAFETY: a child that was not waited for keeps its id, so nobody else is met. It has ended if this fails.
    unsafe { libc::kill(child.0, libc::SIGKILL) };
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn end_of_a_child_is_told_once() {
        #[expect(clippy::zombie_processes, reason = "it is waited for by its id, which is what is tried")]
        let child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let id = ProcessId(child.id().try_into().unwrap());
        let status = loop {
            if let Some(status) = ended(id).unwrap() {
                break status;
            }
            std::thread::yield_now();
        };
        assert_eq!(status.code(), Some(7));
        assert_eq!(ended(id).unwrap_err().raw_os_error(), Some(libc::ECHILD));
    }

    #[test]
    fn child_that_hangs_is_ended() {
        #[expect(clippy::zombie_processes, reason = "it is waited for by its id, which is what is tried")]
        let child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let id = ProcessId(child.id().try_into().unwrap());
        assert!(ended(id).unwrap().is_none());
        kill(id);
        let status = loop {
            if let Some(status) = ended(id).unwrap() {
                break status;
            }
            std::thread::yield_now();
        };
        assert_eq!(status.signal(), Some(libc::SIGKILL));
    }
}
