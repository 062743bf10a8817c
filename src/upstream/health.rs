//! The health of one backend, from what was observed of it.
//!
//! A state machine that returns its transitions; who observes, when and what is logged is not its matter.

use std::fmt;
use std::time::Instant;

/// Whether a backend can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Nothing is known yet; it is used.
    Unknown,
    /// It answers.
    Up,
    /// It does not; nothing is sent to it.
    Down,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// Why a probe failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ProbeFailure {
    /// Its name has no address.
    #[error("its name does not resolve")]
    Unresolved,
    /// Nothing listens there.
    #[error("connection refused")]
    Refused,
    /// No way there: the tunnel or its route is missing.
    #[error("no route to it")]
    NoRoute,
    /// No connection within the probe's timeout.
    #[error("no connection in time")]
    ConnectTimeout,
    /// The TLS handshake failed.
    #[error("the tls handshake failed")]
    Tls,
    /// It was connected and gave no answer within the probe's timeout.
    #[error("no answer in time")]
    AnswerTimeout,
    /// It closed the connection before an answer.
    #[error("it closed the connection without an answer")]
    Closed,
    /// What it sent is not an HTTP/1.x answer.
    #[error("its answer is not http")]
    Garbage,
    /// It answered with a 5xx.
    #[error("it answered with status {0}")]
    Status(u16),
    /// It answers, far more slowly than usual.
    #[error("it answers far more slowly than usual")]
    Slow,
    /// Any other failure of the system.
    #[error("{0}")]
    System(std::io::ErrorKind),
}

impl ProbeFailure {
    /// Its name in log lines, incidents and figures: a word of a set that does not grow with what is seen.
    pub fn token(self) -> &'static str {
        match self {
            Self::Unresolved => "unresolved",
            Self::Refused => "refused",
            Self::NoRoute => "no-route",
            Self::ConnectTimeout => "connect-timeout",
            Self::Tls => "tls",
            Self::AnswerTimeout => "probe-timeout",
            Self::Closed => "reset",
            Self::Garbage => "no-http",
            Self::Status(_) => "probe-status",
            Self::Slow => "slow",
            Self::System(_) => "system",
        }
    }

    /// Whether it is of the way there: no connection stood. Else one stood, and the backend is unwell.
    pub fn is_of_the_way(self) -> bool {
        match self {
            Self::Unresolved | Self::Refused | Self::NoRoute | Self::ConnectTimeout => true,
            Self::Tls | Self::System(_) => true,
            Self::AnswerTimeout | Self::Closed | Self::Garbage | Self::Status(_) | Self::Slow => false,
        }
    }

    /// Whether nobody at the other end has said anything: what any hole on the way explains.
    pub fn is_unanswered(self) -> bool {
        matches!(self, Self::NoRoute | Self::ConnectTimeout | Self::AnswerTimeout | Self::System(_))
    }

    /// Whether nothing came back at all: what was on its way then may be lost without a trace.
    pub fn is_silence(self) -> bool {
        matches!(self, Self::NoRoute | Self::ConnectTimeout)
    }
}

/// What was observed of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A probe or a request was answered.
    Answered,
    /// A probe failed.
    Failed(ProbeFailure),
}

/// A change of health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: Health,
    /// After.
    pub to: Health,
    /// The last failure, when it goes Down.
    pub cause: Option<ProbeFailure>,
    /// When.
    pub at: Instant,
    /// Since when it had been `from`, if that was observed.
    pub since: Option<Instant>,
}

/// Counts outcomes of one backend.
#[derive(Debug, Clone)]
pub struct Monitor {
    health: Health,
    since: Option<Instant>,
    down_after: u32,
    up_after: u32,
    /// Outcomes in a row that speak against `health`.
    against: u32,
}

impl Monitor {
    /// A monitor that begins at `health`; the numbers are taken for 1 where they are 0.
    pub fn new(health: Health, down_after: u32, up_after: u32) -> Self {
        Self { health, since: None, down_after: down_after.max(1), up_after: up_after.max(1), against: 0 }
    }

    /// The health as of the last observation.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Whether the last outcome was a failure that has not yet made the backend Down.
    pub fn is_doubtful(&self) -> bool {
        self.health != Health::Down && self.against > 0
    }

    /// Takes an outcome; returns the change that it makes.
    ///
    /// From Unknown the first answer means Up at once: waiting for `up_after` would only keep a fresh
    /// start in the dark, and Unknown is used anyway.
    pub fn observe(&mut self, outcome: Outcome, now: Instant) -> Option<Transition> {
        let (to, enough, cause) = match (outcome, self.health) {
            (Outcome::Answered, Health::Up) | (Outcome::Failed(_), Health::Down) => {
                self.against = 0;
                return None;
            }
            (Outcome::Answered, Health::Unknown) => (Health::Up, 1, None),
            (Outcome::Answered, Health::Down) => (Health::Up, self.up_after, None),
            (Outcome::Failed(cause), _) => (Health::Down, self.down_after, Some(cause)),
        };
        self.against += 1;
        if self.against < enough {
            return None;
        }
        let transition = Transition { from: self.health, to, cause, at: now, since: self.since };
        (self.health, self.against, self.since) = (to, 0, Some(now));
        Some(transition)
    }
}

