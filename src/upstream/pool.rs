//! The client of a serving thread: sends requests to groups, over connections that it keeps.
//!
//! It joins the parts: `select` chooses, `lane` and `dial` give a connection, `exchange` sends, `retry`
//! says what next. `Pools` is of one thread (`!Send`), and each thread has one.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Response};
use http_body::Body;

use crate::config::model::Balance;

use super::answer::{self, AnswerBody, Home};
use super::backend::Counted;
use super::codec::framing::Asked;
use super::error::{Cause, Progress, SendError};
use super::exchange::{Conn, Exchange};
use super::group::Group;
use super::lane::{Lane, NoConnection};
use super::retry::{Course, Failed, Step};
use super::select::{Candidate, Selector};
use super::upload::{Framing, Upload};

/// A request to send.
#[derive(Debug)]
pub struct Call<'a, B> {
    /// Its method: an answer to HEAD has no body.
    pub method: &'a Method,
    /// The complete HTTP/1.1 head, framing lines and empty line included.
    pub head: Vec<u8>,
    /// What the head says of the body.
    pub framing: Framing,
    /// The body; never polled for `Framing::None`.
    pub body: B,
    /// Whether it may be sent again when it was sent and no byte of an answer came.
    pub replay: bool,
    /// Until the answer's head, from the last progress of the request.
    pub head_timeout: Duration,
    /// Whether it asks for an upgrade: 101 is then an answer.
    pub wants_upgrade: bool,
}

/// What was tried for a request.
#[derive(Debug, Clone, Default)]
pub struct Attempts {
    /// How often it was tried: connections asked for, kept or new.
    pub count: u32,
    /// The backend that was tried last, by its place in the group.
    pub backend: Option<usize>,
    /// Whether it was sent a second time.
    pub replayed: bool,
}

/// The outcome of [`Pools::send`].
pub type Sent<B> = Result<Response<AnswerBody<B>>, SendError<<B as Body>::Error>>;

/// The pools of one thread. Clones are the same pools.
#[derive(Debug, Clone, Default)]
pub struct Pools {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    teams: Vec<Rc<Team>>,
    lanes: Vec<Rc<Lane>>,
}

/// A group as one thread sees it.
#[derive(Debug)]
struct Team {
    group: Arc<Group>,
    lanes: Vec<Rc<Lane>>,
    turn: RefCell<Turn>,
}

#[derive(Debug, Default)]
struct Turn {
    selector: Selector,
    candidates: Vec<Candidate>,
}

/// What stays the same over a request's attempts.
#[derive(Clone, Copy)]
struct Job {
    asked: Asked,
    replay: bool,
    head_timeout: Duration,
}

/// A failed attempt: the request, for another one, and what went wrong.
struct Miss<B: Body> {
    upload: Box<Upload<B>>,
    how: Failed,
    error: SendError<B::Error>,
}

