//! A group as one thread sees it: one request's way through its attempts and waits.
//!
//! It joins the parts: `select` chooses, `lane` and `dial` give a connection, `exchange` sends, `retry` says
//! what next, `journey` waits in the lot.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body::Body;

use crate::config::model::Balance;

use super::answer::{self, AnswerBody, Home};
use super::backend::Counted;
use super::codec::framing::Asked;
use super::error::{Cause, Progress, SendError};
use super::exchange::{Conn, Exchange};
use super::group::Group;
use super::health::ProbeFailure;
use super::journey::{Journey, Waited};
use super::lane::{Lane, NoConnection};
use super::retry::{Course, Failed, Step};
use super::select::{Candidate, Selector};
use super::upload::Upload;

/// A group as one thread sees it.
#[derive(Debug)]
pub(super) struct Team {
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
pub(super) struct Job {
    pub(super) asked: Asked,
    pub(super) replay: bool,
    pub(super) head_timeout: Duration,
    pub(super) piece: usize,
    pub(super) again: Option<fn(&mut Vec<u8>, Duration)>,
}

/// A failed attempt: the request, for another one, and what went wrong.
struct Miss<B: Body> {
    upload: Box<Upload<B>>,
    how: Failed,
    error: SendError<B::Error>,
}

/// A request that is not sent on.
pub(super) enum Stopped<B: Body> {
    Failed(SendError<B::Error>),
    Recalled(Box<Upload<B>>),
}

impl Team {
    /// A group over these lanes, one for each of its backends.
    pub(super) fn new(group: &Arc<Group>, lanes: Vec<Rc<Lane>>) -> Self {
        Self { group: Arc::clone(group), lanes, turn: RefCell::default() }
    }

    /// The group.
    pub(super) fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// Takes a request through its attempts and waits.
    pub(super) async fn send<B>(
        &self,
        mut upload: Box<Upload<B>>,
        job: &Job,
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
    fn absence(&self) -> ProbeFailure {
        let known = self.lanes.iter().find_map(|lane| lane.evidence());
        known.unwrap_or(ProbeFailure::ConnectTimeout)
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
        job: &Job,
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
                            journey.found(error.evidence(), now);
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
        let mut exchange = Exchange::new(conn, upload, job.asked, job.piece, job.head_timeout, now);
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
                let mut miss = miss(lane, pooled, job.replay, exchange, cause);
                if let (Failed::SentNoAnswer { again: true }, Some(change)) = (miss.how, job.again) {
                    let waited = crate::clock::now().saturating_duration_since(now);
                    miss.upload.change_head(|head| change(head, waited));
                }
                Err(miss)
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
    match cause {
        // It says nothing of the backend that is not known.
        Cause::CutOff => {}
        _ if broke && pooled => lane.was_stale(crate::clock::now()),
        _ if how != Failed::Final => lane.backend().saw_failure(),
        _ => {}
    }
    Miss { upload, how, error: SendError { progress, cause } }
}
