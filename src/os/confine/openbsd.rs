//! OpenBSD: unveil(2) for paths, pledge(2) for system calls. Type-checked; not run there.

#![expect(unsafe_code, reason = "unveil(2) and pledge(2) have no safe form in std")]

use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::os::beneath::c_string;
use crate::os::confine::{ConfineError, Held, leads_to};

/// Serving: descriptors, files beneath what is unveiled, TCP, unix sockets, names, and descriptors by message.
const EDGE: &CStr = c"stdio rpath wpath cpath fattr flock inet unix dns recvfd sendfd";

/// Starting edges, opening what the configuration names, binding, and handing it all over.
const WARDEN: &CStr =
    c"stdio rpath wpath cpath fattr chown flock inet unix dns getpw id proc exec sendfd recvfd";

/// What getaddrinfo(3) reads.
const NAMES: [&str; 3] = ["/etc/resolv.conf", "/etc/hosts", "/etc/services"];

pub(super) fn edge(held: &mut Held) -> Result<(), ConfineError> {
    let unveil_all =
        |paths: &[PathBuf], permissions: &CStr| paths.iter().try_for_each(|path| unveil(path, permissions));
    unveil_all(&held.walls.read, c"r")?;
    unveil_all(&held.walls.write, c"rwc")?;
    unveil_all(&held.walls.sockets, c"rw")?;
    let real: Vec<_> = held.walls.sockets.iter().map(|socket| leads_to(socket)).collect();
    unveil_all(&real, c"rw")?;
    unveil_all(&name_files(), c"r")?;
    // SAFETY: two null pointers end the unveiling (unveil(2)).
    done(unsafe { libc::unveil(std::ptr::null(), std::ptr::null()) })
        .map_err(ConfineError::refused("unveil"))?;
    held.in_force.push("files by unveil".to_owned());
    pledge(EDGE)?;
    held.in_force.push("system calls by pledge".to_owned());
    if held.walls.connect.take().is_some() {
        held.lacking.push("walls around TCP ports".to_owned());
    }
    Ok(())
}

pub(super) fn warden(tunnels: bool) -> Result<(), ConfineError> {
    // No promise lets SIOCGWG or SIOCSWG through (kern_pledge.c, pledge_ioctl).
    if tunnels {
        return Ok(());
    }
    pledge(WARDEN)?;
    PLEDGED.store(true, Ordering::Relaxed);
    Ok(())
}

pub(super) fn may_ask_tunnels() -> bool {
    !PLEDGED.load(Ordering::Relaxed)
}

/// Whether the warden's pledge stands: what it does not promise would end the process.
static PLEDGED: AtomicBool = AtomicBool::new(false);

pub(super) fn name_files() -> Vec<PathBuf> {
    NAMES.map(PathBuf::from).to_vec()
}

fn unveil(path: &Path, permissions: &CStr) -> Result<(), ConfineError> {
    let failed = |source| ConfineError::Path { path: path.to_owned(), source };
    let name = c_string(path.as_os_str()).map_err(failed)?;
    // SAFETY: both strings are NUL-terminated and outlive the call.
    match done(unsafe { libc::unveil(name.as_ptr(), permissions.as_ptr()) }) {
        // A folder above it is missing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        unveiled => unveiled.map_err(failed),
    }
}

fn pledge(promises: &CStr) -> Result<(), ConfineError> {
    // SAFETY: `promises` is NUL-terminated; a null pointer leaves those of programs that are executed alone.
    done(unsafe { libc::pledge(promises.as_ptr(), std::ptr::null()) })
        .map_err(ConfineError::refused("pledge"))
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
