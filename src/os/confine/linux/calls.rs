//! System calls by seccomp(2): what serving needs is let through, and of that not every argument.
//!
//! Two filters, the stricter answer wins. What is not known here does not exist (ENOSYS): libraries have a second way
//! for calls that a kernel lacks. What an intruder would reach for is refused (EPERM), so that it is seen as that.

#![expect(unsafe_code, reason = "seccomp(2) has no safe form in std")]

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

use crate::os::confine::{ConfineError, Held, Walls};

mod known;
mod sockets;

/// The calls of a filter; no conditions: whatever the arguments are.
type Calls = BTreeMap<i64, Vec<SeccompRule>>;

const EXECUTE: u64 = libc::PROT_EXEC as u64;
const THREAD: u64 = libc::CLONE_THREAD as u64;

/// What threads are named and memory is labelled with; the first is for the second filter to be let in.
const PROCESS: [u64; 3] =
    [libc::PR_SET_NO_NEW_PRIVS as u64, libc::PR_SET_NAME as u64, libc::PR_SET_VMA as u64];

/// What std and tokio ask of sockets, and of standard error whether it is a terminal.
const DEVICE: [u64; 5] = [libc::FIONBIO, libc::FIOCLEX, libc::FIONREAD, libc::TCGETS, libc::TIOCGWINSZ];

/// What std asks of descriptors. The flags of a file (F_SETFL) are shared with the warden: without O_APPEND the lines
/// of a log could be written over.
const DESCRIPTOR: [libc::c_int; 5] =
    [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL];

/// Modes only ever shut others out.
const MODES: [u64; 2] = [0o600, 0o700];

pub(super) fn restrict(held: &mut Held) -> Result<(), ConfineError> {
    let (Ok(arch), true) = (TargetArch::try_from(std::env::consts::ARCH), kernel_filters()) else {
        held.walls.sockets = Walls::none().sockets;
        held.lacking.push("seccomp (walls around system calls)".to_owned());
        return Ok(());
    };
    // The second is let in by the first, and then refuses any further one.
    let known = program(arch, known(std::process::id()), SeccompAction::Allow, errno(libc::ENOSYS))?;
    let refused = program(arch, refused(held), errno(libc::EPERM), SeccompAction::Allow)?;
    for filter in [known, refused] {
        apply_filter(&filter).map_err(failed)?;
    }
    if !held.walls.sockets.is_empty() {
        // The family is let through, and a filter sees no path.
        held.walls.sockets = Walls::none().sockets;
    }
    held.in_force.push("system calls by seccomp".to_owned());
    Ok(())
}

/// Whether the kernel has filters that answer with an error.
fn kernel_filters() -> bool {
    let action = libc::SECCOMP_RET_ERRNO;
    let ask = libc::SECCOMP_GET_ACTION_AVAIL;
    // SAFETY: `action` is a number that the kernel reads during the call.
    unsafe { libc::syscall(libc::SYS_seccomp, ask, 0, &raw const action) == 0 }
}

fn program(
    arch: TargetArch,
    calls: Result<Calls, seccompiler::BackendError>,
    found: SeccompAction,
    otherwise: SeccompAction,
) -> Result<BpfProgram, ConfineError> {
    let filter = calls.and_then(|calls| SeccompFilter::new(calls, otherwise, found, arch));
    filter.and_then(BpfProgram::try_from).map_err(|error| failed(error.into()))
}

fn failed(error: seccompiler::Error) -> ConfineError {
    ConfineError::Refused { wall: "seccomp", source: error.into() }
}

fn errno(number: libc::c_int) -> SeccompAction {
    SeccompAction::Errno(number.cast_unsigned())
}

/// What is let through, in the process `me`.
fn known(me: u32) -> Result<Calls, seccompiler::BackendError> {
    let mut calls: Calls = known::CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let me = u64::from(me);
    for (call, argument, allowed) in [
        (libc::SYS_prctl, 0, &PROCESS[..]),
        (libc::SYS_ioctl, 1, &DEVICE),
        (libc::SYS_fchmod, 1, &MODES),
        (libc::SYS_fchmodat, 2, &MODES),
        // A process signals itself when it aborts, and bounds itself.
        (libc::SYS_tgkill, 0, &[me]),
        (libc::SYS_prlimit64, 0, &[0, me]),
    ] {
        let rules = allowed.iter().map(|value| equal(argument, *value)).collect::<Result<_, _>>()?;
        calls.insert(call, rules);
    }
    Ok(calls)
}

/// What is refused within the walls of `held`.
fn refused(held: &Held) -> Result<Calls, seccompiler::BackendError> {
    let mut calls: Calls = known::REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    // No new code: libraries and the modules of the name service are loaded.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        calls.insert(call, vec![masked(2, EXECUTE, EXECUTE)?]);
    }
    // No new process.
    calls.insert(libc::SYS_clone, vec![masked(0, THREAD, 0)?]);
    calls.insert(libc::SYS_fcntl, vec![none_of(1, &DESCRIPTOR)?]);
    calls.extend(sockets::refused(!held.walls.sockets.is_empty())?);
    Ok(calls)
}

fn equal(argument: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?])
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let operator = SeccompCmpOp::MaskedEq(mask);
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?])
}

fn none_of(argument: u8, values: &[libc::c_int]) -> Result<SeccompRule, seccompiler::BackendError> {
    let differs = |value: &libc::c_int| {
        let value = u64::from(value.cast_unsigned());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)
    };
    SeccompRule::new(values.iter().map(differs).collect::<Result<_, _>>()?)
}
