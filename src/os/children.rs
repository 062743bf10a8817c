//! Child processes: whom they run as, how they end, and how they are ended.

#![expect(
    unsafe_code,
    reason = "waitpid(2) and kill(2) by process id, and what is done between fork and exec, have no safe form in std"
)]

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use crate::os::users::User;

/// A process that this one has started, or taken over from the program that it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub i32);

/// Has `command` run as `user`, without other groups, and where the system has capabilities, without any that it could
/// ever get again.
pub fn run_as(command: &mut Command, user: User) {
    let become_user = move || {
        drop_capabilities();
        // SAFETY: system calls alone, which may be made between fork and exec; no memory is given to them.
        let failed = unsafe {
            libc::setgroups(0, std::ptr::null()) != 0
                || libc::setgid(user.gid) != 0
                || libc::setuid(user.uid) != 0
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: it makes system calls and nothing else: no memory is taken, no lock waited for.
    unsafe { command.pre_exec(become_user) };
}

/// Out of the set from which capabilities are got by executing files. Who may not do so, under a service manager that
/// has taken CAP_SETPCAP, has the manager's set, which leads nowhere either: nothing new is ever granted to the child.
#[cfg(target_os = "linux")]
fn drop_capabilities() {
    // Beyond the last one that the kernel knows it fails, and nothing is lost.
    for capability in 0..64 {
        // SAFETY: it changes a set of this process and is given numbers alone.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

#[cfg(not(target_os = "linux"))]
fn drop_capabilities() {}

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
