//! A serving thread: it accepts connections or is handed them, and serves them to their end.
//!
//! The control thread steers it by commands; requests never cross threads.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clock;
use crate::listener::admission::{Accepted, Contained, admit_and_serve};
use crate::listener::open_connections::OpenConnections;
use crate::listener::serving::Serving;
use crate::listener::shared::Shared;
use crate::listener::sockets::{BoundSocket, SocketId, Sockets};
use crate::listener::thread::Thread;

/// What a serving thread is told.
#[derive(Debug)]
pub enum Command {
    /// Accept from this socket.
    Open(BoundSocket),
    /// What is accepted from this socket belongs to this listener now.
    HandOver(SocketId, Arc<str>),
    /// Stop accepting from these; the sender is dropped when all they had queued is taken.
    Close(Vec<SocketId>, oneshot::Sender<()>),
    /// Serve this connection, which another thread accepted.
    Take(Accepted),
    /// Drain a listener that is gone, and close what is left of it after so long.
    Retire(Arc<str>, Duration),
    /// Drain everything; the thread ends when nobody is left.
    Stop,
    /// Answer what waits, close everything, end.
    Abort,
}

/// Starts a serving thread. `serving` is called on it: what it makes stays there.
pub fn start<S: Serving>(
    name: String,
    shared: Arc<Shared>,
    serving: impl FnOnce() -> Rc<S> + Send + 'static,
) -> io::Result<Thread<Command>> {
    Thread::start(name, move |commands| async move {
        let this = Rc::new(ServingThread {
            serving: serving(),
            shared,
            open_connections: OpenConnections::default(),
            sockets: Sockets::default(),
            over: Notify::new(),
        });
        this.run(commands).await;
    })
}

/// The state of a serving thread.
struct ServingThread<S> {
    serving: Rc<S>,
    shared: Arc<Shared>,
    open_connections: OpenConnections,
    sockets: Sockets,
    /// Told when an abort is over, whoever is left.
    over: Notify,
}

impl<S: Serving> ServingThread<S> {
    async fn run(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pressed = self.shared.permits.pressed();
        let mut stopping = false;
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => {
                        stopping |= matches!(command, Command::Stop | Command::Abort);
                        self.obey(command);
                    }
                    // The control thread is gone: nobody could ever stop this one.
                    None => break,
                },
                Ok(()) = pressed.changed() => self.serving.shed(),
                _ = second.tick() => self.serving.tick(clock::now()),
                () = self.open_connections.emptied(), if stopping => break,
                () = self.over.notified() => break,
            }
        }
        self.serving.tick(clock::now());
    }

    fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::Open(bound) => {
                let this = self.clone();
                self.sockets.open(bound, self.shared.clone(), move |accepted| this.welcome(accepted));
            }
            Command::HandOver(id, listener) => self.sockets.hand_over(id, listener),
            Command::Close(ids, done) => {
                let closed = self.sockets.close(&ids);
                spawn_local(async move {
                    closed.await;
                    drop(done);
                });
            }
            Command::Take(accepted) => self.welcome(accepted),
            Command::Retire(listener, deadline) => self.retire(listener, deadline),
            Command::Stop => self.serving.stop(),
            Command::Abort => self.abort(),
        }
    }

    fn welcome(&self, accepted: Accepted) {
        let admission =
            admit_and_serve(self.serving.clone(), self.shared.clone(), accepted, self.open_connections.add());
        spawn_local(Contained::new(admission));
    }

    fn retire(&self, listener: Arc<str>, deadline: Duration) {
        self.serving.retire(&listener);
        let serving = self.serving.clone();
        spawn_local(async move {
            sleep(deadline).await;
            serving.close(&listener);
        });
    }

    /// What waits is answered first; then everything is closed; then nobody is waited for.
    fn abort(self: &Rc<Self>) {
        self.serving.abort();
        let this = self.clone();
        spawn_local(async move {
            sleep(LAST_ANSWERS).await;
            this.serving.cut();
            sleep(LAST_ANSWERS).await;
            this.over.notify_one();
        });
    }
}