/// Tells a way that was cut from a backend that was unwell, out of failed probes in a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Streak {
    began: Option<Instant>,
    silent: bool,
}

impl Streak {
    /// A probe failed that began at `begun`. `answered`: meanwhile a request was answered, so that there is a
    /// way and it was the probe's misfortune alone.
    pub fn failed(&mut self, cause: ProbeFailure, begun: Instant, answered: bool) {
        if answered {
            *self = Self::default();
        }
        self.began.get_or_insert(begun);
        self.silent |= cause.is_silence() && !answered;
    }

    /// When the first probe of the row began.
    pub fn began(&self) -> Option<Instant> {
        self.began
    }

    /// The row is over. Begin and end of a cut, if the backend was Down and nothing at all came back from it.
    pub fn answered(&mut self, health: Health, now: Instant) -> Option<(Instant, Instant)> {
        let Self { began, silent } = std::mem::take(self);
        Some((began.filter(|_| silent && health == Health::Down)?, now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const BAD: Outcome = Outcome::Failed(ProbeFailure::Refused);

    fn run(monitor: &mut Monitor, outcomes: &[Outcome]) -> Vec<Health> {
        let now = crate::clock::now();
        outcomes
            .iter()
            .map(|outcome| {
                monitor.observe(*outcome, now);
                monitor.health()
            })
            .collect()
    }

    #[test]
    fn down_after_failures_in_a_row_alone() {
        let mut monitor = Monitor::new(Health::Up, 3, 2);
        let seen = run(&mut monitor, &[BAD, BAD, Outcome::Answered, BAD, BAD, BAD]);
        assert_eq!(seen, [Health::Up, Health::Up, Health::Up, Health::Up, Health::Up, Health::Down]);
    }

    #[test]
    fn up_after_successes_in_a_row_alone() {
        let mut monitor = Monitor::new(Health::Down, 3, 2);
        let seen = run(&mut monitor, &[Outcome::Answered, BAD, Outcome::Answered, Outcome::Answered]);
        assert_eq!(seen, [Health::Down, Health::Down, Health::Down, Health::Up]);
    }

    #[test]
    fn unknown_is_up_with_the_first_answer() {
        let mut monitor = Monitor::new(Health::Unknown, 2, 5);
        assert_eq!(run(&mut monitor, &[BAD, Outcome::Answered]), [Health::Unknown, Health::Up]);
    }

    #[test]
    fn transition_tells_cause_and_how_long() {
        let start = crate::clock::now();
        let mut monitor = Monitor::new(Health::Unknown, 1, 1);
        monitor.observe(Outcome::Answered, start);
        let later = start + Duration::from_secs(9);
        let down = monitor.observe(BAD, later).unwrap();
        assert_eq!((down.from, down.to, down.since), (Health::Up, Health::Down, Some(start)));
        assert_eq!(down.cause, Some(ProbeFailure::Refused));
    }

    #[test]
    fn silence_until_a_backend_was_down_is_a_cut() {
        let start = crate::clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut streak = Streak::default();
        streak.failed(ProbeFailure::AnswerTimeout, at(0), false);
        streak.failed(ProbeFailure::ConnectTimeout, at(3), false);
        assert_eq!(streak.answered(Health::Down, at(9)), Some((at(0), at(9))));
        assert_eq!(streak.began(), None);
        // One probe was lost, or the backend was there and unwell, or requests were answered all the time.
        streak.failed(ProbeFailure::ConnectTimeout, at(10), false);
        assert_eq!(streak.answered(Health::Up, at(13)), None);
        streak.failed(ProbeFailure::Refused, at(20), false);
        streak.failed(ProbeFailure::AnswerTimeout, at(21), false);
        assert_eq!(streak.answered(Health::Down, at(22)), None);
        streak.failed(ProbeFailure::ConnectTimeout, at(30), true);
        streak.failed(ProbeFailure::ConnectTimeout, at(33), true);
        assert_eq!(streak.answered(Health::Down, at(36)), None);
    }

    proptest! {
        #[test]
        fn transitions_chain_and_end_at_the_health(
            outcomes in proptest::collection::vec(any::<bool>(), 0..60), down_after in 0_u32..4, up_after in 0_u32..4,
        ) {
            let now = crate::clock::now();
            let mut monitor = Monitor::new(Health::Unknown, down_after, up_after);
            let mut health = Health::Unknown;
            for good in outcomes {
                if let Some(change) = monitor.observe(if good { Outcome::Answered } else { BAD }, now) {
                    prop_assert_eq!(change.from, health);
                    prop_assert_ne!(change.from, change.to);
                    prop_assert_eq!(change.to == Health::Up, good);
                    health = change.to;
                }
                prop_assert_eq!(health, monitor.health());
            }
        }
    }
}
