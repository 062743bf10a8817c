//! What a request does next: which attempt, a wait, or nothing more.
//!
//! The rules of matrix.md: what was not sent may always be tried again, after a wait in the lot or, where
//! nothing is parked, while the connect budget lasts; what was sent and not answered goes again once, if its class allows, on a newly opened connection
//! and after a moment, never after a head timeout. The choice among backends is `select`'s.

use std::time::{Duration, Instant};

use super::select::Members;

/// How long a request waits before it looks at the backends again.
pub const PAUSE: Duration = Duration::from_millis(100);

/// How long a request rests before it is sent again: a backend that is being ended resets what it has, and may
/// take and reset one connection more before its port is closed.
pub const REST: Duration = Duration::from_millis(50);

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// No byte of the request was sent. `pooled`: over a kept connection, which says nothing of the
    /// backend itself.
    NotSent {
        /// Whether the connection was a kept one.
        pooled: bool,
    },
    /// The backend has as many connections as it may have, or this side has no room for one more.
    Busy,
    /// Bytes of the request were sent, no byte of an answer came. `again`: the request's class allows
    /// to send it again, all of it is still at hand, and it was not a timeout.
    SentNoAnswer {
        /// Whether it may go again.
        again: bool,
    },
    /// The answer began, or the client is at fault.
    Final,
}

/// The next step of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send it to this backend over a kept connection.
    TryPooled(usize),
    /// Send it to this backend over a new connection.
    Connect(usize),
    /// Look at the backends again then.
    WaitUntil(Instant),
    /// Wait in the lot until the upstream is back.
    Park,
    /// Report the last failure.
    GiveUp,
}

/// The history of one request.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    parks: bool,
    budget: Duration,
    deadline: Instant,
    rests_until: Instant,
    tried: Members,
    busy: bool,
    fresh: bool,
    replayed: bool,
    ended: bool,
}

impl Course {
    /// A request that came at `now` and may wait `budget` for a connection. `parks`: where there is none it
    /// waits in the lot instead.
    pub fn new(now: Instant, budget: Duration, parks: bool) -> Self {
        Self {
            parks,
            budget,
            deadline: now + budget,
            rests_until: now,
            tried: Members::default(),
            busy: false,
            fresh: false,
            replayed: false,
            ended: false,
        }
    }

    /// Its wait in the lot is over: every backend may be tried again.
    pub fn released(&mut self, now: Instant) {
        self.deadline = now + self.budget;
        self.tried = Members::default();
    }

    /// Until when a connection must stand.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Backends that are out of the question until the next pause.
    pub fn tried(&self) -> Members {
        self.tried
    }

    /// Whether it was sent a second time.
    pub fn is_replayed(&self) -> bool {
        self.replayed
    }

    /// Whether only a newly opened connection will do.
    pub fn needs_fresh(&self) -> bool {
        self.fresh
    }

    /// Takes note of a failed attempt at `backend`.
    pub fn failed(&mut self, backend: usize, how: Failed, now: Instant) {
        match how {
            Failed::NotSent { pooled: true } => self.fresh = true,
            Failed::NotSent { pooled: false } => self.tried.insert(backend),
            Failed::Busy => {
                self.busy = true;
                self.tried.insert(backend);
            }
            Failed::SentNoAnswer { again: true } if !self.replayed => {
                // The wait for the answer that never came was not a wait for a connection: the budget
                // begins anew, so that a backend which restarts costs its long polls nothing.
                self.deadline = now + self.budget;
                self.rests_until = now + REST.min(self.budget / 2);
                self.tried = Members::default();
                (self.replayed, self.fresh) = (true, true);
            }
            Failed::SentNoAnswer { .. } | Failed::Final => self.ended = true,
        }
    }