/// For answers on their way out, and again for connections to close in order.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    use super::{BoundSocket, Command, Shared, SocketId, Thread, oneshot};
    use crate::listener::dispatcher;
    use crate::listener::echo::{Echo, shared};

    fn listening(id: u64, listener: &str) -> (BoundSocket, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let addr = socket.local_addr().unwrap();
        (BoundSocket { id: SocketId(id), listener: listener.into(), socket }, addr)
    }

    fn thread(name: &'static str, shared: &Arc<Shared>) -> Thread<Command> {
        super::start(name.to_owned(), shared.clone(), move || Rc::new(Echo::new(name))).unwrap()
    }

    /// A thread that accepts at the address for listener "http".
    fn accepting(name: &'static str, shared: &Arc<Shared>) -> (Thread<Command>, SocketAddr) {
        let thread = thread(name, shared);
        let (bound, addr) = listening(1, "http");
        thread.send(Command::Open(bound));
        (thread, addr)
    }

    /// A client that has read its greeting.
    fn greeted(addr: SocketAddr) -> (TcpStream, String) {
        let mut client = TcpStream::connect(addr).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut greeting = Vec::new();
        while greeting.last() != Some(&b'\n') {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            greeting.extend(byte);
        }
        (client, String::from_utf8(greeting).unwrap().trim().to_owned())
    }

    fn echoes(client: &mut TcpStream) {
        client.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
    }

    fn rest(mut client: TcpStream) -> String {
        let mut rest = String::new();
        client.read_to_string(&mut rest).unwrap();
        rest
    }

    fn close(thread: &Thread<Command>, id: u64) {
        let (done, closed) = oneshot::channel();
        thread.send(Command::Close(vec![SocketId(id)], done));
        assert!(closed.blocking_recv().is_err(), "told by dropping");
    }

    fn wait(mut thread: Thread<Command>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(std::future::poll_fn(|cx| thread.poll_ended(cx)));
    }

    #[test]
    fn thread_serves_what_it_accepts() {
        let shared = shared(10, 10);
        let (_thread, addr) = accepting("a", &shared);
        let (mut client, greeting) = greeted(addr);
        assert_eq!(greeting, "a http 127.0.0.1");
        echoes(&mut client);
    }

    #[test]
    fn single_loop_deals_to_the_threads_in_turn() {
        let shared = shared(10, 10);
        let threads = [thread("a", &shared), thread("b", &shared)];
        let senders = threads.iter().map(Thread::sender).collect();
        let dispatcher = dispatcher::start("accept".to_owned(), shared.clone(), senders).unwrap();
        let (bound, addr) = listening(1, "http");
        dispatcher.send(dispatcher::Command::Open(bound));
        let mut clients: Vec<_> = (0..4).map(|_| greeted(addr)).collect();
        let greetings: Vec<_> = clients.iter().map(|(_, greeting)| greeting.as_str()).collect();
        assert_eq!(
            greetings,
            ["a http 127.0.0.1", "b http 127.0.0.1", "a http 127.0.0.1", "b http 127.0.0.1"]
        );
        clients.iter_mut().for_each(|(client, _)| echoes(client));

        let (done, closed) = oneshot::channel();
        dispatcher.send(dispatcher::Command::Close(vec![SocketId(1)], done));
        assert!(closed.blocking_recv().is_err());
        assert!(TcpStream::connect(addr).is_err());
        clients.iter_mut().for_each(|(client, _)| echoes(client));
    }

    #[test]
    fn stopping_thread_ends_when_the_last_client_has_left() {
        let shared = shared(10, 10);
        let (thread, addr) = accepting("a", &shared);
        let (mut client, _) = greeted(addr);
        close(&thread, 1);
        thread.send(Command::Stop);
        assert!(TcpStream::connect(addr).is_err());
        echoes(&mut client);
        drop(client);
        wait(thread);
        assert_eq!(shared.permits.open(), 0);
    }

    #[test]
    fn abort_answers_what_waits() {
        let (thread, addr) = accepting("a", &shared(10, 10));
        let (client, _) = greeted(addr);
        thread.send(Command::Stop);
        thread.send(Command::Abort);
        assert_eq!(rest(client), "503");
        wait(thread);
    }

    #[test]
    fn retired_listener_is_closed_at_its_deadline_and_others_stay() {
        let thread = thread("a", &shared(10, 10));
        let ((old, old_addr), (kept, kept_addr)) = (listening(1, "old"), listening(2, "kept"));
        thread.send(Command::Open(old));
        thread.send(Command::Open(kept));
        let ((retired, _), (mut other, _)) = (greeted(old_addr), greeted(kept_addr));
        close(&thread, 1);
        thread.send(Command::Retire("old".into(), Duration::from_millis(1)));
        assert_eq!(rest(retired), "");
        echoes(&mut other);
        assert_eq!(greeted(kept_addr).1, "a kept 127.0.0.1");
    }

    #[test]
    fn panic_ends_one_connection_alone() {
        let shared = shared(10, 10);
        let (thread, addr) = accepting("a", &shared);
        let ((mut bad, _), (mut good, _)) = (greeted(addr), greeted(addr));
        bad.write_all(b"panic").unwrap();
        assert_eq!(rest(bad), "");
        echoes(&mut good);
        drop(good);
        thread.send(Command::Stop);
        wait(thread);
        assert_eq!(shared.permits.open(), 0, "the permits are freed");
    }

    #[test]
    fn client_with_too_many_connections_is_dropped_at_once() {
        let shared = shared(10, 1);
        let (thread, addr) = accepting("a", &shared);
        let (mut first, _) = greeted(addr);
        assert_eq!(rest(TcpStream::connect(addr).unwrap()), "");
        echoes(&mut first);
        drop(first);
        thread.send(Command::Stop);
        wait(thread);
        assert_eq!(shared.counters.too_many.get(), 1);
    }
}
