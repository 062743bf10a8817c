//! The client of a serving thread: sends requests to groups, over connections that it keeps.
//!
//! What happens to one of them is `team`'s. `Pools` is of one thread (`!Send`), and each thread has one.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Response};
use http_body::Body;

use super::answer::AnswerBody;
use super::codec::framing::Asked;
use super::group::Group;
use super::journey::{Attempts, Held, Journey, Unsent};
use super::lane::Lane;
use super::lot::Stay;
use super::team::{Job, Stopped, Team};
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
    /// Most bytes that are read at once until there is a body to ask: the head, and what comes along.
    pub piece: usize,
    /// Whether it asks for an upgrade: 101 is then an answer.
    pub wants_upgrade: bool,
    /// How it may wait while the group is away; `None`: not at all.
    pub stay: Option<Stay>,
    /// What is done to its head when it goes again, so long after it went first.
    pub again: Option<fn(&mut Vec<u8>, Duration)>,
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
    /// Of all lanes' backends, at the last look.
    cuts: u64,
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
            piece: call.piece,
            again: call.again,
        };
        // Boxed, and made before the future: that one is held by every request that waits for home.
        let (upload, mut journey) = match call.load {
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
            let sent = team.send(upload, &job, &mut journey).await;
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
        let inner = &mut *self.inner.borrow_mut();
        let cuts = inner.lanes.iter().map(|lane| lane.backend().cuts()).sum();
        inner.lanes.iter().for_each(|lane| lane.notice_cut());
        // A lane that went takes its cuts along: then they are looked at once for nothing.
        std::mem::replace(&mut inner.cuts, cuts) != cuts
    }

    /// Closes connections that idled too long or that backends closed; once a second is right.
    pub fn sweep(&self, now: Instant) {
        self.inner.borrow().lanes.iter().for_each(|lane| lane.sweep(now));
    }

    /// Forgets what is not of `groups`, the ones of a new configuration. Requests in flight go on; their
    /// connections are closed after them.
    pub fn retain(&self, groups: &[Arc<Group>]) {
        let mut inner = self.inner.borrow_mut();
        inner.teams.retain(|team| groups.iter().any(|group| group.id() == team.group().id()));
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
        if let Some(team) = inner.teams.iter().find(|team| team.group().id() == group.id()) {
            return Rc::clone(team);
        }
        let lanes = (0..group.backends().len()).map(|index| inner.lane(group, index)).collect();
        let team = Rc::new(Team::new(group, lanes));
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

#[cfg(test)]
mod parked_tests;
#[cfg(test)]
mod tests;
