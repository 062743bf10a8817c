//! Waiting for several descriptors and for signals, in a program of one thread (poll(2), sigaction(2)).

#![expect(unsafe_code, reason = "poll(2) and sigaction(2) have no safe form in std")]

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// Waits until one of `descriptors` can be read or is at its end, at most for `limit`. True for each that is.
///
/// # Errors
/// Those of poll(2), but for a signal, which ends the wait.
pub fn wait(descriptors: &[BorrowedFd<'_>], limit: Option<Duration>) -> io::Result<Vec<bool>> {
    let poll = |descriptor: &BorrowedFd<'_>| libc::pollfd {
        fd: descriptor.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut polled: Vec<libc::pollfd> = descriptors.iter().map(poll).collect();
    // Rounded up: a wait that ends a moment early would be one for nothing.
    let limit =
        limit.map_or(-1, |limit| limit.as_millis().saturating_add(1).try_into().unwrap_or(libc::c_int::MAX));
    let count = polled.len().try_into().map_err(|_| ErrorKind::InvalidInput)?;
    // SAFETY: `polled` has `count` entries and lives through the call.
    if unsafe { libc::poll(polled.as_mut_ptr(), count, limit) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(polled.iter().map(|polled| polled.revents != 0).collect())
}

/// Whether `descriptor`, a unix socket that listens, was shut by another process that has it.
pub fn is_shut(descriptor: BorrowedFd<'_>) -> bool {
    let mut polled = libc::pollfd { fd: descriptor.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: `polled` is one entry, and lives through the call.
    let count = unsafe { libc::poll(&raw mut polled, 1, 0) };
    count > 0 && polled.revents & libc::POLLHUP != 0
}

/// Where the handler writes.
static INTO: AtomicI32 = AtomicI32::new(-1);

/// The signals of this process, as bytes that can be waited for.
#[derive(Debug)]
pub struct Caught(UnixStream);

/// Writes the signal's number; of what may be done in a handler (signal-safety(7)) it is all that is needed.
extern "C" fn note(signal: libc::c_int) {
    let byte = u8::try_from(signal).unwrap_or_default();
    // SAFETY: write(2) may be called in a handler; the descriptor is never closed, and `byte` is on this stack. The
    // caller's errno is put back. When the socket is full, what it holds is enough to wake.
    unsafe {
        let errno = errno();
        let before = *errno;
        libc::write(INTO.load(Ordering::Relaxed), (&raw const byte).cast(), 1);
        *errno = before;
    }
}

#[cfg(target_os = "linux")]
unsafe fn errno() -> *mut libc::c_int {
    // SAFETY: it only tells where this thread's errno is.
    unsafe { libc::__errno_location() }
}

#[cfg(not(target_os = "linux"))]
unsafe fn errno() -> *mut libc::c_int {
    #[cfg(target_os = "openbsd")]
    // SAFETY: it only tells where this thread's errno is.
    return unsafe { libc::__errno() };
    #[cfg(not(target_os = "openbsd"))]
    // SAFETY: as above.
    return unsafe { libc::__error() };
}

impl Caught {
    /// Catches `signals` from now on, also those that were held back for it.
    ///
    /// # Errors
    /// Those of socketpair(2), sigaction(2) and sigprocmask(2).
    pub fn catch(signals: &[i32]) -> io::Result<Self> {
        let (heard, told) = UnixStream::pair()?;
        heard.set_nonblocking(true)?;
        told.set_nonblocking(true)?;
        INTO.store(told.into_raw_fd(), Ordering::Relaxed);
        let handler: extern "C" fn(libc::c_int) = note;
        signals.iter().try_for_each(|&signal| set(signal, handler as usize, libc::SA_RESTART))?;
        hold_back(signals, false)?;
        Ok(Self(heard))
    }

    /// What is waited for.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.0.as_fd()
    }

    /// The signals that came, by number.
    pub fn take(&mut self) -> Vec<i32> {
        let mut bytes = [0; 256];
        let mut all = Vec::new();
        while let Ok(count @ 1..) = self.0.read(&mut bytes) {
            all.extend(bytes[..count].iter().map(|&byte| i32::from(byte)));
        }
        all
    }
}

/// Has `signals` ignored, in this program and in one that takes its place.
///
/// # Errors
/// Those of sigaction(2).
pub fn ignore(signals: &[i32]) -> io::Result<()> {
    signals.iter().try_for_each(|&signal| set(signal, libc::SIG_IGN, 0))
}

/// Holds `signals` back, over execve(2) too, until they are let through.
///
/// # Errors
/// Those of sigprocmask(2).
pub fn hold_back(signals: &[i32], back: bool) -> io::Result<()> {
    let how = if back { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    // SAFETY: a set is plain memory, made whole by sigemptyset(3) before it is used; nobody asks for the old one.
    let failed = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        signals.iter().for_each(|&signal| {
            libc::sigaddset(&raw mut set, signal);
        });
        libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut())
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(failed)) }
}

fn set(signal: i32, handler: usize, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: a sigaction is numbers and pointers, all of which may be zero.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: `action` is whole, its handler does nothing but what a handler may, and nobody asks for the old one.
    let failed = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether `descriptor` is left open to a program that takes this one's place.
///
/// # Errors
/// Those of fcntl(2).
pub fn keep_open(descriptor: RawFd, keep: bool) -> io::Result<()> {
    let flags = if keep { 0 } else { libc::FD_CLOEXEC };
    // SAFETY: it only sets a flag of a descriptor; one that is not open is an error.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFD, flags) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A descriptor that the program before this one has left open, closed from now on in those that follow. To be
/// called once for each.
///
/// # Errors
/// It is not open.
pub fn inherited(descriptor: RawFd) -> io::Result<OwnedFd> {
    keep_open(descriptor, false)?;
    // SAFETY: it is open, as fcntl(2) has just shown, and the caller says that nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_can_be_read_or_is_at_its_end_is_told() {
        let (one, mut other) = UnixStream::pair().unwrap();
        let (closed, _) = UnixStream::pair().unwrap();
        let (silent, _kept) = UnixStream::pair().unwrap();
        let all = [one.as_fd(), closed.as_fd(), silent.as_fd()];
        assert_eq!(wait(&all, None).unwrap(), [false, true, false]);
        other.write_all(b"x").unwrap();
        assert_eq!(wait(&all, None).unwrap(), [true, true, false]);
        assert_eq!(wait(&all[2..], Some(Duration::ZERO)).unwrap(), [false]);
    }

    #[test]
    fn signals_are_bytes_to_wait_for() {
        // The one signal that nothing else of these tests means.
        let mut caught = Caught::catch(&[libc::SIGURG]).unwrap();
        // SAFETY: it is caught, and sent to this very process.
        unsafe { libc::kill(libc::getpid(), libc::SIGURG) };
        wait(&[caught.descriptor()], None).unwrap();
        let mut came = caught.take();
        while came.is_empty() {
            came = caught.take();
        }
        assert_eq!(came, [libc::SIGURG]);
        assert!(caught.take().is_empty());
    }
}
