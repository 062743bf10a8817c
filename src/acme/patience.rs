//! Waits between two looks at a CA, and repeats what failed by a fault that passes.
//!
//! An order is counted by the CA as soon as it is made: one reset connection behind it must not cost a second.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::Error;
use tokio::time::sleep;

use crate::acme::account::Session;
use crate::acme::failure::{Failure, Kind};
use crate::acme::moment::Moment;
use crate::clock;

/// How often something is tried.
const TRIES: usize = 4;

/// Behind the first failure; each next is twice as long.
const FIRST: Duration = Duration::from_secs(1);

/// Behind a question: a quick CA has decided by then, and a slow one says itself when to look.
const SOON: Duration = Duration::from_millis(100);

/// A CA that wants more rest than this gets it between attempts, and not inside of one.
const LONGEST: Duration = Duration::from_secs(30);

/// What `act` brings, which is repeated when the CA or the network fails and can do no harm twice.
pub async fn again<T>(
    session: &Session,
    names: &[Arc<str>],
    mut act: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<T, Failure> {
    let mut rest = FIRST;
    let mut tried = 0;
    loop {
        let failure = match act().await {
            Ok(done) => return Ok(done),
            Err(error) => session.failure(&error, names),
        };
        tried += 1;
        let asked = asked_for(failure.retry_after);
        let passing = match failure.kind {
            Kind::Unavailable => true,
            Kind::RateLimited => asked.is_some(),
            Kind::Names(_) | Kind::Refused | Kind::Local => false,
        };
        let wait = rest.max(asked.unwrap_or_default());
        if !passing || tried == TRIES || wait > LONGEST {
            return Err(failure);
        }
        sleep(wait).await;
        rest *= 2;
    }
}

/// The time until the CA wants to hear of something again.
fn asked_for(retry_after: Option<Moment>) -> Option<Duration> {
    retry_after.map(|at| at.since(Moment::of(clock::wall())))
}

/// What a wait in whole seconds may have lost.
const CUT: Duration = Duration::from_secs(1);

/// Waits between looks at something that changes at the CA, up to a point.
#[derive(Debug)]
pub struct Watch {
    until: std::time::Instant,
    pause: Duration,
    longest: Duration,
}

impl Watch {
    /// Looks for `span`, soon at first and then every `longest`.
    pub fn new(span: Duration, longest: Duration) -> Self {
        Self { until: clock::now() + span, pause: SOON, longest }
    }

    /// Waits until the next look, as long as the CA asks for, else a little longer each time. `false`: the time is over.
    pub async fn wait(&mut self, session: &Session) -> bool {
        let left = self.until.saturating_duration_since(clock::now());
        if left.is_zero() {
            return false;
        }
        // A moment is cut to the second, so what is asked for may seem to be nothing.
        let pause = match asked_for(session.seen().retry_after) {
            Some(asked) => asked.max(CUT),
            None => self.pause,
        };
        // The last look is at the very end.
        sleep(pause.min(left)).await;
        self.pause = (self.pause * 2).min(self.longest);
        true
    }
}
