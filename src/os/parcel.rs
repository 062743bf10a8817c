//! Whole messages with descriptors over a socket between two processes of this machine (SCM_RIGHTS, unix(7)).
//!
//! A message is a head, bytes and descriptors; each side says how much of them it takes at the most, and until
//! when. It knows nothing of what they mean.

#![expect(unsafe_code, reason = "sendmsg(2) and recvmsg(2) with descriptors have no safe form in std")]

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::clock;

/// What was sent at a time.
#[derive(Debug, Default)]
pub struct Parcel {
    /// What it is about.
    pub head: Vec<u8>,
    /// What goes with it.
    pub bytes: Vec<u8>,
    /// Descriptors, each close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// The most that is taken.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// Bytes of a head.
    pub head: usize,
    /// Bytes that go with it.
    pub bytes: usize,
    /// Descriptors.
    pub descriptors: usize,
}

/// Three lengths of four bytes: of the head, of the bytes, and the number of descriptors.
const LENGTHS: usize = 12;
/// Descriptors that go with one byte; every system takes so many.
const GROUP: usize = 16;

/// Sends a message.
///
/// # Errors
/// `TimedOut` when it is not gone by `deadline`, `InvalidInput` for what has no place in four bytes, and those of
/// sendmsg(2).
pub fn send(
    mut socket: &UnixStream,
    head: &[u8],
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    deadline: Instant,
) -> io::Result<()> {
    let mut lengths = Vec::with_capacity(LENGTHS + head.len());
    for length in [head.len(), bytes.len(), descriptors.len()] {
        let length = u32::try_from(length).map_err(|_| ErrorKind::InvalidInput)?;
        lengths.extend_from_slice(&length.to_ne_bytes());
    }
    lengths.extend_from_slice(head);
    for mut part in [&lengths[..], bytes] {
        while !part.is_empty() {
            socket.set_write_timeout(Some(left(deadline)?))?;
            let sent = again(|| socket.write(part))?;
            part = &part[sent..];
        }
    }
    for group in descriptors.chunks(GROUP) {
        socket.set_write_timeout(Some(left(deadline)?))?;
        again(|| send_group(socket, group))?;
    }
    Ok(())
}

/// Waits for a message; `None`: the other side has closed.
///
/// # Errors
/// `TimedOut` when nothing of it is there by `deadline`, and it can be waited for again. `UnexpectedEof` when it ends
/// in the midst, or the rest is late; `InvalidData` when it is larger than `most`; `QuotaExceeded` when there is no room
/// for its descriptors, and it was taken whole otherwise; and those of recvmsg(2).
pub fn receive(socket: &UnixStream, most: Most, deadline: Instant) -> io::Result<Option<Parcel>> {
    let mut lengths = [0; LENGTHS];
    if !fill(socket, &mut lengths[..1], deadline)? {
        return Ok(None);
    }
    rest(socket, lengths, most, deadline).map(Some).map_err(|error| match error.kind() {
        ErrorKind::TimedOut => io::Error::new(ErrorKind::UnexpectedEof, "the rest of a message is late"),
        _ => error,
    })
}

