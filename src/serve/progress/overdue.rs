//! When what a connection does has lasted too long.

use std::time::{Duration, Instant};

use super::Progress;
use crate::config::model::limits::Limits;
use crate::serve::order::{Order, Phase};

/// How old an HTTP/2 connection may get before its client is asked to open a new one.
pub(super) const H2_MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// How long an HTTP/2 client may keep a connection open after it was told to go.
pub(super) const H2_GOODBYE: Duration = Duration::from_secs(10);
/// The same where others wait for its place.
const H2_SHORT_GOODBYE: Duration = Duration::from_secs(1);
/// How long a stop waits for a first request, from its begin or the end of the handshake on. The request may be
/// on its way, and its client would see a closed connection where it had every reason to expect an answer.
pub(super) const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// An HTTP/2 client may leave a stream's window shut (a paused video does) as long as something moves on
/// its connection; after so many times `body_progress` without any, it is gone.
const H2_WINDOW_PATIENCE: u32 = 4;

impl Progress {
    /// The order that ends the patience of a stop that began at `stop`, if it is over. A client of HTTP/2 is
    /// told to go then, and closed if it still says nothing.
    pub(in crate::serve) fn last_call(&self, stop: Instant, now: Instant) -> Option<Order> {
        let waited = now.saturating_duration_since(stop.max(self.opened));
        let silent = self.h2 && self.begun.get() == 0;
        match waited >= FIRST_REQUEST {
            true if silent && waited >= 2 * FIRST_REQUEST => Some(Order::Close),
            true => Some(Order::Finish),
            false => None,
        }
    }

    /// The order that time alone gives at `now`, if any.
    pub(in crate::serve) fn overdue(&self, limits: &Limits, now: Instant) -> Option<Order> {
        let passed = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        if self.stalled.get().is_some_and(|since| passed(since, limits.body_progress)) {
            return Some(Order::Close);
        }
        if self.offered.get() > 0 && passed(self.moved.get(), limits.body_progress * H2_WINDOW_PATIENCE) {
            return Some(Order::Close);
        }
        let goodbye = if self.seat.is_wanted() { H2_SHORT_GOODBYE } else { H2_GOODBYE };
        if self.told_to_go.get().is_some_and(|at| passed(at, goodbye)) && self.is_idle() {
            return Some(Order::Close);
        }
        match self.phase.get() {
            Phase::Head(since) if passed(since, limits.request_head) => Some(Order::Close),
            Phase::Idle(since) if passed(since, limits.keep_alive) => Some(Order::Finish),
            _ if self.h2 && passed(self.opened, H2_MAX_AGE) => Some(Order::Retire),
            _ => None,
        }
    }
}
