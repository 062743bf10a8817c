//! Accepts on the control socket, on the runtime of the control thread.
//!
//! It is given a socket that listens and neither makes nor removes one. What is asked goes to the
//! supervisor as [`Ask`]s.

use std::io;
use std::os::unix::net::UnixListener as SystemListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};

use crate::admin::conversation;
use crate::admin::protocol::{Answer, Heard, Question};
use crate::clock;
use crate::listener::backoff::{Backoff, Next};
use crate::telemetry::limited::Limited;

/// A question on its way to the supervisor.
#[derive(Debug)]
pub struct Ask {
    /// What is asked.
    pub question: Question,
    /// Where the answer goes; whoever asked may be gone. Dropped, the client is told that porchd stops.
    pub reply: oneshot::Sender<Answer>,
}

/// A control socket that is served. Dropped, it accepts no more, the socket is closed and its path left
/// alone; clients that were accepted still get their answers.
#[derive(Debug)]
pub struct Server {
    accepting: Option<JoinHandle<()>>,
    places: Arc<Semaphore>,
}

/// Those who talk on a control socket, also after it is closed.
#[derive(Debug, Clone)]
pub struct Talks(Arc<Semaphore>);

impl Talks {
    /// Waits until everybody who was asked something has the answer.
    pub async fn over(&self) {
        // It is never closed.
        let _ = self.0.acquire_many(MOST_CLIENTS as u32).await;
    }
}

impl Server {
    /// Those who talk on it.
    pub fn talks(&self) -> Talks {
        Talks(self.places.clone())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
    }
}

/// Serves `listener`; what is asked goes to `asks`. To be called inside a runtime of one thread that can
/// spawn locally.
///
/// A socket that the runtime does not take is told in the log and not served: porchd runs without it.
pub fn serve(listener: SystemListener, asks: UnboundedSender<Ask>) -> Server {
    let adopted = listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener));
    let places = Arc::new(Semaphore::new(MOST_CLIENTS));
    let accepting = match adopted {
        Ok(listener) => Some(spawn_local(accept(listener, asks, places.clone()))),
        Err(error) => {
            tracing::error!(%error, "the control socket is not served");
            None
        }
    };
    Server { accepting, places }
}

