//! What an accept loop does when accept(2) fails, as a pure decision.
//!
//! It does not sleep and does not log; `accept.rs` does.

use std::io;
use std::time::Duration;

/// How an accept loop goes on after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The failure was this one connection's alone: accept the next at once.
    Again,
    /// The failure will not pass by itself: wait so long, or the loop would spin.
    After(Duration),
}

/// The memory of failures in a row.
#[derive(Debug, Default)]
pub struct Backoff {
    /// The last pause, if the last accept failed.
    pause: Option<Duration>,
}

impl Backoff {
    /// An accept succeeded.
    pub fn succeeded(&mut self) {
        self.pause = None;
    }

    /// An accept failed.
    pub fn failed(&mut self, error: &io::Error) -> Next {
        if is_of_one_connection(error) {
            return Next::Again;
        }
        let pause = self.pause.map_or(SHORTEST, |last| (last * 2).min(LONGEST));
        self.pause = Some(pause);
        Next::After(pause)
    }
}

/// accept(2), "Error handling": errors already pending on the new connection are passed on by accept.
/// Everything else (EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM of a firewall, ...) stays for a while.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | NetworkUnreachable
    ) || matches!(error.raw_os_error(), Some(libc::EPROTO | libc::ENOPROTOOPT | libc::EHOSTDOWN))
}

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i32) -> io::Error {
        io::Error::from_raw_os_error(code)
    }

    fn pauses(backoff: &mut Backoff, codes: &[i32]) -> Vec<u128> {
        let pause = |code: &i32| match backoff.failed(&error(*code)) {
            Next::Again => 0,
            Next::After(pause) => pause.as_millis(),
        };
        codes.iter().map(pause).collect()
    }

    #[test]
    fn exhausted_descriptors_pause_longer_and_longer() {
        let mut backoff = Backoff::default();
        assert_eq!(
            pauses(&mut backoff, &[libc::EMFILE, libc::ENFILE, libc::EMFILE, libc::EMFILE]),
            [10, 20, 40, 80]
        );
        assert_eq!(pauses(&mut backoff, &[libc::EMFILE; 5]), [160, 320, 500, 500, 500]);
    }

    #[test]
    fn success_forgets_the_failures() {
        let mut backoff = Backoff::default();
        assert_eq!(pauses(&mut backoff, &[libc::EMFILE, libc::EMFILE]), [10, 20]);
        backoff.succeeded();
        assert_eq!(pauses(&mut backoff, &[libc::EMFILE]), [10]);
    }

    #[test]
    fn aborted_connections_do_not_pause() {
        let codes = [libc::ECONNABORTED, libc::EINTR, libc::EPROTO, libc::EHOSTUNREACH, libc::EHOSTDOWN];
        assert_eq!(pauses(&mut Backoff::default(), &codes), [0; 5]);
    }

    #[test]
    fn unknown_failures_pause() {
        assert_eq!(pauses(&mut Backoff::default(), &[libc::EINVAL, libc::EBADF]), [10, 20]);
    }
}
