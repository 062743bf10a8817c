//! Of sockets: connections that are no connect(2) of TCP, and what would stay on a descriptor that others share.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::{Targets, Tried, call, done, raw, reached, socket};

/// Connections that are none of connect(2) with a TCP socket.
pub(super) fn other_ways(targets: &Targets) -> Tried {
    let port = targets.port;
    let none = [libc::EPROTONOSUPPORT, libc::ESOCKTNOSUPPORT];
    let kind = |kind, protocol| reached(socket(libc::AF_INET, kind, protocol), &none);
    vec![
        ("connect by MPTCP", tcp(libc::IPPROTO_MPTCP).and_then(|one| connect(&one, port))),
        ("connect by sendto (fast open)", fast_open(libc::SYS_sendto, port)),
        ("connect by sendmsg (fast open)", fast_open(libc::SYS_sendmsg, port)),
        ("connect by sendmmsg (fast open)", fast_open(libc::SYS_sendmmsg, port)),
        ("connect in the first write", connect_late(port)),
        ("a socket of SCTP", kind(libc::SOCK_STREAM, libc::IPPROTO_SCTP)),
        ("a socket for messages in order", kind(libc::SOCK_SEQPACKET, 0)),
        ("a socket of DCCP", kind(libc::SOCK_DCCP, 0)),
        (
            "a socket of SMC below TCP",
            reached(set(libc::IPPROTO_TCP, libc::TCP_ULP, b"smc"), &[libc::ENOENT]),
        ),
    ]
}

/// What would stay on a descriptor that others have, too.
pub(super) fn spoiling() -> Tried {
    let mut drop_all = [libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0 }];
    let program = libc::sock_fprog { len: 1, filter: drop_all.as_mut_ptr() };
    // SAFETY: the bytes are those of `program`, which has no gap that anybody reads.
    let program = unsafe { std::slice::from_raw_parts((&raw const program).cast(), size_of_val(&program)) };
    let one = 1_i32.to_ne_bytes();
    let flags = tcp(0).and_then(|socket| {
        // SAFETY: fcntl(2) takes numbers, and the descriptor is open.
        done(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, libc::O_RDWR) }.into())
    });
    let shut = tcp(0).and_then(|socket| {
        // SAFETY: shutdown(2) takes two numbers.
        done(unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) }.into())
    });
    vec![
        ("shut a socket that listens", reached(shut, &[libc::ENOTCONN])),
        ("a filter on a socket", set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, program)),
        ("lock the filter of a socket", set(libc::SOL_SOCKET, libc::SO_LOCK_FILTER, &one)),
        ("bind a socket to a device", set(libc::SOL_SOCKET, libc::SO_BINDTODEVICE, b"lo\0")),
        ("make a socket deaf for those far away", set(libc::IPPROTO_IP, libc::IP_MINTTL, &one)),
        ("take the flags from a file", flags),
        ("shorten an open file", reached(call(libc::SYS_ftruncate, &[-1, 0]), &[libc::EBADF])),
    ]
}

fn tcp(protocol: libc::c_int) -> io::Result<OwnedFd> {
    let made = raw(libc::SYS_socket, &[libc::AF_INET.into(), libc::SOCK_STREAM.into(), protocol.into()])?;
    // SAFETY: the call has just made it, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(made as libc::c_int) })
}

/// Of IPv4 alone.
fn address(port: SocketAddr) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    }
}

fn connect(socket: &OwnedFd, port: SocketAddr) -> io::Result<()> {
    let address = address(port);
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address outlives the call, and `length` is its length.
    done(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) }.into())
}

/// Connects by sending one byte.
fn fast_open(number: libc::c_long, port: SocketAddr) -> io::Result<()> {
    let socket = tcp(0)?;
    let mut address = address(port);
    let mut byte = 0_u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: all of `mmsghdr` are integers and pointers, for which zero is a value.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_name = (&raw mut address).cast();
    message.msg_hdr.msg_namelen = size_of_val(&address) as libc::socklen_t;
    message.msg_hdr.msg_iov = &raw mut part;
    message.msg_hdr.msg_iovlen = 1;
    let (socket, flags) = (libc::c_long::from(socket.as_raw_fd()), libc::c_long::from(libc::MSG_FASTOPEN));
    let message = (&raw mut message) as libc::c_long;
    match number {
        libc::SYS_sendmsg => call(number, &[socket, message, flags]),
        libc::SYS_sendmmsg => call(number, &[socket, message, 1, flags]),
        _ => {
            let (byte, address) = ((&raw const byte) as libc::c_long, (&raw const address) as libc::c_long);
            call(number, &[socket, byte, 1, flags, address, size_of::<libc::sockaddr_in>() as libc::c_long])
        }
    }
}

fn connect_late(port: SocketAddr) -> io::Result<()> {
    let socket = tcp(0)?;
    set_on(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, &1_i32.to_ne_bytes())?;
    connect(&socket, port)?;
    let mut stream = TcpStream::from(socket);
    stream.write_all(b"x")
}

/// Sets an option of a socket that nobody needs.
fn set(level: libc::c_int, option: libc::c_int, value: &[u8]) -> io::Result<()> {
    set_on(&tcp(0)?, level, option, value)
}

fn set_on(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &[u8]) -> io::Result<()> {
    let length = value.len() as libc::socklen_t;
    // SAFETY: `value` outlives the call, and `length` is its length.
    done(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value.as_ptr().cast(), length) }.into())
}