impl Pools {
    /// Pools without connections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a request to a backend of `group` and waits for the head of its answer.
    ///
    /// While the group's connect budget lasts, a request that was not sent is tried again; what was sent
    /// and not answered goes again once if `call.replay` allows. Dropping the future, or the answer's
    /// body before its end, closes the connection.
    pub fn send<B>(
        &self,
        group: &Arc<Group>,
        call: Call<'_, B>,
    ) -> impl Future<Output = (Sent<B>, Attempts)> + use<B>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let team = self.team(group);
        let job = Job {
            asked: Asked { head: call.method == Method::HEAD, upgrade: call.wants_upgrade },
            replay: call.replay,
            head_timeout: call.head_timeout,
        };
        // Boxed, and made before the future: that one is held by every request that waits for home.
        let upload = Box::new(Upload::new(call.head, call.framing, call.body, call.replay));
        async move {
            let mut attempts = Attempts::default();
            let sent = team.send(upload, job, &mut attempts).await;
            (sent, attempts)
        }
    }

    /// Closes connections that idled too long or that backends closed; once a second is right.
    pub fn sweep(&self, now: Instant) {
        self.inner.borrow().lanes.iter().for_each(|lane| lane.sweep(now));
    }

    /// Forgets what is not of `groups`, the ones of a new configuration. Requests in flight go on; their
    /// connections are closed after them.
    pub fn retain(&self, groups: &[Arc<Group>]) {
        let mut inner = self.inner.borrow_mut();
        inner.teams.retain(|team| groups.iter().any(|group| group.id() == team.group.id()));
        inner.lanes.retain(|lane| {
            let stays =
                groups.iter().flat_map(|group| group.backends()).any(|one| one.id() == lane.backend().id());
            if !stays {
                lane.close();
            }
            stays
        });
    }

    /// How many connections are kept for reuse.
    pub fn kept(&self) -> usize {
        self.inner.borrow().lanes.iter().map(|lane| lane.kept()).sum()
    }

    fn team(&self, group: &Arc<Group>) -> Rc<Team> {
        let mut inner = self.inner.borrow_mut();
        // Groups are few: a walk beats a hash.
        if let Some(team) = inner.teams.iter().find(|team| team.group.id() == group.id()) {
            return Rc::clone(team);
        }
        let lanes = (0..group.backends().len()).map(|index| inner.lane(group, index)).collect();
        let team = Rc::new(Team { group: Arc::clone(group), lanes, turn: RefCell::default() });
        inner.teams.push(Rc::clone(&team));
        team
    }
}

impl Inner {
    /// The lane of a backend; a backend that a reload carried over keeps its own.
    fn lane(&mut self, group: &Group, index: usize) -> Rc<Lane> {
        let backend = &group.backends()[index];
        let known = self.lanes.iter().find(|lane| lane.backend().id() == backend.id());
        let lane = known.map(Rc::clone).unwrap_or_else(|| {
            let lane = Rc::new(Lane::new(Arc::clone(backend)));
            self.lanes.push(Rc::clone(&lane));
            lane
        });
        lane.set(group.def().idle_timeout, group.def().backends[index].max_connections);
        lane
    }
}

