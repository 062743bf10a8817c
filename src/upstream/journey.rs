//! What a request takes along from attempt to attempt, and through its waits in the lot.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Body;

use super::error::{Progress, SendError};
use super::health::ProbeFailure;
use super::lot::{Lot, Stay, Ticket, Wake};
use super::parking::{Full, Guest};
use super::retry::Course;
use super::upload::{Framing, Upload};

/// What was tried for a request.
#[derive(Debug, Clone, Default)]
pub struct Attempts {
    /// How often it was tried: connections asked for, kept or new.
    pub count: u32,
    /// The backend that was tried last, by its place in the group.
    pub backend: Option<usize>,
    /// Whether it was sent a second time.
    pub replayed: bool,
    /// How long it waited in the lot.
    pub parked: Duration,
    /// What the upstream's absence was put down to, if it had to wait for it.
    pub cause: Option<ProbeFailure>,
}

/// A request that got no answer.
pub enum Unsent<B: Body> {
    /// It failed.
    Failed(SendError<B::Error>),
    /// It waited in the lot when the configuration changed: where it goes must be decided anew.
    Recalled(Box<Held<B>>),
}

/// A request that was held.
pub struct Held<B> {
    pub(super) upload: Box<Upload<B>>,
    pub(super) journey: Journey,
}

impl<B: Body<Data = Bytes> + Unpin> Held<B> {
    /// How its body is framed.
    pub fn framing(&self) -> Framing {
        self.upload.framing()
    }
}

impl<B: Body> fmt::Debug for Unsent<B>
where
    B::Error: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Recalled(held) => held.fmt(f),
        }
    }
}

impl<B> fmt::Debug for Held<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.journey.fmt(f)
    }
}

/// How a wait in the lot ended.
pub(super) enum Waited {
    /// It is the request's turn.
    Turn,
    /// The configuration is another one.
    Recalled,
    /// Its budget is over.
    Expired,
    /// There was no place for it.
    Full(Full),
}

/// The history of one request.
#[derive(Debug)]
pub(super) struct Journey {
    pub(super) course: Course,
    pub(super) attempts: Attempts,
    /// How far it ever got: a replay that could not be sent does not undo what was sent before.
    pub(super) progress: Progress,
    stay: Option<Stay>,
    // Boxed: nothing of it is there for most requests.
    trouble: Option<Box<Trouble>>,
}

/// What is to be remembered of a request that met with an upstream that is away.
#[derive(Debug, Default)]
struct Trouble {
    ticket: Option<Ticket>,
    /// When its wait has to be over.
    deadline: Option<Instant>,
    /// It is its turn: it need not wait for others.
    turn: bool,
    /// Why it could not be sent just now.
    evidence: Option<(ProbeFailure, Instant)>,
    /// It was sent, and what came of it was lost on the way.
    cut_off: bool,
}

impl Journey {
    /// Begins at `now`; `connect` is how long it may wait for a connection where it may not park.
    pub(super) fn new(stay: Option<Stay>, connect: Duration, now: Instant) -> Self {
        let stay = stay.filter(|stay| !stay.budget.is_zero());
        Self {
            course: Course::new(now, connect, stay.is_some()),
            attempts: Attempts::default(),
            progress: Progress::NotSent,
            stay,
            trouble: None,
        }
    }

    /// Whether it may wait in the lot.
    pub(super) fn parks(&self) -> bool {
        self.stay.is_some()
    }

    /// Whether others wait in `lot` that came before it.
    pub(super) fn must_queue(&self, lot: &Lot) -> bool {
        !lot.is_calm() && self.stay.is_some() && !self.trouble.as_ref().is_some_and(|trouble| trouble.turn)
    }

    /// No connection stood that was begun at `tried`, for a reason that says something of the upstream.
    pub(super) fn found(&mut self, evidence: Option<ProbeFailure>, tried: Instant) {
        self.trouble().evidence = evidence.map(|evidence| (evidence, tried));
    }

    /// It was sent, and the way was cut before there was an answer.
    pub(super) fn was_cut_off(&mut self) {
        self.trouble().cut_off = true;
    }

    /// A connection stands, and it is being sent.
    pub(super) fn delivered(&mut self, now: Instant) {
        let Some(trouble) = &mut self.trouble else { return };
        trouble.turn = false;
        trouble.deadline = None;
        if let Some(ticket) = trouble.ticket.take() {
            ticket.delivered(now);
        }
    }

    /// Nothing more is tried.
    pub(super) fn given_up(&mut self, now: Instant) {
        if let Some(ticket) = self.trouble.take().and_then(|mut trouble| trouble.ticket.take()) {
            ticket.expired(now);
        }
    }

    /// Waits in `lot` with so many `bytes` that are held. `absence` is why nothing could be tried, where this
    /// request has no evidence of its own.
    pub(super) async fn wait(
        &mut self,
        lot: &Arc<Lot>,
        bytes: u64,
        absence: ProbeFailure,
        now: Instant,
    ) -> Waited {
        let Some(stay) = self.stay else { return Waited::Expired };
        let absence = lot.is_calm().then_some((absence, now));
        let trouble = self.trouble.get_or_insert_default();
        if let Some((evidence, tried)) = trouble.evidence.take().or(absence)
            && !lot.away(evidence, tried, tried, now)
            && lot.is_calm()
        {
            // It was tried before the upstream came back: it goes again at once.
            self.course.released(now);
            return Waited::Turn;
        }
        trouble.turn = false;
        self.attempts.cause = lot.cause().or(self.attempts.cause);
        let deadline = *trouble.deadline.get_or_insert_with(|| now + lot.budget(stay.budget, now));
        // A place in the lot of another upstream is of no use any more.
        let mut ticket = match trouble.ticket.take().filter(|ticket| ticket.is_of(lot)) {
            Some(mut ticket) => {
                ticket.back();
                ticket
            }
            None => {
                let first = stay.poll && trouble.cut_off;
                let guest = Guest { client: stay.client, stranger: stay.stranger, first, bytes };
                match lot.arrive(guest, now) {
                    Ok(ticket) => ticket,
                    Err(full) => return Waited::Full(full),
                }
            }
        };
        let wake = tokio::select! {
            wake = poll_fn(|cx| ticket.poll_wake(cx)) => Some(wake),
            () = tokio::time::sleep_until(deadline.into()) => None,
        };
        let then = crate::clock::now();
        self.attempts.parked += then.saturating_duration_since(now);
        match wake {
            Some(Wake::Turn) => {
                (trouble.ticket, trouble.turn) = (Some(ticket), true);
                self.course.released(then);
                Waited::Turn
            }
            Some(Wake::Recalled) => {
                trouble.ticket = Some(ticket);
                self.course.released(then);
                Waited::Recalled
            }
            None => {
                ticket.expired(then);
                Waited::Expired
            }
        }
    }

    fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }

    /// A failure as it is reported.
    pub(super) fn failure<B: Body<Data = Bytes>>(&self, error: SendError<B::Error>) -> Unsent<B> {
        Unsent::Failed(SendError { progress: self.progress.max(error.progress), ..error })
    }
}
