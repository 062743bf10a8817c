//! Listening sockets that a service manager leaves to the process that it starts (sd_listen_fds(3)).

use std::net::TcpListener;

use crate::os::waiting;

/// The first of them.
const FIRST: i32 = 3;
/// More than a unit has.
const MOST: i32 = 256;

/// The sockets that were left to this process, close-on-exec and non-blocking from now on. To be called once, before
/// anything else is opened.
pub fn sockets() -> Vec<TcpListener> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<i32>().ok();
    let meant = number("LISTEN_PID").is_some_and(|pid| u32::try_from(pid) == Ok(std::process::id()));
    let count = number("LISTEN_FDS").filter(|_| meant).unwrap_or_default().clamp(0, MOST);
    let inherited = (FIRST..FIRST + count).filter_map(|at| waiting::inherited(at).ok());
    inherited.map(TcpListener::from).filter(is_ready).collect()
}

/// Whether it is a socket of TCP that can be used.
fn is_ready(socket: &TcpListener) -> bool {
    let nodelay = socket2::SockRef::from(socket).set_tcp_nodelay(true);
    socket.local_addr().is_ok() && socket.set_nonblocking(true).is_ok() && nodelay.is_ok()
}