async fn accept(listener: UnixListener, asks: UnboundedSender<Ask>, places: Arc<Semaphore>) {
    let (mut backoff, failing) = (Backoff::default(), Limited::new(TELL_EVERY));
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                backoff.succeeded();
                match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        let asks = asks.clone();
                        spawn_local(async move {
                            tell_end(conversation::hold(client, &asks).await);
                            drop(place);
                        });
                    }
                    Err(_) => turn_away(&client),
                }
            }
            Err(error) => {
                if let Next::After(pause) = backoff.failed(&error) {
                    if failing.allows(clock::now()) {
                        tracing::warn!(%error, "the control socket cannot accept clients");
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

/// Clients come and go as they like; it is never the operator's concern.
fn tell_end(ended: io::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a client of the control socket has left");
    }
}

/// Says that there is no place.
fn turn_away(client: &UnixStream) {
    let text = format!("{MOST_CLIENTS} clients talk to porchd already; try again");
    let line = Heard::Answer(Answer::Refused(text)).to_line();
    // Nothing was written yet, so it fits; and who does not get it sees the end.
    let _ = client.try_write(line.as_bytes());
}

/// Clients at once. Only root and one group can come, so this is against scripts that went wild.
const MOST_CLIENTS: usize = 64;
/// Between two warnings that accepting fails.
const TELL_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::runtime::{Builder, LocalOptions};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::acme::status::{CertificateStatus, Source, State};
    use crate::admin::protocol::{LONGEST_QUESTION, Which};

    /// A server, and the supervisor that it asks.
    struct Scene {
        folder: PathBuf,
        server: Option<Server>,
        asks: UnboundedReceiver<Ask>,
    }

    /// Plays `scene` on a runtime as the control thread has one. `paused`: time passes when all wait.
    fn play(paused: bool, scene: impl AsyncFnOnce(&mut Scene)) {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(paused).build_local(LocalOptions::default()).unwrap();
        runtime.block_on(async {
            let folder = std::env::temp_dir().join(format!("porchd-admin-{:x}", clock::random()));
            std::fs::create_dir(&folder).unwrap();
            let (asked, asks) = unbounded_channel();
            let listener = SystemListener::bind(folder.join("s")).unwrap();
            let mut set = Scene { folder, server: Some(serve(listener, asked)), asks };
            scene(&mut set).await;
            std::fs::remove_dir_all(&set.folder).unwrap();
        });
    }

    impl Scene {
        async fn client(&self) -> UnixStream {
            UnixStream::connect(self.folder.join("s")).await.unwrap()
        }

        /// A client that has said `text`.
        async fn says(&self, text: &str) -> UnixStream {
            let mut client = self.client().await;
            client.write_all(text.as_bytes()).await.unwrap();
            client
        }

        /// The supervisor answers the next question with a line.
        async fn answers(&mut self, line: &str) -> Question {
            let Ask { question, reply } = self.asks.recv().await.unwrap();
            reply.send(done(line)).unwrap();
            question
        }

        /// The server still does what it is there for.
        async fn is_well(&mut self) {
            let mut client = self.says(RELOAD).await;
            assert_eq!(self.answers("well").await, Question::Reload);
            assert_eq!(answer(&mut client).await, done("well"));
        }
    }

    const RELOAD: &str = "{\"version\":1,\"do\":\"reload\"}\n";

    fn done(line: &str) -> Answer {
        Answer::Done { lines: vec![line.to_owned()], warnings: Vec::new() }
    }

    /// The next line.
    async fn hears(client: &mut UnixStream) -> Heard {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            assert_eq!(client.read(&mut byte).await.unwrap(), 1, "the end, after {line:?}");
            line.push(byte[0]);
        }
        Heard::of_line(&line).unwrap()
    }

    /// The next answer.
    async fn answer(client: &mut UnixStream) -> Answer {
        loop {
            if let Heard::Answer(answer) = hears(client).await {
                return answer;
            }
        }
    }

    /// All lines up to the end, which must be an orderly one or what a peer leaves that had not read all.
    async fn hears_all(client: &mut UnixStream) -> Vec<Heard> {
        let mut text = Vec::new();
        let _ = client.read_to_end(&mut text).await;
        text.split_inclusive(|byte| *byte == b'\n').map(|line| Heard::of_line(line).unwrap()).collect()
    }

    /// Why it was refused, if that is all that was heard.
    async fn refused(client: &mut UnixStream) -> String {
        match hears_all(client).await.as_slice() {
            [Heard::Answer(Answer::Refused(text))] => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn questions_of_one_client_are_answered_in_turn() {
        play(false, async |scene| {
            let all = Question::Renew { which: Which::All, wait: true };
            let mut client = scene.says(&(RELOAD.to_owned() + &all.to_line())).await;
            for (question, line) in [(Question::Reload, "one"), (all, "two")] {
                assert_eq!(scene.answers(line).await, question);
                assert_eq!(hears(&mut client).await, Heard::Answer(done(line)));
            }
        });
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        play(false, async |scene| {
            let mut client = scene.client().await;
            for piece in RELOAD.as_bytes().chunks(7) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            scene.answers("whole").await;
            assert_eq!(hears(&mut client).await, Heard::Answer(done("whole")));
        });
    }

    #[test]
    fn garbage_is_refused_and_harms_nobody() {
        play(false, async |scene| {
            for (text, part) in [
                ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "control protocol"),
                ("\n", "control protocol"),
                ("\u{0}\u{1}\u{2}\n", "control protocol"),
                ("{\"version\":1,\"do\":\"dance\"}\n{\"version\":1,\"do\":\"reload\"}\n", "`dance`"),
                ("{\"version\":2,\"do\":\"reload\"}\n", "newer than the porchd that runs; restart"),
                ("{\"version\":0,\"do\":\"reload\"}\n", "belongs to the porchd that runs"),
            ] {
                let text = refused(&mut scene.says(text).await).await;
                assert!(text.contains(part), "{text}");
            }
            assert!(scene.asks.try_recv().is_err(), "none of it was a question");
            scene.is_well().await;
        });
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        play(false, async |scene| {
            let mut client = scene.client().await;
            client.write_all(b"\xff\xfe{\n").await.unwrap();
            assert!(refused(&mut client).await.contains("control protocol"));
        });
    }

    #[test]
    fn a_line_may_be_long_but_not_endless() {
        play(false, async |scene| {
            let empty = Question::Renew { which: Which::Name(String::new()), wait: false }.to_line().len();
            let name = |length: usize| Which::Name("x".repeat(length - empty));
            for (length, taken) in [(LONGEST_QUESTION, true), (LONGEST_QUESTION + 1, false)] {
                let question = Question::Renew { which: name(length), wait: false };
                let mut client = scene.says(&question.to_line()).await;
                if taken {
                    assert_eq!(scene.answers("long").await, question);
                    assert_eq!(hears(&mut client).await, Heard::Answer(done("long")));
                } else {
                    assert!(refused(&mut client).await.contains("more than 65536 bytes"));
                }
            }
            scene.is_well().await;
        });
    }

    #[test]
    fn half_a_line_is_not_obeyed() {
        play(false, async |scene| {
            let mut client = scene.says(RELOAD.trim_end()).await;
            client.shutdown().await.unwrap();
            assert!(refused(&mut client).await.contains("half a line"));
            drop(scene.says("{\"version\":1,").await);
            drop(scene.client().await);
            scene.is_well().await;
            assert!(scene.asks.try_recv().is_err());
        });
    }

    #[test]
    fn a_client_that_only_writes_its_question_gets_its_answer() {
        // As `printf ... | nc -NU` does.
        play(false, async |scene| {
            let mut client = scene.says(RELOAD).await;
            client.shutdown().await.unwrap();
            scene.answers("one").await;
            assert_eq!(hears_all(&mut client).await, [Heard::Answer(done("one"))]);
        });
    }

    #[test]
    fn a_client_that_hangs_is_dropped() {
        for text in ["", "{\"version\":1,", "{\"version\":1,\"do\":\"reload\"}"] {
            play(true, async |scene| {
                let begun = clock::now();
                let mut hangs = scene.says(text).await;
                assert!(refused(&mut hangs).await.contains("within 10 s"), "{text}");
                let waited = clock::now() - begun;
                assert!(waited >= Duration::from_secs(10) && waited < Duration::from_secs(21), "{waited:?}");
                scene.is_well().await;
            });
        }
    }

    #[test]
    fn a_client_that_does_not_read_is_dropped() {
        play(true, async |scene| {
            let mut client = scene.says(RELOAD).await;
            let Ask { reply, .. } = scene.asks.recv().await.unwrap();
            let status = CertificateStatus {
                name: "x".repeat(4 * 1024 * 1024),
                state: State::Valid,
                source: Source::File,
                names: Vec::new(),
                left_out: Vec::new(),
                issuer: None,
                from: None,
                to: None,
                next: None,
                last_error: None,
            };
            reply.send(Answer::Certificates(vec![status])).unwrap();
            scene.is_well().await;
            tokio::time::sleep(Duration::from_secs(21)).await;
            let mut heard = Vec::new();
            let _ = client.read_to_end(&mut heard).await;
            assert!(heard.len() < 4 * 1024 * 1024 && heard.last() != Some(&b'\n'), "{}", heard.len());
        });
    }

    #[test]
    fn many_clients_are_answered_at_once_and_too_many_told() {
        play(false, async |scene| {
            let mut clients = Vec::new();
            let mut replies = Vec::new();
            for _ in 0..MOST_CLIENTS {
                clients.push(scene.says(RELOAD).await);
                replies.push(scene.asks.recv().await.unwrap().reply);
            }
            assert!(clients.len() >= 50);
            for _ in 0..3 {
                let text = refused(&mut scene.says(RELOAD).await).await;
                assert!(text.contains("64 clients"), "{text}");
            }
            // The last one first: nobody waits for another.
            for (at, reply) in replies.into_iter().enumerate().rev() {
                reply.send(done(&at.to_string())).unwrap();
                assert_eq!(hears(&mut clients[at]).await, Heard::Answer(done(&at.to_string())));
            }
            // Places are free again when their clients have gone, which the server must see first.
            drop(clients);
            for _ in 0..MOST_CLIENTS {
                tokio::task::yield_now().await;
            }
            scene.is_well().await;
        });
    }

    #[test]
    fn a_client_that_waits_hears_signs_of_work() {
        play(true, async |scene| {
            let mut client = scene.says(RELOAD).await;
            let Ask { reply, .. } = scene.asks.recv().await.unwrap();
            let begun = clock::now();
            for _ in 0..90 {
                assert_eq!(hears(&mut client).await, Heard::Working);
            }
            let waited = (clock::now() - begun).as_secs();
            assert!((880..=920).contains(&waited), "{waited} s");
            reply.send(done("late")).unwrap();
            assert_eq!(answer(&mut client).await, done("late"));
        });
    }

    #[test]
    fn a_client_that_is_gone_is_not_waited_for() {
        play(true, async |scene| {
            let client = scene.says(RELOAD).await;
            let Ask { mut reply, .. } = scene.asks.recv().await.unwrap();
            drop(client);
            reply.closed().await;
            // It may as well be answered: whoever does it need not look.
            let client = scene.says(RELOAD).await;
            let Ask { reply, .. } = scene.asks.recv().await.unwrap();
            drop(client);
            let _ = reply.send(done("to nobody"));
            scene.is_well().await;
        });
    }

    #[test]
    fn a_dropped_server_ends_only_what_was_not_accepted() {
        play(false, async |scene| {
            let mut client = scene.says(RELOAD).await;
            let Ask { reply, .. } = scene.asks.recv().await.unwrap();
            scene.server = None;
            let path = scene.folder.join("s");
            while UnixStream::connect(&path).await.is_ok() {
                tokio::task::yield_now().await;
            }
            assert!(path.exists(), "the path is not its own");
            reply.send(done("the socket has moved")).unwrap();
            assert_eq!(hears(&mut client).await, Heard::Answer(done("the socket has moved")));
            std::fs::remove_file(&path).unwrap();
            let (asked, asks) = unbounded_channel();
            scene.asks = asks;
            scene.server = Some(serve(SystemListener::bind(&path).unwrap(), asked));
            scene.is_well().await;
        });
    }

    #[test]
    fn nobody_waits_for_a_supervisor_that_is_gone() {
        play(false, async |scene| {
            let mut waits = scene.says(RELOAD).await;
            drop(scene.asks.recv().await.unwrap());
            assert_eq!(hears(&mut waits).await, Heard::Answer(Answer::Refused("porchd is stopping".into())));
            scene.asks.close();
            let mut late = scene.says(RELOAD).await;
            assert_eq!(hears(&mut late).await, Heard::Answer(Answer::Refused("porchd is stopping".into())));
        });
    }
}
