//! syslog(3), facility daemon. It does not format: a message is one line of text.

#![expect(unsafe_code, reason = "syslog(3) is a call of the C library")]

use std::ffi::{CStr, CString};

/// How grave a message is, in syslog's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// LOG_ERR.
    Error,
    /// LOG_WARNING.
    Warning,
    /// LOG_INFO.
    Info,
    /// LOG_DEBUG.
    Debug,
}

/// The name before each message; openlog keeps a pointer to it, so it lives forever.
const IDENT: &CStr = c"porchd";

/// Connects to the system's log, before a chroot or a confinement hides its socket.
pub fn open() {
    // SAFETY: IDENT is a NUL-terminated string of static lifetime, as openlog(3) requires.
    unsafe { libc::openlog(IDENT.as_ptr(), libc::LOG_PID | libc::LOG_NDELAY, libc::LOG_DAEMON) }
}

/// Sends one line; what follows a NUL in it is lost.
pub fn send(priority: Priority, line: &str) {
    let level = match priority {
        Priority::Error => libc::LOG_ERR,
        Priority::Warning => libc::LOG_WARNING,
        Priority::Info => libc::LOG_INFO,
        Priority::Debug => libc::LOG_DEBUG,
    };
    let text = line.split('\0').next().unwrap_or_default();
    let Ok(text) = CString::new(text) else { return };
    // SAFETY: the format is a literal that takes exactly one string, and both strings end in NUL.
    unsafe { libc::syslog(libc::LOG_DAEMON | level, c"%s".as_ptr(), text.as_ptr()) }
}
