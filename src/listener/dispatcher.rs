//! The accepting thread of the single mode: it deals connections out to the serving threads in turn.
//!
//! The way where the system does not balance sockets on one address. It serves nothing itself, so
//! neither a request nor a reload ever holds up accepting.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

use crate::listener::admission::Accepted;
use crate::listener::serving_thread;
use crate::listener::shared::Shared;
use crate::listener::sockets::{BoundSocket, SocketId, Sockets};
use crate::listener::thread::Thread;

/// What the accepting thread is told. It ends when its `Thread` is dropped.
#[derive(Debug)]
pub enum Command {
    /// Accept from this socket.
    Open(BoundSocket),
    /// What is accepted from this socket belongs to this listener now.
    HandOver(SocketId, Arc<str>),
    /// Stop accepting from these; the sender is dropped when all they had queued is dealt out.
    Close(Vec<SocketId>, oneshot::Sender<()>),
}

/// Starts the accepting thread, which deals out to `threads`.
pub fn start(
    name: String,
    shared: Arc<Shared>,
    threads: Vec<mpsc::UnboundedSender<serving_thread::Command>>,
) -> io::Result<Thread<Command>> {
    Thread::start(name, move |mut commands| async move {
        let turns = Rc::new(Turns { threads, next: Cell::new(0) });
        let sockets = Sockets::default();
        while let Some(command) = commands.recv().await {
            match command {
                Command::Open(bound) => {
                    let turns = turns.clone();
                    sockets.open(bound, shared.clone(), move |accepted| turns.dispatch(accepted));
                }
                Command::HandOver(id, listener) => sockets.hand_over(id, listener),
                Command::Close(ids, done) => {
                    let closed = sockets.close(&ids);
                    spawn_local(async move {
                        closed.await;
                        drop(done);
                    });
                }
            }
        }
    })
}

/// Whose turn it is.
struct Turns {
    threads: Vec<mpsc::UnboundedSender<serving_thread::Command>>,
    next: Cell<usize>,
}

impl Turns {
    /// Gives a connection to the thread whose turn it is.
    ///
    /// The channels have no bound of their own: every connection in them holds a slot of the limits.
    fn dispatch(&self, accepted: Accepted) {
        let turn = self.next.get();
        self.next.set((turn + 1) % self.threads.len());
        // A thread that has ended drops it: porchd is stopping.
        let _ = self.threads[turn].send(serving_thread::Command::Take(accepted));
    }
}