impl Team {
    async fn send<B>(&self, mut upload: Box<Upload<B>>, job: Job, attempts: &mut Attempts) -> Sent<B>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut now = crate::clock::now();
        let mut course = Course::new(now, self.group.def().connect_timeout);
        let mut last = SendError { progress: Progress::NotSent, cause: Cause::Down };
        loop {
            let choice = self.choose(&course, now);
            let mut kept = None;
            if let Some(index) = choice.filter(|_| !course.needs_fresh()) {
                kept = self.lanes[index].take(!job.replay, now);
            }
            match course.next(choice.map(|index| (index, kept.is_some())), now) {
                Step::GiveUp => return Err(last),
                Step::WaitUntil(at) => self.wait(at, &last).await,
                Step::TryPooled(index) | Step::Connect(index) => {
                    attempts.count += 1;
                    attempts.backend = Some(index);
                    match self.attempt(index, kept, upload, job, &course, now).await {
                        Ok(answer) => return Ok(answer),
                        Err(miss) => {
                            upload = miss.upload;
                            course.failed(index, miss.how, crate::clock::now());
                            attempts.replayed = course.is_replayed();
                            // A replay that could not be sent does not undo what was sent before.
                            let progress = last.progress.max(miss.error.progress);
                            last = SendError { progress, ..miss.error };
                        }
                    }
                }
            }
            now = crate::clock::now();
        }
    }

    /// A usable backend that this request has not just failed to reach.
    fn choose(&self, course: &Course, now: Instant) -> Option<usize> {
        let mut without = course.tried();
        for (index, lane) in self.lanes.iter().enumerate() {
            if lane.is_let_be(now) {
                without.insert(index);
            }
        }
        let turn = &mut *self.turn.borrow_mut();
        turn.candidates.clear();
        turn.candidates.extend((0..self.lanes.len()).map(|index| self.group.candidate(index)));
        turn.selector.pick(self.group.def().balance, &turn.candidates, without)
    }

    /// Waits until `at`, or until a place is free where that was the trouble.
    async fn wait<E>(&self, at: Instant, last: &SendError<E>) {
        let pause = tokio::time::sleep_until(at.into());
        if !matches!(last.cause, Cause::Busy) {
            return pause.await;
        }
        let mut freed: Vec<_> = self.lanes.iter().map(|lane| Box::pin(lane.freed())).collect();
        let any = poll_fn(|cx| {
            let ready = freed.iter_mut().any(|freed| freed.as_mut().poll(cx).is_ready());
            if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        });
        tokio::select! {
            () = pause => {}
            () = any => {}
        }
    }

    /// Sends the request to one backend.
    async fn attempt<B>(
        &self,
        index: usize,
        kept: Option<Conn>,
        upload: Box<Upload<B>>,
        job: Job,
        course: &Course,
        mut now: Instant,
    ) -> Result<Response<AnswerBody<B>>, Miss<B>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let lane = &self.lanes[index];
        let pooled = kept.is_some();
        let conn = match kept {
            Some(conn) => conn,
            // Boxed: a handshake's state is large, and seldom needed.
            None => match Box::pin(lane.open(self.dial_deadline(course, now))).await {
                Ok(conn) => {
                    now = crate::clock::now();
                    conn
                }
                Err(without) => {
                    let (how, cause) = match without {
                        NoConnection::Busy => (Failed::Busy, Cause::Busy),
                        NoConnection::Dial(error) => (Failed::NotSent { pooled }, Cause::Dial(error)),
                    };
                    let error = SendError { progress: Progress::NotSent, cause };
                    return Err(Miss { upload, how, error });
                }
            },
        };
        let counts = self.group.def().balance == Balance::LeastConnections;
        let request = counts.then(|| Counted::request(lane.backend()));
        let mut exchange = Exchange::new(conn, upload, job.asked, job.head_timeout, now);
        match poll_fn(|cx| exchange.poll_head(cx)).await {
            Ok(head) => {
                if !head.status.is_server_error() {
                    lane.backend().saw_answer(crate::clock::now());
                }
                let home = Home { lane: Rc::clone(lane), keeps_open: head.keeps_open, request };
                Ok(answer::response(head, exchange, home))
            }
            Err(cause) => Err(miss(lane, pooled, job.replay, exchange, cause)),
        }
    }

    /// Until when a connection must stand: half of the budget is left for another backend, if there is
    /// one to try.
    fn dial_deadline(&self, course: &Course, now: Instant) -> Instant {
        let left = course.deadline().saturating_duration_since(now);
        let others = self.lanes.len() > 1 && course.tried().is_empty();
        if others { now + left / 2 } else { course.deadline() }
    }
}

/// Judges an exchange that failed.
fn miss<B>(lane: &Lane, pooled: bool, replay: bool, exchange: Exchange<B>, cause: Cause<B::Error>) -> Miss<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    let progress = exchange.progress();
    let mut upload = exchange.into_upload();
    let broke = matches!(cause, Cause::Closed | Cause::Io(_));
    let again = broke && replay && upload.can_rewind();
    let how = match progress {
        _ if matches!(cause, Cause::RequestBody(_) | Cause::RequestLength) => Failed::Final,
        Progress::NotSent => Failed::NotSent { pooled },
        Progress::SentNoAnswer => Failed::SentNoAnswer { again },
        Progress::AnswerBegan => Failed::Final,
    };
    if how == (Failed::SentNoAnswer { again: true }) {
        upload.rewind();
    }
    if broke && pooled {
        lane.was_stale(crate::clock::now());
    } else if how != Failed::Final {
        lane.backend().saw_failure();
    }
    Miss { upload, how, error: SendError { progress, cause } }
}

#[cfg(test)]
mod tests {
    use super::super::dial::DialError;
    use super::super::fake::{self, Fake, error, fetch, get, put, read};
    use super::super::group;
    use super::super::health::Health;
    use super::*;
    use crate::config::model::BackendAddress;

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

