//! Listening sockets with the options that porchd wants on each system.
//!
//! It decides neither which addresses are bound nor who is accepted.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Connections that may wait to be accepted; the system caps it (`somaxconn`).
const BACKLOG: i32 = 4096;

/// Whether the system deals connections out evenly over several sockets on one address.
///
/// Elsewhere SO_REUSEPORT gives all of them to one socket (OpenBSD's does), so copies share one queue.
pub const BALANCES: bool = cfg!(target_os = "linux");

/// `copies` sockets (one, if it is less) that listen on `addr`; on port 0 all of them get the same free port.
///
/// They are non-blocking, close-on-exec and TCP_NODELAY, and IPv6 ones are IPv6 alone.
pub fn listen(addr: SocketAddr, copies: usize) -> io::Result<Vec<TcpListener>> {
    if copies <= 1 {
        return Ok(vec![listening(addr, false)?]);
    }
    if BALANCES { each_its_own(addr, copies) } else { one_queue(addr, copies) }
}

/// Has `socket` listen and not block, should another process that has it have ended that. Connections that waited are
/// gone then.
///
/// # Errors
/// When it can't: it was connected, say.
pub fn listens_again(socket: &TcpListener) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    // To one that listens this is nothing new.
    SockRef::from(socket).listen(BACKLOG)
}

/// A listening socket that the runtime of this thread watches. What is accepted from it is watched by nobody,
/// unlike what tokio's own listener gives: the thread that accepts may not be the one that serves.
pub type Watched = AsyncFd<TcpListener>;

/// Watches a listening socket, which is non-blocking.
#[expect(unsafe_code, reason = "a descriptor is given to the runtime")]
pub fn watch(socket: TcpListener) -> io::Result<Watched> {
    // SAFETY: a `TcpListener` owns its descriptor, which is open and the same until the listener is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
}

fn each_its_own(addr: SocketAddr, copies: usize) -> io::Result<Vec<TcpListener>> {
    // SO_REUSEPORT alone would let a second porchd of the same user join silently and take a share.
    bound(addr, false)?;
    let first = listening(addr, true)?;
    let addr = first.local_addr()?;
    let rest = (1..copies).map(|_| listening(addr, true));
    std::iter::once(Ok(first)).chain(rest).collect()
}

fn one_queue(addr: SocketAddr, copies: usize) -> io::Result<Vec<TcpListener>> {
    let first = listening(addr, false)?;
    let mut all = (1..copies).map(|_| first.try_clone()).collect::<io::Result<Vec<_>>>()?;
    all.push(first);
    Ok(all)
}

fn listening(addr: SocketAddr, share: bool) -> io::Result<TcpListener> {
    let socket = bound(addr, share)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bound(addr: SocketAddr, share: bool) -> io::Result<Socket> {
    // socket2 sets close-on-exec.
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a process that has ended are in TIME_WAIT on the port; they must not stop the next one.
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted connections inherit it, on Linux and on OpenBSD.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

    use super::*;

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn copies_listen_on_one_port() {
        for listen in [each_its_own, one_queue] {
            let sockets = listen(LOOPBACK, 3).unwrap();
            let ports: Vec<_> = sockets.iter().map(|s| s.local_addr().unwrap().port()).collect();
            assert_eq!(ports, [ports[0]; 3]);
            TcpStream::connect((Ipv4Addr::LOCALHOST, ports[0])).unwrap();
        }
    }

    #[test]
    fn second_set_of_sockets_is_refused() {
        for copies in [1, 2] {
            let first = listen(LOOPBACK, copies).unwrap();
            let addr = first[0].local_addr().unwrap();
            for again in [1, 2] {
                assert_eq!(listen(addr, again).unwrap_err().kind(), ErrorKind::AddrInUse, "{copies} {again}");
            }
        }
    }

    #[test]
    fn address_is_free_again_when_its_sockets_are_closed() {
        let addr = listen(LOOPBACK, 2).unwrap()[0].local_addr().unwrap();
        assert_eq!(listen(addr, 2).unwrap()[0].local_addr().unwrap(), addr);
    }

    #[test]
    fn ipv6_leaves_ipv4_on_the_same_port_alone() {
        let Ok(six) = listen((Ipv6Addr::UNSPECIFIED, 0).into(), 2) else {
            return; // a machine without IPv6
        };
        let port = six[0].local_addr().unwrap().port();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
        listen((Ipv4Addr::LOCALHOST, port).into(), 1).unwrap();
    }

    #[test]
    fn sockets_do_not_block_and_do_not_delay() {
        let socket = listen(LOOPBACK, 1).unwrap().remove(0);
        assert_eq!(socket.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let client = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        let accepted = std::iter::repeat_with(|| socket.accept()).find_map(Result::ok).unwrap().0;
        assert!(accepted.nodelay().unwrap());
        drop(client);
    }
}