/// What comes after the first byte.
fn rest(
    socket: &UnixStream,
    mut lengths: [u8; LENGTHS],
    most: Most,
    deadline: Instant,
) -> io::Result<Parcel> {
    if !fill(socket, &mut lengths[1..], deadline)? {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let length = |at: usize| {
        let bytes = [lengths[at], lengths[at + 1], lengths[at + 2], lengths[at + 3]];
        usize::try_from(u32::from_ne_bytes(bytes)).unwrap_or(usize::MAX)
    };
    let (head, bytes, descriptors) = (length(0), length(4), length(8));
    if head > most.head || bytes > most.bytes || descriptors > most.descriptors {
        return Err(io::Error::new(ErrorKind::InvalidData, "the message is larger than any may be"));
    }
    let mut parcel = Parcel { head: vec![0; head], bytes: vec![0; bytes], descriptors: Vec::new() };
    for part in [&mut parcel.head, &mut parcel.bytes] {
        if !part.is_empty() && !fill(socket, part, deadline)? {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    let mut lost = false;
    for _ in 0..descriptors.div_ceil(GROUP) {
        socket.set_read_timeout(Some(left(deadline)?))?;
        if again(|| receive_group(socket, &mut parcel.descriptors, &mut lost))? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    if lost {
        let text = "there is no room for more descriptors here: is their limit reached?";
        return Err(io::Error::new(ErrorKind::QuotaExceeded, text));
    }
    if parcel.descriptors.len() < descriptors {
        return Err(io::Error::new(ErrorKind::InvalidData, "the message has fewer descriptors than it says"));
    }
    if parcel.descriptors.len() > descriptors {
        return Err(io::Error::new(ErrorKind::InvalidData, "the message has more descriptors than it says"));
    }
    Ok(parcel)
}

/// Fills `part`; false: the other side has closed before its first byte.
fn fill(mut socket: &UnixStream, part: &mut [u8], deadline: Instant) -> io::Result<bool> {
    let mut filled = 0;
    while filled < part.len() {
        socket.set_read_timeout(Some(left(deadline)?))?;
        match again(|| socket.read(&mut part[filled..]))? {
            0 if filled == 0 => return Ok(false),
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            more => filled += more,
        }
    }
    Ok(true)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(clock::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Does it again when a signal came; what a socket's timeout is called differs by system.
fn again(mut act: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match act() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
            done => return done,
        }
    }
}

/// Room for the descriptors of a group, aligned as a control message has to be.
#[repr(align(8))]
struct Control([u8; 256]);

fn message(byte: &mut libc::iovec, control: &mut Control, room: usize) -> libc::msghdr {
    // SAFETY: a msghdr is numbers and pointers, all of which may be zero.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = byte;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    // Its type differs by system.
    message.msg_controllen = room as _;
    message
}

fn size_of_group(count: usize) -> u32 {
    u32::try_from(count * size_of::<libc::c_int>()).unwrap_or_default()
}

fn send_group(socket: &UnixStream, group: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut byte = [b'+'];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = Control([0; 256]);
    let size = size_of_group(group.len());
    // SAFETY: it only computes: 16 descriptors need 64 bytes and a header, far below 256.
    let room = unsafe { libc::CMSG_SPACE(size) } as usize;
    let message = message(&mut part, &mut control, room);
    // SAFETY: the control buffer is aligned, zeroed and has room for one header and `group.len()` descriptors, so
    // CMSG_FIRSTHDR is not null and the writes below stay within it.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size) as _;
        let data = libc::CMSG_DATA(header).cast::<libc::c_int>();
        for (at, descriptor) in group.iter().enumerate() {
            data.add(at).write_unaligned(descriptor.as_raw_fd());
        }
    }
    // SAFETY: all pointers of `message` lead to locals that live through the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// One group: the bytes that came with it, none at the end.
fn receive_group(socket: &UnixStream, into: &mut Vec<OwnedFd>, lost: &mut bool) -> io::Result<usize> {
    let mut byte = [0];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = Control([0; 256]);
    // SAFETY: it only computes.
    let room = unsafe { libc::CMSG_SPACE(size_of_group(GROUP)) } as usize;
    let mut message = message(&mut part, &mut control, room);
    // SAFETY: all pointers of `message` lead to locals that live through the call.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has filled the control buffer as far as `msg_controllen` says, and the macros stay within
    // that; each descriptor in an SCM_RIGHTS message is new, open and nobody else's.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(header).cast::<libc::c_int>();
                let bytes = ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                for at in 0..bytes / size_of::<libc::c_int>() {
                    into.push(OwnedFd::from_raw_fd(data.add(at).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    *lost |= message.msg_flags & libc::MSG_CTRUNC != 0;
    Ok(got)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    const MOST: Most = Most { head: 1000, bytes: 1 << 20, descriptors: 100 };

    fn soon() -> Instant {
        clock::now() + Duration::from_secs(20)
    }

    #[test]
    fn messages_arrive_whole_and_in_order() {
        let (one, other) = UnixStream::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        let large = vec![7; 1 << 20];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for count in [0, 1, GROUP, GROUP + 1, 50] {
                    let descriptors = vec![null.as_fd(); count];
                    send(&one, format!("{count}").as_bytes(), &large, &descriptors, soon()).unwrap();
                }
                send(&one, b"", b"", &[], soon()).unwrap();
                drop(one.shutdown(std::net::Shutdown::Both));
            });
            for count in [0, 1, GROUP, GROUP + 1, 50] {
                let parcel = receive(&other, MOST, soon()).unwrap().unwrap();
                assert_eq!(parcel.head, format!("{count}").as_bytes());
                assert_eq!((parcel.bytes == large, parcel.descriptors.len()), (true, count));
            }
            assert!(receive(&other, MOST, soon()).unwrap().unwrap().head.is_empty());
            assert!(receive(&other, MOST, soon()).unwrap().is_none());
        });
    }

    #[test]
    fn descriptors_that_arrive_are_closed_in_children() {
        let (one, other) = UnixStream::pair().unwrap();
        send(&one, b"x", b"", &[File::open("/dev/null").unwrap().as_fd()], soon()).unwrap();
        let parcel = receive(&other, MOST, soon()).unwrap().unwrap();
        // SAFETY: it only asks for the flags of a descriptor that is open.
        let flags = unsafe { libc::fcntl(parcel.descriptors[0].as_raw_fd(), libc::F_GETFD) };
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }

    #[test]
    fn what_is_too_large_or_cut_off_is_refused() {
        for (head, bytes, descriptors) in [(1001u32, 0u32, 0u32), (0, (1 << 20) + 1, 0), (0, 0, 101)] {
            let (mut one, other) = UnixStream::pair().unwrap();
            let lengths = [head, bytes, descriptors].map(u32::to_ne_bytes).concat();
            one.write_all(&lengths).unwrap();
            assert_eq!(receive(&other, MOST, soon()).unwrap_err().kind(), ErrorKind::InvalidData);
        }
        for whole in [4, 14] {
            let (mut one, other) = UnixStream::pair().unwrap();
            let message = [[3u32, 0, 1].map(u32::to_ne_bytes).concat(), b"abc".to_vec()].concat();
            one.write_all(&message[..whole]).unwrap();
            drop(one);
            assert_eq!(receive(&other, MOST, soon()).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        }
        // A byte that should bring descriptors and brings none.
        let (mut one, other) = UnixStream::pair().unwrap();
        one.write_all(&[[0u32, 0, 1].map(u32::to_ne_bytes).concat(), b"+".to_vec()].concat()).unwrap();
        assert_eq!(receive(&other, MOST, soon()).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn message_is_taken_whole_when_there_is_no_room_for_its_descriptors() {
        let (mut one, other) = UnixStream::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        one.write_all(&[0u32, 0, 17].map(u32::to_ne_bytes).concat()).unwrap();
        // More than a group: to who receives it, it is as if the limit of descriptors was reached.
        send_group(&one, &[null.as_fd(); GROUP + 1]).unwrap();
        send_group(&one, &[null.as_fd()]).unwrap();
        assert_eq!(receive(&other, MOST, soon()).unwrap_err().kind(), ErrorKind::QuotaExceeded);
        send(&one, b"next", b"", &[], soon()).unwrap();
        assert_eq!(receive(&other, MOST, soon()).unwrap().unwrap().head, b"next");
    }

    #[test]
    fn nobody_waits_beyond_the_deadline() {
        let (one, other) = UnixStream::pair().unwrap();
        assert_eq!(receive(&other, MOST, clock::now()).unwrap_err().kind(), ErrorKind::TimedOut);
        let brief = clock::now() + Duration::from_millis(5);
        assert_eq!(receive(&other, MOST, brief).unwrap_err().kind(), ErrorKind::TimedOut);
        let brief = clock::now() + Duration::from_millis(5);
        let sent = send(&one, b"", &vec![0; 64 << 20], &[], brief);
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
