//! A request's body as the edge reads it: bounded in size, and in the time between two pieces.
//!
//! It streams; nothing is collected. The clock runs only while porchd itself waits for the client: a
//! body that nobody polls (because the backend is slow) never times out.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

/// Most bytes that are read of a body that nobody wants.
const SKIMMED_BYTES: usize = 64 * 1024;
/// How often the front is asked for more of it.
const SKIMMED_ROUNDS: usize = 8;

/// Why a request's body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    /// More bytes came than the limit allows.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// No byte came for the whole of `body_progress`.
    #[error("the client sent nothing of its body for {} s", .after.as_secs())]
    Stalled {
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke, the stream was reset, or the framing was bad.
    #[error("the client's body broke off")]
    Broken(#[source] hyper::Error),
}

/// The body of one request.
pub struct RequestBody {
    /// `None` after its end.
    source: Option<Incoming>,
    room: u64,
    limit: u64,
    patience: Duration,
    // Boxed and made at the first wait: most requests have no body or have it at hand.
    timer: Option<Pin<Box<Sleep>>>,
    left: Leftover,
}

/// What was not read of a request's body, once the body is gone.
#[derive(Debug, Clone, Default)]
pub struct Leftover(Option<Rc<Left>>);

#[derive(Debug, Default)]
struct Left {
    rest: RefCell<Option<Incoming>>,
    /// Whether anybody has asked for any of it.
    wanted: Cell<bool>,
}

impl Leftover {
    /// Reads away what the client has sent already, without waiting for more: most bodies are short and
    /// came with their head. Whether that was all, so that the connection can go on.
    pub async fn skim(self) -> bool {
        let Some(mut source) = self.0.and_then(|left| left.rest.take()) else { return true };
        let mut room = SKIMMED_BYTES;
        for _ in 0..SKIMMED_ROUNDS {
            let at_hand = poll_fn(|cx| Poll::Ready(Pin::new(&mut source).poll_frame(cx))).await;
            match at_hand {
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    let Some(left) = room.checked_sub(bytes) else { return false };
                    room = left;
                }
                Poll::Ready(end) => return end.is_none(),
                // The front hands on what it holds only after it was asked.
                Poll::Pending => tokio::task::yield_now().await,
            }
            if source.is_end_stream() {
                return true;
            }
        }
        false
    }

    /// Whether anything was left.
    pub fn is_some(&self) -> bool {
        self.0.as_ref().is_some_and(|left| left.rest.borrow().is_some())
    }

    /// Whether there is a body that nobody has asked for yet: the request waits before it is sent on.
    pub fn is_unwanted(&self) -> bool {
        self.0.as_ref().is_some_and(|left| !left.wanted.get())
    }
}

impl RequestBody {
    /// Wraps a body that may wait `patience` for each piece; without a size limit yet.
    pub fn new(source: Incoming, patience: Duration) -> Self {
        let source = (!source.is_end_stream()).then_some(source);
        let left = Leftover(source.is_some().then(Rc::default));
        Self { source, room: u64::MAX, limit: u64::MAX, patience, timer: None, left }
    }

    /// Sets the largest size in bytes.
    ///
    /// # Errors
    /// When the client has already announced more.
    pub fn limit(&mut self, limit: u64) -> Result<(), RequestBodyError> {
        if self.size_hint().lower() > limit {
            return Err(RequestBodyError::TooLarge { limit });
        }
        self.room = limit;
        self.limit = limit;
        Ok(())
    }

    /// Where to find what is left of it when it is dropped.
    pub fn leftover(&self) -> Leftover {
        self.left.clone()
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<RequestBodyError> {
        let patience = self.patience;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(RequestBodyError::Stalled { after: patience })
    }

    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), RequestBodyError> {
        let Some(data) = frame.data_ref() else { return Ok(()) };
        match self.room.checked_sub(data.len() as u64) {
            Some(room) => self.room = room,
            None => return Err(RequestBodyError::TooLarge { limit: self.limit }),
        }
        Ok(())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = &mut *self;
        let Some(source) = &mut this.source else { return Poll::Ready(None) };
        if let Some(left) = &this.left.0 {
            left.wanted.set(true);
        }
        match Pin::new(source).poll_frame(cx) {
            Poll::Pending => this.poll_patience(cx).map(|error| Some(Err(error))),
            Poll::Ready(None) => {
                this.source = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(RequestBodyError::Broken(error)))),
            Poll::Ready(Some(Ok(frame))) => {
                this.timer = None;
                Poll::Ready(Some(this.count(&frame).map(|()| frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.source.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(left) = &self.left.0 {
            *left.rest.borrow_mut() = self.source.take().filter(|source| !source.is_end_stream());
        }
    }
}