    #[tokio::test]
    async fn connection_is_used_again() {
        let backend = Fake::start(|number, mut peer| async move {
            while peer.request().await.is_some() {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}")).await;
            }
        })
        .await;
        let (pools, group) = (Pools::new(), backend.group());
        for _ in 0..3 {
            assert_eq!(fetch(&pools, &group).await, (200, "0".to_owned()));
            assert_eq!(pools.kept(), 1);
        }
        assert_eq!(group.backends()[0].open(), 1);
    }

    #[tokio::test]
    async fn stale_connection_costs_a_replayable_request_nothing() {
        // Every connection answers once, and closes when it is asked again.
        let backend = Fake::start(|_, mut peer| async move {
            peer.request().await;
            peer.send(OK).await;
            peer.request().await;
        })
        .await;
        let (pools, group) = (Pools::new(), backend.group());
        assert_eq!(fetch(&pools, &group).await.0, 200);
        let (sent, attempts) = pools.send(&group, put(&Method::PUT, "body", true)).await;
        assert_eq!(read(sent).await, (200, "hi".to_owned()));
        assert!(attempts.replayed);
        assert_eq!(attempts.count, 2);
        assert_eq!(backend.count("PUT"), 2);
        assert!(backend.seen().iter().skip(1).all(|request| request.ends_with("\r\n\r\nbody")));
    }

    #[tokio::test]
    async fn post_is_never_sent_twice() {
        let backend = Fake::start(|_, mut peer| async move {
            peer.request().await;
        })
        .await;
        let (pools, group) = (Pools::new(), backend.group());
        let error = error(pools.send(&group, put(&Method::POST, "body", false)).await.0);
        assert_eq!(error.progress, Progress::SentNoAnswer);
        assert!(matches!(error.cause, Cause::Closed | Cause::Io(_)));
        assert_eq!(backend.count("POST"), 1);
    }

    #[tokio::test]
    async fn connection_that_the_backend_closed_is_not_used() {
        let backend = Fake::start(|_, mut peer| async move {
            peer.request().await;
            peer.send(OK).await;
        })
        .await;
        let (pools, group) = (Pools::new(), backend.group());
        for count in 1..4 {
            let (sent, attempts) = pools.send(&group, put(&Method::POST, "body", false)).await;
            assert_eq!(read(sent).await.0, 200);
            assert_eq!(attempts.count, 1);
            assert_eq!(backend.count("POST"), count);
            // The close is seen by the reactor, which gets its turn here.
            while group.backends()[0].open() > 0 {
                tokio::task::yield_now().await;
                pools.sweep(crate::clock::now());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn request_is_not_sent_while_the_backend_is_away_and_is_once_it_is_back() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        let group = fake::groups(&[fake::upstream(&[BackendAddress::Socket(addr)])]).remove(0);
        let error = error(Pools::new().send(&group, get(&Method::GET)).await.0);
        assert_eq!(error.progress, Progress::NotSent);
        assert!(matches!(error.cause, Cause::Dial(DialError::Refused(_))), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn backend_that_restarts_within_the_budget_costs_nothing() {
        // Reserved, not listening: connections are refused until the script starts.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = socket.local_addr().unwrap();
        let group = fake::groups(&[fake::upstream(&[BackendAddress::Socket(addr)])]).remove(0);
        let pools = Pools::new();
        let start = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let listener = socket.listen(8).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, OK.as_bytes()).await.unwrap();
            listener
        };
        let ((sent, attempts), _listener) =
            tokio::join!(pools.send(&group, put(&Method::POST, "body", false)), start);
        assert_eq!(read(sent).await.0, 200);
        assert!(!attempts.replayed && attempts.count > 10);
    }

    #[tokio::test(start_paused = true)]
    async fn request_waits_for_a_backend_that_is_down_and_is_told_when_none_comes_up() {
        let backend = Fake::answering(OK).await;
        let (pools, group) = (Pools::new(), backend.group());
        group.backends()[0].publish(Health::Down);
        let (sent, attempts) = pools.send(&group, get(&Method::GET)).await;
        assert!(matches!(error(sent), SendError { progress: Progress::NotSent, cause: Cause::Down }));
        assert_eq!(attempts.count, 0);
        let up = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            group.backends()[0].publish(Health::Up);
        };
        let (fetched, ()) = tokio::join!(fetch(&pools, &group), up);
        assert_eq!(fetched.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn head_timeout_is_not_replayed() {
        let backend = Fake::start(|_, mut peer| async move {
            peer.request().await;
            peer.closed().await;
        })
        .await;
        let (pools, group) = (Pools::new(), backend.group());
        let start = crate::clock::now();
        let error = error(pools.send(&group, get(&Method::GET)).await.0);
        assert!(matches!(error, SendError { progress: Progress::SentNoAnswer, cause: Cause::HeadTimeout }));
        let took = crate::clock::now() - start;
        assert!(took >= Duration::from_secs(60) && took < Duration::from_secs(61), "{took:?}");
        assert_eq!(backend.count("GET"), 1);
        assert_eq!(group.backends()[0].open(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn head_timeout_does_not_run_while_the_client_is_awaited() {
        let backend = Fake::answering(OK).await;
        let group = backend.group();
        let (feed, body) = fake::fed();
        let feeding = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                feed.send(Ok(http_body::Frame::data("x".into()))).unwrap();
            }
            drop(feed);
        };
        let pools = Pools::new();
        let ((sent, _), ()) = tokio::join!(pools.send(&group, fake::stream(&Method::POST, body)), feeding);
        assert_eq!(read(sent).await.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn long_poll_whose_backend_restarts_gets_a_whole_budget_again() {
        let backend = Fake::start(|number, mut peer| async move {
            peer.request().await;
            if number == 0 {
                tokio::time::sleep(Duration::from_secs(40)).await;
            } else {
                peer.send(OK).await;
            }
        })
        .await;
        let (pools, group) = (Pools::new(), backend.group());
        let (sent, attempts) = pools.send(&group, get(&Method::GET)).await;
        assert_eq!(read(sent).await.0, 200);
        assert!(attempts.replayed);
    }

    #[tokio::test]
    async fn other_backend_is_tried_when_one_refuses() {
        let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let backend = Fake::answering(OK).await;
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            let mut def =
                fake::upstream(&[BackendAddress::Socket(dead), BackendAddress::Socket(backend.addr)]);
            def.balance = balance;
            let group = fake::groups(&[def]).remove(0);
            let pools = Pools::new();
            for _ in 0..4 {
                assert_eq!(fetch(&pools, &group).await.0, 200);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_beyond_the_most_connections_wait_their_turn() {
        let backend = Fake::start(|_, mut peer| async move {
            while peer.request().await.is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                peer.send(OK).await;
            }
        })
        .await;
        let mut def = fake::upstream(&[BackendAddress::Socket(backend.addr)]);
        def.backends[0].max_connections = Some(1);
        let group = fake::groups(&[def]).remove(0);
        let pools = Pools::new();
        let start = crate::clock::now();
        let all = tokio::join!(fetch(&pools, &group), fetch(&pools, &group), fetch(&pools, &group));
        assert_eq!((all.0.0, all.1.0, all.2.0), (200, 200, 200));
        assert_eq!(group.backends()[0].open(), 1);
        // Woken when the connection was given back, not by looking again.
        assert!(crate::clock::now() - start < Duration::from_millis(90));
    }

    #[tokio::test(start_paused = true)]
    async fn busy_backend_is_told_after_the_budget() {
        let backend = Fake::start(|_, mut peer| async move { peer.closed().await }).await;
        let mut def = fake::upstream(&[BackendAddress::Socket(backend.addr)]);
        def.backends[0].max_connections = Some(1);
        let group = fake::groups(&[def]).remove(0);
        let (one, other) = (Pools::new(), Pools::new());
        let (hangs, busy) = (one.send(&group, get(&Method::GET)), other.send(&group, get(&Method::GET)));
        let (_, (sent, _)) = tokio::join!(hangs, busy);
        assert!(matches!(error(sent), SendError { progress: Progress::NotSent, cause: Cause::Busy }));
    }

    #[tokio::test(start_paused = true)]
    async fn post_avoids_connections_that_have_idled() {
        let backend = Fake::answering(OK).await;
        let (pools, group) = (Pools::new(), backend.group());
        for (idle, kept) in [(0, 1), (500, 1), (1500, 2), (500, 2)] {
            tokio::time::sleep(Duration::from_millis(idle)).await;
            assert_eq!(read(pools.send(&group, put(&Method::POST, "body", false)).await.0).await.0, 200);
            assert_eq!(pools.kept(), kept, "after {idle} ms");
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        fetch(&pools, &group).await;
        assert_eq!(pools.kept(), 2);
    }

    #[tokio::test]
    async fn post_avoids_kept_connections_of_a_backend_that_closes_them_on_requests() {
        let backend = Fake::start(|_, mut peer| async move {
            peer.request().await;
            peer.send(OK).await;
            peer.head().await;
        })
        .await;
        let (pools, group) = (Pools::new(), backend.group());
        fetch(&pools, &group).await;
        fetch(&pools, &group).await;
        for _ in 0..5 {
            let (sent, attempts) = pools.send(&group, put(&Method::POST, "body", false)).await;
            assert_eq!(read(sent).await.0, 200);
            assert_eq!(attempts.count, 1);
        }
        assert_eq!(backend.count("POST"), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn sweep_closes_what_idled_too_long() {
        let backend = Fake::answering(OK).await;
        let (pools, group) = (Pools::new(), backend.group());
        fetch(&pools, &group).await;
        pools.sweep(crate::clock::now() + Duration::from_secs(24));
        assert_eq!(pools.kept(), 1);
        pools.sweep(crate::clock::now() + Duration::from_secs(25));
        assert_eq!((pools.kept(), group.backends()[0].open()), (0, 0));
    }

    #[tokio::test]
    async fn reload_keeps_connections_of_backends_that_stay() {
        let (stays, goes) = (Fake::answering(OK).await, Fake::answering(OK).await);
        let mut def =
            fake::upstream(&[BackendAddress::Socket(stays.addr), BackendAddress::Socket(goes.addr)]);
        let old = fake::groups(std::slice::from_ref(&def));
        let pools = Pools::new();
        fetch(&pools, &old[0]).await;
        fetch(&pools, &old[0]).await;
        assert_eq!(pools.kept(), 2);
        def.backends.pop();
        def.connect_timeout = Duration::from_secs(1);
        let new = group::build(&[def], &old, &mut |_| unreachable!()).unwrap();
        pools.retain(&new);
        assert_eq!(pools.kept(), 1);
        fetch(&pools, &new[0]).await;
        assert_eq!((pools.kept(), new[0].backends()[0].open()), (1, 1));
        assert_eq!(old[0].backends()[1].open(), 0);
    }

    #[tokio::test]
    async fn large_request_is_not_replayed() {
        let backend = Fake::start(|_, mut peer| async move {
            peer.request().await;
        })
        .await;
        let body: &'static str = "x".repeat(super::super::replay::MOST_A_REQUEST + 1).leak();
        let (sent, attempts) = Pools::new().send(&backend.group(), put(&Method::PUT, body, true)).await;
        assert_eq!(error(sent).progress, Progress::SentNoAnswer);
        assert_eq!((attempts.count, backend.count("PUT")), (1, 1));
    }

    #[tokio::test]
    async fn waiting_request_is_small() {
        let (pools, method) = (Pools::new(), Method::GET);
        let backend = Fake::answering(OK).await;
        let group = backend.group();
        let future = pools.send(&group, get(&method));
        assert!(std::mem::size_of_val(&future) < 2048, "{}", std::mem::size_of_val(&future));
        future.await.0.unwrap();
    }
}
