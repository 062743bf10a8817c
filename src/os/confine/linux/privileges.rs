//! Privileges given up for good: capabilities, those of programs that are executed, and cores on the disk.

#![expect(unsafe_code, reason = "prctl(2), capset(2) and setrlimit(2) have no safe form in std")]

use std::io;

use crate::os::confine::{ConfineError, Held};

/// The layout of `CapabilitySet` (capset(2), _LINUX_CAPABILITY_VERSION_3).
const VERSION: u32 = 0x2008_0522;

/// More capabilities than any kernel has; it tells where its own end.
const MOST: libc::c_ulong = 64;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    /// Zero: this thread.
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilitySet {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// A core would hold private keys. The process can't be looked into by others of its user either.
pub(super) fn forbid_core_dumps() -> Result<(), ConfineError> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` is a valid rlimit that lives through the call, which only reads it.
    done(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) })
        .and_then(|()| prctl(libc::PR_SET_DUMPABLE, 0))
        .map_err(ConfineError::refused("no core dumps"))
}

/// Empties every set of capabilities, and keeps programs that are executed from getting any.
pub(super) fn give_up(held: &mut Held) -> Result<(), ConfineError> {
    held.in_force.push("no core dumps".to_owned());
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(ConfineError::refused("no new privileges"))?;
    held.in_force.push("no new privileges".to_owned());
    // Without CAP_SETPCAP it stays as it is, and with no new privileges nothing comes out of it.
    let _ = (0..MOST).try_for_each(|capability| prctl(libc::PR_CAPBSET_DROP, capability));
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong)
        .and_then(|()| empty_sets())
        .map_err(ConfineError::refused("no capabilities"))?;
    held.in_force.push("no capabilities".to_owned());
    Ok(())
}

fn empty_sets() -> io::Result<()> {
    let header = CapabilityHeader { version: VERSION, pid: 0 };
    let sets = [CapabilitySet::default(); 2];
    // SAFETY: the layouts are those of capset(2), version 3 has two sets, and both live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    done(result as libc::c_int)
}

fn prctl(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    let unused: libc::c_ulong = 0;
    // SAFETY: none of the options that are asked for takes a pointer, and unused arguments are zero.
    done(unsafe { libc::prctl(option, value, unused, unused, unused) })
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