    /// The next step. `choice`: a usable backend that is not in `tried`, and whether it has a kept
    /// connection for this request.
    pub fn next(&mut self, choice: Option<(usize, bool)>, now: Instant) -> Step {
        if self.ended || (now >= self.deadline && !self.parks) {
            return Step::GiveUp;
        }
        if now < self.rests_until {
            return Step::WaitUntil(self.rests_until);
        }
        match choice {
            Some((backend, true)) if !self.fresh => Step::TryPooled(backend),
            Some((backend, _)) => Step::Connect(backend),
            None if self.parks && !self.busy => Step::Park,
            None if now >= self.deadline => Step::GiveUp,
            None => {
                self.busy = false;
                self.tried = Members::default();
                Step::WaitUntil(self.deadline.min(now + PAUSE))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUDGET: Duration = Duration::from_secs(5);

    fn begin() -> (Course, Instant) {
        let now = crate::clock::now();
        (Course::new(now, BUDGET, false), now)
    }

    #[test]
    fn kept_connection_is_used_first_and_a_new_one_after_it_was_stale() {
        let (mut course, now) = begin();
        assert_eq!(course.next(Some((0, true)), now), Step::TryPooled(0));
        course.failed(0, Failed::NotSent { pooled: true }, now);
        assert!(course.tried().is_empty());
        assert_eq!(course.next(Some((0, true)), now), Step::Connect(0));
    }

    #[test]
    fn request_that_was_not_sent_is_tried_until_the_budget_ends() {
        let (mut course, start) = begin();
        let mut now = start;
        let mut tries = 0;
        loop {
            let choice = (!course.tried().contains(0)).then_some((0, false));
            match course.next(choice, now) {
                Step::Connect(0) => course.failed(0, Failed::NotSent { pooled: false }, now),
                Step::WaitUntil(at) => now = at,
                Step::GiveUp => break,
                step @ (Step::TryPooled(_) | Step::Connect(_) | Step::Park) => panic!("{step:?}"),
            }
            tries += 1;
        }
        assert_eq!(now, start + BUDGET);
        assert_eq!(tries, 100);
    }

    #[test]
    fn where_requests_park_they_wait_in_the_lot_for_a_connection_and_here_for_a_place() {
        let now = crate::clock::now();
        let mut course = Course::new(now, BUDGET, true);
        course.failed(0, Failed::NotSent { pooled: false }, now);
        assert_eq!(course.next(None, now), Step::Park);
        let later = now + BUDGET * 3;
        course.released(later);
        assert_eq!(course.next(Some((0, false)), later), Step::Connect(0));
        course.failed(0, Failed::Busy, later);
        assert_eq!(course.next(None, later), Step::WaitUntil(later + PAUSE));
        course.failed(0, Failed::Busy, later + BUDGET);
        assert_eq!(course.next(None, later + BUDGET), Step::GiveUp);
    }

    #[test]
    fn sent_request_goes_again_once_on_a_new_connection() {
        let (mut course, start) = begin();
        let late = start + Duration::from_secs(90);
        course.failed(0, Failed::SentNoAnswer { again: true }, late);
        assert_eq!(course.next(Some((0, true)), late), Step::WaitUntil(late + REST));
        assert_eq!(course.next(Some((0, true)), late + REST), Step::Connect(0));
        assert_eq!(course.deadline(), late + BUDGET);
        course.failed(0, Failed::SentNoAnswer { again: true }, late);
        assert_eq!(course.next(Some((0, true)), late), Step::GiveUp);
    }

    #[test]
    fn replay_that_was_not_sent_is_tried_again() {
        let (mut course, now) = begin();
        course.failed(0, Failed::SentNoAnswer { again: true }, now);
        course.failed(0, Failed::NotSent { pooled: false }, now);
        let now = now + REST;
        assert_eq!(course.next(None, now), Step::WaitUntil(now + PAUSE));
        assert_eq!(course.next(Some((0, true)), now + PAUSE), Step::Connect(0));
    }

    #[test]
    fn what_may_not_go_again_ends() {
        for how in [Failed::SentNoAnswer { again: false }, Failed::Final] {
            let (mut course, now) = begin();
            course.failed(0, how, now);
            assert_eq!(course.next(Some((0, true)), now), Step::GiveUp);
        }
    }

    proptest! {
        #[test]
        fn no_history_sends_twice_more_or_runs_past_the_budget(
            history in proptest::collection::vec(0_u8..6, 1..80), parks in any::<bool>(),
        ) {
            let start = crate::clock::now();
            let mut course = Course::new(start, BUDGET, parks);
            let mut parked = 0;
            let mut now = start;
            let mut sent = 0;
            for event in history {
                match course.next((event != 5).then_some((0, event % 2 == 0)), now) {
                    Step::GiveUp => break,
                    Step::Park => {
                        prop_assert!(parks);
                        parked += 1;
                        course.released(now);
                    }
                    Step::WaitUntil(at) => {
                        prop_assert!(at > now && at <= course.deadline());
                        now = at;
                    }
                    Step::TryPooled(_) if sent > 0 => prop_assert!(false, "a replay on a kept connection"),
                    Step::TryPooled(_) | Step::Connect(_) => {
                        let how = match event {
                            0 | 1 => Failed::NotSent { pooled: event == 0 },
                            2 => Failed::Busy,
                            3 => Failed::Final,
                            _ => Failed::SentNoAnswer { again: true },
                        };
                        sent += u32::from(matches!(how, Failed::SentNoAnswer { .. }));
                        course.failed(0, how, now);
                    }
                }
            }
            prop_assert!(sent <= 2);
            prop_assert!(now <= start + BUDGET * (3 + parked));
        }
    }
}
