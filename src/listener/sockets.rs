//! The listening sockets of one thread, each with its accept loop.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};

use crate::listener::accept::{Owner, accept};
use crate::listener::admission::Accepted;
use crate::listener::shared::Shared;
use crate::os::socket;

/// Names one bound address of one listener, on every thread that accepts from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId(pub u64);

/// A bound socket to accept from.
#[derive(Debug)]
pub struct BoundSocket {
    /// What it is called when it is to be closed.
    pub id: SocketId,
    /// Name of its listener.
    pub listener: Arc<str>,
    /// Bound, listening and non-blocking.
    pub socket: TcpListener,
}

/// The sockets that this thread accepts from.
#[derive(Debug, Default)]
pub struct Sockets {
    open: RefCell<HashMap<SocketId, Vec<Accepting>>>,
}

#[derive(Debug)]
struct Accepting {
    listener: Owner,
    close: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Sockets {
    /// Accepts from `bound` from now on, beside others of its name.
    pub fn open(&self, bound: BoundSocket, shared: Arc<Shared>, deliver: impl Fn(Accepted) + 'static) {
        let BoundSocket { id, listener, socket } = bound;
        let socket = match socket::watch(socket) {
            Ok(socket) => socket,
            Err(error) => {
                // It is bound, so this is the system being out of resources.
                tracing::error!(%listener, %error, "a listening socket can't be watched; restart porchd");
                return;
            }
        };
        let (close, closing) = oneshot::channel();
        let listener = Owner::new(listener);
        let owner = listener.clone();
        let ended = spawn_local(async move { accept(socket, owner, &shared, closing, deliver).await });
        self.open.borrow_mut().entry(id).or_default().push(Accepting { listener, close, ended });
    }

    /// Gives a socket to another listener.
    pub fn hand_over(&self, id: SocketId, listener: Arc<str>) {
        for accepting in self.open.borrow().get(&id).into_iter().flatten() {
            accepting.listener.set(listener.clone());
        }
    }

    /// Closes these sockets, those of them that are here. The future ends when all they had queued is delivered.
    pub fn close(&self, ids: &[SocketId]) -> impl Future<Output = ()> + use<> {
        let mut open = self.open.borrow_mut();
        let closing: Vec<JoinHandle<()>> = ids
            .iter()
            .filter_map(|id| open.remove(id))
            .flatten()
            .map(|Accepting { close, ended, .. }| {
                // Dropping the sender tells it.
                drop(close);
                ended
            })
            .collect();
        async move {
            for ended in closing {
                // A loop that panicked has closed its socket too.
                let _ = ended.await;
            }
        }
    }
}
