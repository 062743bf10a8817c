//! All threads that accept and serve, steered as one.

use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::listener::serving::Serving;
use crate::listener::shared::Shared;
use crate::listener::sockets::{BoundSocket, SocketId};
use crate::listener::thread::Thread;
use crate::listener::{dispatcher, serving_thread};
use crate::supervisor::shape::{Accept, Shape};

/// The serving threads, and the accepting one where there is one.
#[derive(Debug)]
pub struct Threads {
    serving: Vec<Thread<serving_thread::Command>>,
    dispatcher: Option<Thread<dispatcher::Command>>,
}

impl Threads {
    /// Starts all of them; on an error those that had begun end again. `serving` is called on each
    /// serving thread.
    pub fn start<S, F>(shape: Shape, shared: &Arc<Shared>, serving: F) -> io::Result<Self>
    where
        S: Serving,
        F: FnOnce() -> Rc<S> + Send + Clone + 'static,
    {
        let threads = (1..=shape.threads)
            .map(|number| serving_thread::start(format!("porchd-{number}"), shared.clone(), serving.clone()))
            .collect::<io::Result<Vec<_>>>()?;
        let dispatcher = match shape.accept {
            Accept::PerThread => None,
            Accept::Single => {
                let senders = threads.iter().map(Thread::sender).collect();
                Some(dispatcher::start("porchd-accept".to_owned(), shared.clone(), senders)?)
            }
        };
        Ok(Self { serving: threads, dispatcher })
    }

    /// Accepts from all of `sockets`, of which there are as many as `Shape::copies` says, or more: those that an edge
    /// with more threads has left. The system deals out connections to each that is open.
    pub fn open(&self, id: SocketId, listener: &Arc<str>, sockets: Vec<TcpListener>) {
        let sockets =
            sockets.into_iter().map(|socket| BoundSocket { id, listener: listener.clone(), socket });
        match &self.dispatcher {
            Some(dispatcher) => sockets.for_each(|bound| dispatcher.send(dispatcher::Command::Open(bound))),
            None => sockets
                .zip(self.serving.iter().cycle())
                .for_each(|(bound, thread)| thread.send(serving_thread::Command::Open(bound))),
        }
    }

    /// What this socket accepts from now on belongs to `listener`.
    pub fn hand_over(&self, id: SocketId, listener: &Arc<str>) {
        match &self.dispatcher {
            Some(dispatcher) => dispatcher.send(dispatcher::Command::HandOver(id, listener.clone())),
            None => self
                .serving
                .iter()
                .for_each(|thread| thread.send(serving_thread::Command::HandOver(id, listener.clone()))),
        }
    }

    /// Closes these sockets. The future ends when everything that they had queued is on its thread.
    pub fn close(&self, ids: &[SocketId]) -> impl Future<Output = ()> + use<> {
        let mut closing = Vec::new();
        let mut ask = || {
            let (done, closed) = oneshot::channel();
            closing.push(closed);
            done
        };
        match &self.dispatcher {
            Some(dispatcher) => dispatcher.send(dispatcher::Command::Close(ids.to_vec(), ask())),
            None => self
                .serving
                .iter()
                .for_each(|thread| thread.send(serving_thread::Command::Close(ids.to_vec(), ask()))),
        }
        async move {
            for closed in closing {
                // Told by dropping, also by a thread that has ended.
                let _ = closed.await;
            }
        }
    }

    /// Drains what is left of a listener whose sockets are closed, and closes it after `deadline`.
    pub fn retire(&self, listener: &Arc<str>, deadline: Duration) {
        self.serving
            .iter()
            .for_each(|thread| thread.send(serving_thread::Command::Retire(listener.clone(), deadline)));
    }

    /// Drains everything; to be called once all sockets are closed.
    pub fn stop(&self) {
        self.serving.iter().for_each(|thread| thread.send(serving_thread::Command::Stop));
    }

    /// Answers what waits and closes everything.
    pub fn abort(&self) {
        self.serving.iter().for_each(|thread| thread.send(serving_thread::Command::Abort));
    }

