//! The accept loop of one listening socket.
//!
//! It hands connections to a closure and knows nothing of threads: the closure serves them here
//! (a socket for each thread) or deals them out (one loop for all).

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::clock;
use crate::listener::admission::Accepted;
use crate::listener::backoff::{Backoff, Next};
use crate::listener::permits::Slot;
use crate::listener::shared::Shared;
use crate::os::socket::Watched;

/// Name of the listener that a socket belongs to; clones share it. A reload may give the socket to another.
#[derive(Debug, Clone)]
pub struct Owner(Rc<RefCell<Arc<str>>>);

impl Owner {
    /// At first it belongs to `listener`.
    pub fn new(listener: Arc<str>) -> Self {
        Self(Rc::new(RefCell::new(listener)))
    }

    /// Whom it belongs to now.
    pub fn get(&self) -> Arc<str> {
        self.0.borrow().clone()
    }

    /// From now on it belongs to `listener`.
    pub fn set(&self, listener: Arc<str>) {
        self.0.replace(listener);
    }
}

/// Accepts until `closing` is told or dropped, then takes what is still in the queue, then closes.
///
/// What finds no slot in the limits then is dropped: nobody would wait for one any more.
pub async fn accept(
    socket: Watched,
    owner: Owner,
    shared: &Shared,
    mut closing: oneshot::Receiver<()>,
    deliver: impl Fn(Accepted),
) {
    let give = |stream, peer, slot| {
        shared.counters.accepted.add();
        deliver(Accepted { stream, peer, listener: owner.get(), slot });
    };
    let mut backoff = Backoff::default();
    loop {
        let (stream, peer, slot) = tokio::select! {
            biased;
            _ = &mut closing => break,
            next = next(&socket, &owner, shared, &mut backoff) => next,
        };
        give(stream, peer, slot);
    }
    // Who connected before the socket closes was let in by the kernel already, and would be reset.
    for (stream, peer) in queued(socket) {
        let Some(slot) = shared.permits.try_slot() else { break };
        give(stream, peer, slot);
    }
}

/// The next connection, with its slot in the limits.
async fn next(
    socket: &Watched,
    owner: &Owner,
    shared: &Shared,
    backoff: &mut Backoff,
) -> (TcpStream, SocketAddr, Slot) {
    let (stream, peer) = loop {
        match from_queue(socket).await {
            Ok(accepted) => break accepted,
            Err(error) => {
                if let Next::After(pause) = backoff.failed(&error) {
                    tell_failing(&owner.get(), shared, &error);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    };
    backoff.succeeded();
    if let Some(slot) = shared.permits.try_slot() {
        return (stream, peer, slot);
    }
    shared.counters.paused.add();
    tell_full(shared);
    // This one waits in hand and all others in the kernel's backlog.
    (stream, peer, shared.permits.slot().await)
}

async fn from_queue(socket: &Watched) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        match socket.readable().await?.try_io(|socket| socket.get_ref().accept()) {
            Ok(accepted) => return accepted.and_then(ready),
            Err(_nobody) => {}
        }
    }
}

/// Everything in the queue now. Outside the runtime: its readiness may lag behind the kernel's queue.
fn queued(socket: Watched) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    let socket = socket.into_inner();
    std::iter::from_fn(move || {
        loop {
            match socket.accept().and_then(ready) {
                Ok(accepted) => return Some(accepted),
                Err(error) if Backoff::default().failed(&error) == Next::Again => continue,
                Err(_) => return None,
            }
        }
    })
}

/// Makes a connection what tokio wants. No runtime watches it yet: another thread may be the one that serves.
fn ready((stream, peer): (TcpStream, SocketAddr)) -> io::Result<(TcpStream, SocketAddr)> {
    stream.set_nonblocking(true)?;
    // TCP_NODELAY comes from the listening socket on Linux (tcp_create_openreq_child); elsewhere ask.
    if !cfg!(target_os = "linux") {
        // A connection that is reset already fails here, and at its first read too.
        let _ = stream.set_nodelay(true);
    }
    Ok((stream, peer))
}

fn tell_failing(listener: &str, shared: &Shared, error: &io::Error) {
    if !shared.failing.allows(clock::now()) {
        return;
    }
    let cure = match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => "; raise the limit of open files or lower limits.connections",
        _ => "",
    };
    tracing::warn!(listener, "accepting pauses: {error}{cure}");
}

fn tell_full(shared: &Shared) {
    if !shared.full.allows(clock::now()) {
        return;
    }
    let open = shared.permits.open();
    tracing::warn!("accepting pauses: {open} connections are open, as many as limits.connections allows");
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::listener::permits::{Bounds, Permits};
    use crate::os::socket;

    fn shared(total: usize) -> Shared {
        Shared::new(Permits::new(Bounds { total, per_address: 100 }))
    }

    fn socket() -> (Watched, SocketAddr) {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let addr = socket.local_addr().unwrap();
        (socket::watch(socket).unwrap(), addr)
    }

    #[tokio::test]
    async fn closing_takes_what_is_queued_first() {
        let (socket, addr) = socket();
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(TcpStream::connect(addr).unwrap());
        }
        let shared = shared(100);
        let taken = Rc::new(RefCell::new(Vec::new()));
        let (close, closing) = oneshot::channel();
        drop(close);
        accept(socket, Owner::new("http".into()), &shared, closing, |accepted| {
            taken.borrow_mut().push(accepted)
        })
        .await;
        let mut taken: Vec<_> = taken.borrow().iter().map(|accepted| accepted.peer).collect();
        let mut expected: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
        taken.sort();
        expected.sort();
        assert_eq!(taken, expected);
        assert_eq!(shared.counters.accepted.get(), 5);
        assert!(TcpStream::connect(addr).is_err(), "the socket is closed");
    }

    #[tokio::test]
    async fn accepting_waits_at_the_total_bound() {
        let (socket, addr) = socket();
        let shared = shared(2);
        let (given, mut taken) = mpsc::unbounded_channel();
        let (_close, closing) = oneshot::channel();
        let accepting = accept(socket, Owner::new("http".into()), &shared, closing, |accepted| {
            given.send(accepted).unwrap()
        });
        let story = async {
            let clients: Vec<_> = (0..4).map(|_| TcpStream::connect(addr).unwrap()).collect();
            let first = taken.recv().await.unwrap();
            let second = taken.recv().await.unwrap();
            assert!(taken.try_recv().is_err());
            drop(first);
            let third = taken.recv().await.unwrap();
            assert_eq!(shared.permits.open(), 2);
            drop((second, third));
            taken.recv().await.unwrap();
            drop(clients);
        };
        tokio::select! { () = accepting => unreachable!("nobody closed it"), () = story => {} }
    }
}
