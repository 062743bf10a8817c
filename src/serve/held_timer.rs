//! The timer that hyper is given: tokio's, but it tells the time as the rest of a poll sees it.
//!
//! hyper asks for the time with each frame of HTTP/2, to know when it last heard of a client.

use std::pin::Pin;
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use hyper_util::rt::TokioTimer;

use crate::clock;

/// tokio's timer with `clock`'s time.
#[derive(Debug, Clone)]
pub(super) struct HeldTimer(TokioTimer);

impl HeldTimer {
    pub(super) fn new() -> Self {
        Self(TokioTimer::new())
    }
}

impl Timer for HeldTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.0.sleep(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.0.sleep_until(deadline)
    }

    fn now(&self) -> Instant {
        clock::now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        self.0.reset(sleep, deadline);
    }
}