    /// Waits until all serving threads have ended.
    pub async fn ended(&mut self) {
        for thread in &mut self.serving {
            poll_fn(|cx| thread.poll_ended(cx)).await;
        }
    }

    /// Waits until one of the threads has ended, which none should before it is told to.
    pub async fn lost(&mut self) {
        poll_fn(|cx| {
            let serving = self.serving.iter_mut().any(|thread| thread.poll_ended(cx).is_ready());
            let dispatcher =
                self.dispatcher.as_mut().is_some_and(|dispatcher| dispatcher.poll_ended(cx).is_ready());
            if serving || dispatcher { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    use super::*;
    use crate::listener::echo::{Echo, shared};

    const SHAPES: [Shape; 3] = [
        Shape { threads: 1, accept: Accept::PerThread },
        Shape { threads: 2, accept: Accept::PerThread },
        Shape { threads: 2, accept: Accept::Single },
    ];

    fn threads(shape: Shape, shared: &Arc<Shared>) -> Threads {
        Threads::start(shape, shared, || Rc::new(Echo::new("a"))).unwrap()
    }

    fn bound(copies: usize) -> (Vec<TcpListener>, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let addr = socket.local_addr().unwrap();
        ((0..copies).map(|_| socket.try_clone().unwrap()).collect(), addr)
    }

    #[tokio::test]
    async fn stop_serves_what_was_queued_and_ends() {
        for shape in SHAPES {
            let shared = shared(50, 50);
            let mut threads = threads(shape, &shared);
            let (sockets, addr) = bound(shape.copies());
            let mut clients: Vec<_> = (0..20).map(|_| TcpStream::connect(addr).unwrap()).collect();
            threads.open(SocketId(1), &"http".into(), sockets);
            threads.close(&[SocketId(1)]).await;
            threads.stop();
            assert!(TcpStream::connect(addr).is_err(), "{shape:?}");
            for client in &mut clients {
                client.write_all(b"hello").unwrap();
                client.shutdown(std::net::Shutdown::Write).unwrap();
                let mut answer = String::new();
                client.read_to_string(&mut answer).unwrap();
                assert_eq!(answer, "a http 127.0.0.1\nhello", "{shape:?}");
            }
            threads.ended().await;
            assert_eq!((shared.permits.open(), shared.counters.accepted.get()), (0, 20), "{shape:?}");
        }
    }

    #[tokio::test]
    async fn sockets_beyond_the_number_of_threads_are_accepted_from_too() {
        for shape in SHAPES {
            let mut threads = threads(shape, &shared(50, 50));
            let sockets = crate::os::socket::listen("127.0.0.1:0".parse().unwrap(), 5).unwrap();
            let addr = sockets[0].local_addr().unwrap();
            threads.open(SocketId(1), &"old".into(), sockets);
            threads.hand_over(SocketId(1), &"new".into());
            for _ in 0..40 {
                let mut client = TcpStream::connect(addr).unwrap();
                client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let mut greeting = [0; 16];
                client.read_exact(&mut greeting).unwrap();
                assert_eq!(&greeting, b"a new 127.0.0.1\n", "{shape:?}");
            }
            threads.close(&[SocketId(1)]).await;
            assert!(TcpStream::connect(addr).is_err(), "{shape:?}");
            threads.abort();
            threads.ended().await;
        }
    }

    #[tokio::test]
    async fn abort_ends_threads_with_clients() {
        for shape in SHAPES {
            let mut threads = threads(shape, &shared(50, 50));
            let (sockets, addr) = bound(shape.copies());
            threads.open(SocketId(1), &"http".into(), sockets);
            let mut client = TcpStream::connect(addr).unwrap();
            client.read_exact(&mut [0; 17]).unwrap();
            threads.close(&[SocketId(1)]).await;
            threads.abort();
            let mut rest = String::new();
            client.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "503", "{shape:?}");
            threads.ended().await;
        }
    }
}
