//! What one connection is doing, and when that has lasted too long.
//!
//! The connection's task writes it; the worker's tick reads it once a second and gives orders. So a
//! connection needs no timer of its own: ten thousand idle ones cost a walk over a list. `overdue` is
//! pure.

mod overdue;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::http::body::Leftover;
use crate::http::scan::Flags;
use crate::http::watch::{self, Watch};
use crate::serve::order::{Order, Phase};
use crate::serve::seat::Seat;
use crate::serve::shares::Shares;

/// A client that asks again so soon is quick: its HTTP/1 connection keeps hyper's buffers between requests.
/// All others give them up with their answer.
const QUICK: Duration = Duration::from_millis(250);
/// How long the connection of a quick client may idle before it gives them up too.
const REST_AFTER: Duration = Duration::from_secs(2);

/// The state of one connection, shared by its task, its requests and the worker's tick.
pub(super) struct Progress {
    pub(super) listener: Arc<str>,
    seat: Arc<Seat>,
    h2: bool,
    // What its streams hold, on HTTP/2.
    shares: Option<Rc<Shares>>,
    opened: Instant,
    phase: Cell<Phase>,
    in_flight: Cell<u32>,
    stalled: Cell<Option<Instant>>,
    held_back: Cell<bool>,
    unwritten: Cell<usize>,
    offered: Cell<u32>,
    moved: Cell<Instant>,
    order: Cell<Order>,
    told_to_go: Cell<Option<Instant>>,
    close_after: Cell<bool>,
    watch: RefCell<Watch>,
    body: RefCell<Leftover>,
    begun: Cell<u64>,
    ended: Cell<Instant>,
    quick: Cell<bool>,
    tired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Progress {
    pub(super) fn new(listener: Arc<str>, seat: Arc<Seat>, h2: bool, now: Instant) -> Self {
        Self {
            listener,
            seat,
            h2,
            shares: h2.then(Rc::default),
            opened: now,
            phase: Cell::new(Phase::Idle(now)),
            in_flight: Cell::new(0),
            stalled: Cell::new(None),
            held_back: Cell::new(false),
            unwritten: Cell::new(0),
            offered: Cell::new(0),
            moved: Cell::new(now),
            order: Cell::new(Order::Serve),
            told_to_go: Cell::new(None),
            close_after: Cell::new(false),
            watch: RefCell::new(Watch::new()),
            body: RefCell::default(),
            begun: Cell::new(0),
            ended: Cell::new(now),
            quick: Cell::new(false),
            tired: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Bytes came from the client. What hyper hides of an HTTP/1 head is seen here, and with the first
    /// byte of a head its clock starts.
    pub(super) fn received(&self, bytes: &[u8], now: Instant) {
        if self.h2 {
            return;
        }
        let mut watch = self.watch.borrow_mut();
        watch.feed(bytes);
        if let (Phase::Idle(_), watch::Phase::Head) = (self.phase.get(), watch.phase()) {
            self.phase.set(Phase::Head(now));
        }
    }

    /// A write is waiting for the client, or no longer.
    pub(super) fn writing(&self, waits: bool, now: impl FnOnce() -> Instant) {
        match (waits, self.stalled.get()) {
            (true, None) => self.stalled.set(Some(now())),
            (false, Some(_)) => {
                self.stalled.set(None);
                self.let_go();
            }
            _ => {}
        }
    }

    /// So many bytes were written to the client's connection.
    pub(super) fn wrote(&self, bytes: usize) {
        self.unwritten.set(self.unwritten.get().saturating_sub(bytes));
        if self.stalled.get().is_none() {
            self.let_go();
        }
    }

    /// What the streams of an HTTP/2 connection hold.
    pub(super) fn shares(&self) -> Option<&Rc<Shares>> {
        self.shares.as_ref()
    }

    /// How large the first piece may be of the answer to the request that has just begun, `most` if nothing
    /// on the connection speaks against it.
    pub(super) fn first_piece(&self, most: usize) -> usize {
        self.shares.as_ref().map_or(most, |shares| shares.first(self.in_flight.get()).min(most))
    }

    /// Whether the next piece of an HTTP/1 answer has to wait: the client has not taken what it was sent,
    /// or `most` bytes were not even tried yet. hyper would go on to fill its buffer. The connection is
    /// woken when it may go on.
    pub(super) fn hold_back(&self, most: usize) -> bool {
        let full = self.stalled.get().is_some() || self.unwritten.get() >= most;
        self.held_back.set(full);
        full
    }

    fn let_go(&self) {
        if self.held_back.take() {
            self.wake();
        }
    }

    /// A piece of an answer was given to the front, which asks for the next one when the client took it.
    pub(super) fn offered(&self, bytes: usize) {
        self.offered.set(self.offered.get() + 1);
        self.unwritten.set(self.unwritten.get() + bytes);
    }

    /// The piece offered before was taken.
    pub(super) fn taken(&self, now: Instant) {
        self.offered.set(self.offered.get().saturating_sub(1));
        self.moves(now);
    }

    /// Something of an answer gets on.
    pub(super) fn moves(&self, now: Instant) {
        self.moved.set(now);
    }

    /// A request begins; what was wrong with its head that hyper hides.
    pub(super) fn begin(&self, now: Instant) -> Flags {
        self.rouse();
        self.unwritten.set(0);
        self.phase.set(Phase::Busy);
        self.seat.is_busy();
        if self.h2 && self.order.get() >= Order::Retire {
            // GOAWAY waited for it.
            self.wake();
        }
        self.in_flight.set(self.in_flight.get() + 1);
        let nth = self.begun.replace(self.begun.get() + 1);
        self.quick.set(nth > 0 && now.saturating_duration_since(self.ended.get()) < QUICK);
        self.watch.borrow().flags(nth)
    }

    /// An HTTP/1 request has this body.
    pub(super) fn has_body(&self, body: &Leftover) {
        *self.body.borrow_mut() = body.clone();
    }

    /// A request and its answer are over.
    pub(super) fn end(&self, now: Instant) {
        self.body.take();
        self.moved.set(now);
        self.ended.set(now);
        let left = self.in_flight.get().saturating_sub(1);
        self.in_flight.set(left);
        if left == 0 && self.phase.get() != Phase::Tunnel {
            self.seat.idles(now);
            let next_began = self.watch.borrow().phase() == watch::Phase::Head;
            self.phase.set(if next_began { Phase::Head(now) } else { Phase::Idle(now) });
            if self.order.get() >= Order::Drain {
                self.wake();
            }
        }
    }

    /// Whether an HTTP/1 client has sent a whole head that no request was made of yet, or something
    /// that is none.
    pub(super) fn head_came(&self) -> bool {
        let watch = self.watch.borrow();
        watch.heads() > self.begun.get() || !matches!(watch.phase(), watch::Phase::Idle | watch::Phase::Head)
    }

    /// Wakes a connection that has idled for a while, once, so that it rests; and one whose request waits with a
    /// body that nobody reads, to see whether its client is still there.
    pub(super) fn tire(&self, now: Instant) {
        if self.phase.get() == Phase::Busy && self.body.borrow().is_unwanted() {
            self.wake();
        } else if let Phase::Idle(since) = self.phase.get()
            && !self.h2
            && now.saturating_duration_since(since) >= REST_AFTER
            && !self.tired.replace(true)
        {
            self.wake();
        }
    }

    /// The connection gets to work again.
    pub(super) fn rouse(&self) {
        self.tired.set(false);
    }

    /// Whether the connection may give up hyper's buffers: nothing is on its way in either direction, and
    /// the client is not quick, or is tired.
    pub(super) fn may_rest(&self) -> bool {
        (self.tired.get() || !self.quick.get())
            && matches!(self.phase.get(), Phase::Idle(_))
            && self.watch.borrow().phase() == watch::Phase::Idle
            && !self.head_came()
            && self.stalled.get().is_none()
    }

    /// Whether an HTTP/1 client has sent a whole request, or what nobody wants before home is back: all that
    /// matters is whether it stays.
    pub(super) fn awaits_answer(&self) -> bool {
        self.phase.get() == Phase::Busy
            && (matches!(self.watch.borrow().phase(), watch::Phase::Idle | watch::Phase::Head)
                || self.body.borrow().is_unwanted())
    }

    /// The connection became a tunnel.
    pub(super) fn tunnelled(&self) {
        self.watch.borrow_mut().stop();
        self.phase.set(Phase::Tunnel);
        self.seat.is_busy();
    }

    /// Nothing more is read as a request after the one in flight.
    pub(super) fn close_after(&self) {
        self.close_after.set(true);
    }

    /// Whether answers must say `Connection: close`.
    pub(super) fn must_close(&self) -> bool {
        self.close_after.get() || self.order.get() >= Order::Retire
    }

    /// Gives an order, unless a stronger one stands, and wakes the connection for it.
    pub(super) fn command(&self, order: Order) {
        if order > self.order.get() {
            self.order.set(order);
            self.wake();
        }
    }

    /// Gives way to others if they want its place: finishes what is in flight, and closes.
    pub(super) fn give_way(&self) {
        if self.seat.is_wanted() {
            self.command(Order::Finish);
        }
    }

    /// The order in force.
    pub(super) fn order(&self) -> Order {
        self.order.get()
    }

    /// Whether no request is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.get() == 0 && self.phase.get() != Phase::Tunnel
    }

    /// Whether the connection has had no request yet, or is at a head that has begun (HTTP/1), so that it may
    /// be used while porchd drains.
    pub(super) fn may_still_ask(&self) -> bool {
        self.begun.get() == 0 || matches!(self.phase.get(), Phase::Head(_))
    }

    /// Whether an HTTP/1 connection that is to go may be shut now.
    pub(super) fn may_be_shut(&self) -> bool {
        let waits = self.order.get() == Order::Drain && self.may_still_ask();
        self.is_idle() && !self.head_came() && !waits
    }

    /// Whether the client is still sending something that nobody reads any more.
    pub(super) fn is_cut_off(&self) -> bool {
        self.order.get() < Order::Close && self.watch.borrow().phase() != watch::Phase::Idle
    }

    /// Whether GOAWAY is to be sent now: once a connection.
    pub(super) fn say_goodbye(&self, now: Instant) -> bool {
        let first = self.told_to_go.get().is_none();
        if first {
            self.told_to_go.set(Some(now));
        }
        first
    }

    /// Keeps the task's waker for orders.
    pub(super) fn watch(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        match &mut *kept {
            Some(old) => old.clone_from(waker),
            None => *kept = Some(waker.clone()),
        }
    }

    /// Ready once the connection is to be closed; for what goes on after hyper has let go of it.
    pub(super) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.watch(cx.waker());
        if self.order.get() == Order::Close { Poll::Ready(()) } else { Poll::Pending }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::overdue::{FIRST_REQUEST, H2_GOODBYE, H2_MAX_AGE};
    use super::*;
    use crate::config::model::limits::{Limits, Rates};

    fn limits() -> Limits {
        Limits {
            connections: None,
            connections_per_address: 256,
            handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(180),
            tunnel_idle: Duration::from_secs(300),
            body_progress: Duration::from_secs(30),
            body: 1 << 24,
            rates: Rates::default(),
        }
    }

    fn seat(now: Instant) -> Arc<Seat> {
        Arc::new(Seat::new(now))
    }

    fn h1(now: Instant) -> Progress {
        Progress::new("https".into(), seat(now), false, now)
    }

    #[test]
    fn a_stop_waits_a_moment_for_a_first_request_and_for_one_that_has_begun() {
        let start = crate::clock::now();
        let progress = h1(start);
        progress.command(Order::Drain);
        assert!(progress.may_still_ask() && !progress.may_be_shut());
        assert_eq!(progress.last_call(start, start + FIRST_REQUEST / 2), None);
        // Its handshake ended after the stop had begun.
        assert_eq!(progress.last_call(start - FIRST_REQUEST, start), None);
        assert_eq!(progress.last_call(start, start + FIRST_REQUEST), Some(Order::Finish));
        progress.received(b"GET / HTTP/1.1\r\n\r\n", start);
        progress.begin(start);
        progress.end(start);
        assert!(!progress.may_still_ask() && progress.may_be_shut(), "it idles");
        progress.received(b"GET / HT", start);
        assert!(progress.may_still_ask() && !progress.may_be_shut());
        progress.command(Order::Finish);
        assert!(progress.may_be_shut(), "the moment is over");
        progress.received(b"TP/1.1\r\n\r\n", start);
        assert!(!progress.may_be_shut(), "what has come is answered");
    }

    #[test]
    fn a_stop_closes_streams_that_never_began() {
        let start = crate::clock::now();
        let progress = Progress::new("https".into(), seat(start), true, start);
        progress.command(Order::Drain);
        assert!(progress.may_still_ask());
        assert_eq!(progress.last_call(start, start + FIRST_REQUEST), Some(Order::Finish));
        assert_eq!(progress.last_call(start, start + 2 * FIRST_REQUEST), Some(Order::Close));
        progress.begin(start);
        assert_eq!(progress.last_call(start, start + 2 * FIRST_REQUEST), Some(Order::Finish));
    }

    #[test]
    fn the_head_clock_starts_with_the_first_byte() {
        let start = crate::clock::now();
        let at = |secs| start + Duration::from_secs(secs);
        let progress = h1(start);
        assert_eq!(progress.overdue(&limits(), at(100)), None);
        progress.received(b"GET / HT", at(100));
        assert_eq!(progress.overdue(&limits(), at(109)), None);
        progress.received(b"TP/1.1\r\n", at(109));
        assert_eq!(progress.overdue(&limits(), at(110)), Some(Order::Close));
    }

    #[test]
    fn an_idle_connection_is_finished_after_keep_alive() {
        let start = crate::clock::now();
        let progress = h1(start);
        assert_eq!(progress.overdue(&limits(), start + Duration::from_secs(180)), Some(Order::Finish));
    }

    #[test]
    fn a_request_in_flight_is_never_overdue_by_itself() {
        let start = crate::clock::now();
        let progress = h1(start);
        progress.received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", start);
        assert!(progress.begin(start).is_empty());
        assert_eq!(progress.overdue(&limits(), start + Duration::from_secs(3600)), None);
        progress.end(start + Duration::from_secs(3600));
        assert_eq!(progress.overdue(&limits(), start + Duration::from_secs(3601)), None);
    }

    #[test]
    fn a_seat_idles_between_requests_and_is_given_back_when_wanted() {
        let start = crate::clock::now();
        let at = |secs| start + Duration::from_secs(secs);
        let seat = seat(start);
        let progress = Progress::new("https".into(), seat.clone(), true, start);
        assert_eq!(seat.idle_since(), Some(start));
        progress.begin(at(1));
        progress.begin(at(2));
        progress.end(at(3));
        assert_eq!(seat.idle_since(), None, "another request is in flight");
        progress.end(at(4));
        assert_eq!(seat.idle_since(), Some(at(4)));
        progress.give_way();
        assert_eq!(progress.order(), Order::Serve);
        seat.ask_back();
        progress.give_way();
        assert_eq!(progress.order(), Order::Finish);
        progress.say_goodbye(at(5));
        assert_eq!(
            progress.overdue(&limits(), at(6)),
            Some(Order::Close),
            "there is no time for long goodbyes"
        );
        progress.tunnelled();
        assert_eq!(seat.idle_since(), None);
    }

    #[test]
    fn a_client_that_does_not_read_is_closed() {
        let start = crate::clock::now();
        let progress = h1(start);
        progress.begin(start);
        progress.writing(true, || start);
        progress.writing(true, || start + Duration::from_secs(29));
        assert_eq!(progress.overdue(&limits(), start + Duration::from_secs(30)), Some(Order::Close));
        progress.writing(false, || start);
        assert_eq!(progress.overdue(&limits(), start + Duration::from_secs(60)), None);
    }

    #[test]
    fn what_is_held_back_is_let_go_by_the_write_that_it_waits_for() {
        struct Woken(std::sync::atomic::AtomicUsize);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let woken = Arc::new(Woken(0.into()));
        let times = || woken.0.load(std::sync::atomic::Ordering::Relaxed);
        let now = crate::clock::now();
        let progress = h1(now);
        progress.watch(&Waker::from(woken.clone()));
        progress.begin(now);
        assert!(!progress.hold_back(10));
        progress.offered(10);
        assert!(progress.hold_back(10), "nothing of it was written");
        progress.wrote(4);
        assert_eq!((times(), progress.hold_back(10)), (1, false));
        progress.offered(4);
        progress.writing(true, || now);
        assert!(progress.hold_back(100), "the client takes nothing");
        progress.wrote(10);
        assert_eq!(times(), 1, "it still takes nothing");
        progress.writing(false, || now);
        assert_eq!((times(), progress.hold_back(10)), (2, false));
        progress.writing(false, || now);
        assert_eq!(times(), 2, "nobody waited");
    }

    /// A progress whose client has sent two whole requests and got the answers, the second request `gap`
    /// after the first answer.
    fn answered_twice(start: Instant, gap: Duration) -> Progress {
        let progress = h1(start);
        for at in [start, start + gap] {
            progress.received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", at);
            progress.begin(at);
            assert!(progress.awaits_answer() && !progress.may_rest(), "a request is in flight");
            progress.end(at);
        }
        progress
    }

    #[test]
    fn a_connection_rests_with_its_answer_unless_the_client_is_quick() {
        let start = crate::clock::now();
        assert!(answered_twice(start, QUICK).may_rest());
        let quick = answered_twice(start, QUICK / 2);
        assert!(!quick.may_rest());
        quick.tire(start + REST_AFTER);
        assert!(!quick.may_rest(), "it has not idled for long");
        quick.tire(start + QUICK + REST_AFTER);
        assert!(quick.may_rest());
    }

    #[test]
    fn a_connection_rests_when_nothing_is_on_its_way() {
        let start = crate::clock::now();
        let progress = h1(start);
        assert!(progress.may_rest());
        progress.writing(true, || start);
        assert!(!progress.may_rest(), "an answer is on its way");
        progress.writing(false, || start);
        progress.received(b"GET", start);
        assert!(!progress.may_rest(), "a request is on its way");
        let progress = h1(start);
        progress
            .received(b"PUT / HTTP/1.1\r\nHost: a\r\n\r\nPUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", start);
        assert!(!progress.may_rest(), "a request has come");
        progress.begin(start);
        progress.end(start);
        assert!(!progress.may_rest(), "and another one");
        progress.begin(start);
        assert!(!progress.awaits_answer(), "the client has more to send");
        progress.end(start);
        assert!(!progress.may_rest(), "a body is on its way");
    }

    #[test]
    fn a_shut_window_is_borne_while_something_moves() {
        let start = crate::clock::now();
        let at = |secs| start + Duration::from_secs(secs);
        let progress = Progress::new("https".into(), seat(start), true, start);
        progress.begin(start);
        progress.offered(1);
        progress.begin(start);
        progress.end(at(100));
        assert_eq!(progress.overdue(&limits(), at(219)), None);
        assert_eq!(progress.overdue(&limits(), at(220)), Some(Order::Close));
        progress.taken(at(220));
        assert_eq!(progress.overdue(&limits(), at(400)), None);
    }

    #[test]
    fn a_pipelined_head_is_watched_too() {
        let start = crate::clock::now();
        let progress = h1(start);
        progress.received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /#2 HTTP/1.1\r\nHost: a\r\n\r\n", start);
        assert!(progress.begin(start).is_empty());
        progress.end(start);
        assert_eq!(progress.begin(start), Flags::FRAGMENT);
    }

    #[test]
    fn an_old_h2_connection_is_retired_and_closed_once_idle() {
        let start = crate::clock::now();
        let progress = Progress::new("https".into(), seat(start), true, start);
        progress.begin(start);
        assert_eq!(progress.overdue(&limits(), start + H2_MAX_AGE), Some(Order::Retire));
        progress.say_goodbye(start + H2_MAX_AGE);
        let later = start + H2_MAX_AGE + H2_GOODBYE;
        assert_eq!(progress.overdue(&limits(), later), Some(Order::Retire));
        progress.end(later);
        assert_eq!(progress.overdue(&limits(), later), Some(Order::Close));
    }
}
