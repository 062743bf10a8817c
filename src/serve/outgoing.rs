//! An answer's body on its way out: it counts bytes, tells `Progress`, and writes the access line.
//!
//! The line is written when the body ends or is dropped: only then is it known what was sent. In figures a
//! request counts with the head of its answer: what its client does with the rest says nothing of home.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use crate::handler::body::{Body, BodyError};
use crate::handler::told::Told;
use crate::matrix::class::Class;
use crate::serve::lines::{self, Line};
use crate::serve::progress::Progress;
use crate::serve::shares::{Piece, Place};
use crate::serve::worker::Worker;
use crate::telemetry::access::Answered;
use crate::telemetry::figures::Ending;

/// A request in flight on a connection; its drop is the request's end.
pub(super) struct InFlight {
    pub(super) worker: Rc<Worker>,
    pub(super) progress: Rc<Progress>,
    uncounted: Cell<Option<Class>>,
}

impl InFlight {
    pub(super) fn new(worker: Rc<Worker>, progress: Rc<Progress>) -> Self {
        Self { worker, progress, uncounted: Cell::new(Some(Class::Other)) }
    }

    /// What the request is for.
    pub(super) fn is_of(&self, class: Class) {
        self.uncounted.set(Some(class));
    }

    /// The request, which began at `begun`, has the head of its answer now.
    pub(super) fn answered(&self, begun: Instant, status: u16, told: &Told) {
        let Some(class) = self.uncounted.take() else { return };
        let counting = &self.worker.counting;
        let by = if told.by_home { Answered::Home } else { Answered::Edge };
        counting.ended(class, by, Ending::of(status));
        counting.took(class, self.worker.now().saturating_duration_since(begun));
        if let Some(why) = told.why {
            counting.fault(why);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(class) = self.uncounted.get() {
            self.worker.counting.ended(class, Answered::Edge, Ending::Left);
        }
        self.progress.end(self.worker.now());
    }
}

/// The body that the front sends.
pub(super) struct Outgoing {
    body: Body,
    in_flight: InFlight,
    // Boxed: it is there only while an access log is kept.
    line: Option<Box<Line>>,
    offered: bool,
    broken: Option<BodyError>,
    // Whether the piece after the one offered had to wait.
    waits: bool,
    // On HTTP/2, where many answers share a connection.
    place: Place,
    // Bytes that came along with the last piece, and are still to be given.
    behind: usize,
}

impl Outgoing {
    pub(super) fn new(body: Body, in_flight: InFlight, line: Option<Box<Line>>) -> Self {
        let (place, behind) = (Place::NONE, 0);
        Self { body, in_flight, line, offered: false, broken: None, waits: false, place, behind }
    }

    /// How large the next piece may be; `None`: it has to wait. A failure waits for nobody on HTTP/2.
    fn room(&mut self, cx: &Context<'_>) -> Option<usize> {
        let InFlight { worker, progress, .. } = &self.in_flight;
        let piece = worker.pieces.size();
        let Some(shares) = progress.shares() else {
            return (!progress.hold_back(piece)).then_some(piece);
        };
        if self.broken.is_some() || shares.permits(self.place, cx) {
            self.waits = false;
            return Some(piece.min(shares.size()));
        }
        if !std::mem::replace(&mut self.waits, true) {
            // The one before was taken as far as its stream goes, and still counts until it is gone.
            progress.moves(worker.now());
        }
        None
    }

    /// A piece for hyper, which counts among what the connection holds.
    fn piece(&mut self, bytes: Bytes) -> Piece {
        let Some(shares) = self.in_flight.progress.shares() else { return bytes.into() };
        let over = self.body.is_end_stream();
        if !over && self.place == Place::NONE {
            self.place = shares.enter();
        }
        let behind = if over { 0 } else { self.body.behind() };
        let before = std::mem::replace(&mut self.behind, behind);
        let piece = shares.piece(bytes, self.place);
        if (before, behind) != (0, 0) {
            shares.hold(behind);
            shares.release(before);
        }
        piece
    }

    fn taken(&mut self) {
        if std::mem::take(&mut self.offered) {
            self.in_flight.progress.taken(self.in_flight.worker.now());
            self.in_flight.worker.pieces.taken();
        }
    }
}

impl http_body::Body for Outgoing {
    type Data = Piece;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, BodyError>>> {
        let Some(most) = self.room(cx) else { return Poll::Pending };
        self.taken();
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        self.body.set_piece(most);
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                if let Some(line) = &mut self.line {
                    line.sent(bytes as u64);
                }
                self.offered = true;
                self.in_flight.progress.offered(bytes);
                self.in_flight.worker.pieces.offered();
                Poll::Ready(Some(Ok(frame.map_data(|bytes| self.piece(bytes)))))
            }
            Poll::Ready(Some(Err(error))) => {
                let why = lines::cut_short(&error);
                self.in_flight.worker.counting.fault(why);
                if let Some(line) = &mut self.line {
                    line.cut_short(why);
                }
                // hyper throws away what it has not written yet when a body fails: what came before the
                // break is let out first.
                self.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.taken();
        if let Some(shares) = self.in_flight.progress.shares() {
            shares.leave(self.place);
            shares.release(self.behind);
        }
        if self.body.is_end_stream()
            && let Some(line) = &mut self.line
        {
            line.whole();
        }
    }
}
