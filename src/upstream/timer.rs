//! A deadline that costs nothing until it is waited for.
//!
//! It belongs to a connection and outlives its exchanges: a later deadline does not touch the runtime's
//! timer (an earlier wake-up is spurious and sets it anew), so a busy connection sets it once in minutes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// An alarm.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Ready once `deadline` has passed; else wakes the task at or before it.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let deadline = tokio::time::Instant::from_std(deadline);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn alarm_follows_the_deadline_both_ways() {
        let start = crate::clock::now();
        let mut alarm = Alarm::default();
        let mut noop = Context::from_waker(std::task::Waker::noop());
        assert!(alarm.poll(&mut noop, start + Duration::from_secs(5)).is_pending());
        for seconds in [9, 30, 12] {
            let deadline = crate::clock::now() + Duration::from_secs(seconds);
            std::future::poll_fn(|cx| alarm.poll(cx, deadline)).await;
            let now = crate::clock::now();
            assert!(now >= deadline && now < deadline + Duration::from_millis(5));
        }
    }
}
