//! Whether a descriptor takes bytes now. It writes nothing.

#![expect(unsafe_code, reason = "poll(2) has no wrapper in std")]

use std::os::fd::{AsRawFd, BorrowedFd};

/// The most bytes that a pipe takes whole once it is writable (PIPE_BUF of Linux; elsewhere it is less, and a
/// pipe that is told writable takes as much all the same).
pub const WHOLE: usize = 4096;

/// Whether a write of at most `WHOLE` bytes would not wait.
pub fn now(fd: BorrowedFd<'_>) -> bool {
    let mut asked = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: `asked` is one valid pollfd, and a timeout of zero returns at once.
    let ready = unsafe { libc::poll(&raw mut asked, 1, 0) };
    ready == 1 && asked.revents & libc::POLLOUT != 0
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_full_pipe_takes_nothing() {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let mut written = 0;
        while now(writer.as_fd()) {
            writer.write_all(&[b'x'; WHOLE]).unwrap();
            written += WHOLE;
        }
        assert!(written >= WHOLE);
        reader.read_exact(&mut vec![0; written]).unwrap();
        assert!(now(writer.as_fd()));
    }
}
