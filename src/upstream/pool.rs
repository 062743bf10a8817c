//! The client of a serving thread: sends requests to groups, over connections that it keeps.
//!
//! It joins the parts: `select` chooses, `lane` and `dial` give a connection, `exchange` sends, `retry`
//! says what next. `Pools` is of one thread (`!Send`), and each thread has one.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
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
use super::health::ProbeFailure;
use super::journey::{Attempts, Held, Journey, Unsent, Waited};
use super::lane::{Lane, NoConnection};
use super::lot::Stay;
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
    /// What goes after it.
    pub load: Load<B>,
    /// Whether it may be sent again when it was sent and no byte of an answer came.
    pub replay: bool,
    /// Until the answer's head, from the last progress of the request.
    pub head_timeout: Duration,
    /// Whether it asks for an upgrade: 101 is then an answer.
    pub wants_upgrade: bool,
    /// How it may wait while the group is away; `None`: not at all.
    pub stay: Option<Stay>,
}

/// What goes after a request's head.
#[derive(Debug)]
pub enum Load<B> {
    /// A body, and what the head says of it; never polled for `Framing::None`.
    Fresh(Framing, B),
    /// What is left of a request that was recalled.
    Held(Box<Held<B>>),
}

/// The outcome of [`Pools::send`].
pub type Sent<B> = Result<Response<AnswerBody<B>>, Unsent<B>>;

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
    /// A request that was not sent waits in the group's lot if `call.stay` allows, else it is tried again while
    /// the group's connect budget lasts; what was sent and not answered goes again once if `call.replay`
    /// allows. Dropping the future, or the answer's body before its end, closes the connection.
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
        let (upload, journey) = match call.load {
            Load::Fresh(framing, body) => {
                let budget = group.def().connect_timeout;
                let journey = Journey::new(call.stay, budget, crate::clock::now());
                (Box::new(Upload::new(call.head, framing, body, call.replay)), journey)
            }
            Load::Held(held) => {
                let Held { mut upload, journey } = *held;
                upload.rehead(call.head);
                (upload, journey)
            }
        };
        async move {
            let mut journey = journey;
            let sent = team.send(upload, job, &mut journey).await;
            match sent {
                Ok(answer) => (Ok(answer), journey.attempts),
                Err(Stopped::Failed(error)) => (Err(journey.failure(error)), journey.attempts),
                Err(Stopped::Recalled(upload)) => {
                    let attempts = journey.attempts.clone();
                    (Err(Unsent::Recalled(Box::new(Held { upload, journey }))), attempts)
                }
            }
        }
    }

    /// Whether the way to a backend was cut and is open again since the last look. Requests that wait for an
    /// answer must look at it then: they are to be polled.
    pub fn notice_cuts(&self) -> bool {
        self.inner.borrow().lanes.iter().fold(false, |cut, lane| lane.notice_cut() | cut)
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

/// A request that is not sent on.
enum Stopped<B: Body> {
    Failed(SendError<B::Error>),
    Recalled(Box<Upload<B>>),
}

impl Team {
    async fn send<B>(
        &self,
        mut upload: Box<Upload<B>>,
        job: Job,
        journey: &mut Journey,
    ) -> Result<Response<AnswerBody<B>>, Stopped<B>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut now = crate::clock::now();
        let mut last = SendError { progress: Progress::NotSent, cause: Cause::Down };
        loop {
            let (mut choice, mut kept) = (None, None);
            if !journey.must_queue(self.group.lot()) {
                choice = self.choose(&journey.course, now);
                if let Some(index) = choice.filter(|_| !journey.course.needs_fresh()) {
                    kept = self.lanes[index].take(!job.replay, now);
                }
            }
            match journey.course.next(choice.map(|index| (index, kept.is_some())), now) {
                Step::GiveUp => {
                    journey.given_up(now);
                    return Err(Stopped::Failed(last));
                }
                Step::WaitUntil(at) => self.wait(at, &last).await,
                Step::Park => {
                    // Boxed: few requests ever wait here.
                    let (lot, absence) = (self.group.lot(), self.absence());
                    match Box::pin(journey.wait(lot, upload.held(), absence, now)).await {
                        Waited::Turn => {}
                        Waited::Recalled => return Err(Stopped::Recalled(upload)),
                        Waited::Expired => return Err(Stopped::Failed(last)),
                        Waited::Full(full) => {
                            return Err(Stopped::Failed(SendError { cause: Cause::Full(full), ..last }));
                        }
                    }
                }
                Step::TryPooled(index) | Step::Connect(index) => {
                    journey.attempts.count += 1;
                    journey.attempts.backend = Some(index);
                    match self.attempt(index, kept, upload, job, journey, now).await {
                        Ok(answer) => return Ok(answer),
                        Err(miss) => {
                            upload = miss.upload;
                            journey.course.failed(index, miss.how, crate::clock::now());
                            journey.attempts.replayed = journey.course.is_replayed();
                            journey.progress = journey.progress.max(miss.error.progress);
                            last = miss.error;
                        }
                    }
                }
            }
            now = crate::clock::now();
        }
    }

    /// Why no backend can be tried, as far as this thread knows.
    fn absence(&self) -> Option<ProbeFailure> {
        let known = self.lanes.iter().find_map(|lane| lane.evidence());
        known.or(Some(ProbeFailure::ConnectTimeout))
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
            if ready { Poll::Ready(()) } else { Poll::Pending }
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
        journey: &mut Journey,
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
            None => match Box::pin(lane.open(self.dial_deadline(index, journey, now))).await {
                Ok(conn) => {
                    now = crate::clock::now();
                    conn
                }
                Err(without) => {
                    let (how, cause) = match without {
                        NoConnection::Busy => (Failed::Busy, Cause::Busy),
                        NoConnection::Dial(error) => {
                            journey.found(error.evidence());
                            let here = error.evidence().is_none();
                            let how = if here { Failed::Busy } else { Failed::NotSent { pooled } };
                            (how, Cause::Dial(error))
                        }
                    };
                    let error = SendError { progress: Progress::NotSent, cause };
                    return Err(Miss { upload, how, error });
                }
            },
        };
        journey.delivered(now);
        if !pooled {
            self.group.lot().returns(now);
        }
        let counts = self.group.def().balance == Balance::LeastConnections;
        let request = counts.then(|| Counted::request(lane.backend()));
        let mut exchange = Exchange::new(conn, upload, job.asked, job.head_timeout, now);
        let again = job.replay && !journey.course.is_replayed();
        let head = poll_fn(|cx| match exchange.poll_head(cx) {
            Poll::Pending if again && exchange.is_cut_off(lane.backend()) => Poll::Ready(Err(Cause::CutOff)),
            other => other,
        });
        match head.await {
            Ok(head) => {
                if !head.status.is_server_error() {
                    lane.backend().saw_answer(crate::clock::now());
                }
                let home = Home { lane: Rc::clone(lane), keeps_open: head.keeps_open, request };
                Ok(answer::response(head, exchange, home))
            }
            Err(cause) => {
                if matches!(cause, Cause::CutOff) {
                    journey.was_cut_off();
                }
                Err(miss(lane, pooled, job.replay, exchange, cause))
            }
        }
    }

    /// Until when a connection must stand. Where others wait in the lot for what comes of it, no longer than
    /// usual; and half of the time is left for another backend, if there is one to try.
    fn dial_deadline(&self, index: usize, journey: &Journey, now: Instant) -> Instant {
        let left = if journey.parks() {
            self.lanes[index].backend().patience(self.group.def().connect_timeout)
        } else {
            journey.course.deadline().saturating_duration_since(now)
        };
        let others = self.lanes.len() > 1 && journey.course.tried().is_empty();
        if others { now + left / 2 } else { now + left }
    }
}

/// Judges an exchange that failed.
fn miss<B>(lane: &Lane, pooled: bool, replay: bool, exchange: Exchange<B>, cause: Cause<B::Error>) -> Miss<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    let progress = exchange.progress();
    let mut upload = exchange.into_upload();
    let broke = matches!(cause, Cause::Closed | Cause::Io(_) | Cause::CutOff);
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
    if matches!(cause, Cause::CutOff) {
        // It says nothing of the backend that is not known.
    } else if broke && pooled {
        lane.was_stale(crate::clock::now());
    } else if how != Failed::Final {
        lane.backend().saw_failure();
    }
    Miss { upload, how, error: SendError { progress, cause } }
}

#[cfg(test)]
mod parked_tests;
#[cfg(test)]
mod tests;
