//! Listening sockets that a service manager has opened and left to this process (sd_listen_fds(3)).

use std::io;
use std::net::{SocketAddr, TcpListener};

/// Sockets that listen already, until their addresses are asked for.
#[derive(Debug, Default)]
pub struct Activated {
    sockets: Vec<TcpListener>,
}

impl Activated {
    /// These.
    pub fn new(sockets: Vec<TcpListener>) -> Self {
        Self { sockets }
    }

    /// Closes those that nobody has asked for; their addresses.
    pub fn close(&mut self) -> Vec<SocketAddr> {
        self.sockets.drain(..).filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// All sockets that listen on `addr` are one queue; `copies` of it. `None`: there is none.
    pub fn take(&mut self, addr: SocketAddr, copies: usize) -> Option<io::Result<Vec<TcpListener>>> {
        let at = self.sockets.iter().position(|socket| socket.local_addr().ok() == Some(addr))?;
        let first = self.sockets.remove(at);
        let more = (1..copies).map(|_| first.try_clone()).collect::<io::Result<Vec<_>>>();
        Some(more.map(|more| std::iter::once(first).chain(more).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_is_taken_once_by_its_address() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let mut activated = Activated::new(vec![socket]);
        assert!(activated.take("127.0.0.1:1".parse().unwrap(), 2).is_none());
        let sockets = activated.take(addr, 3).unwrap().unwrap();
        assert!(sockets.len() == 3 && sockets.iter().all(|socket| socket.local_addr().unwrap() == addr));
        assert!(activated.take(addr, 1).is_none() && activated.close().is_empty());
    }

    #[test]
    fn socket_that_nobody_asks_for_is_closed() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let mut activated = Activated::new(vec![socket]);
        assert_eq!(activated.close(), [addr]);
        assert!(std::net::TcpStream::connect(addr).is_err());
    }
}
