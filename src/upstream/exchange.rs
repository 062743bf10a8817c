//! One request and its answer on one connection, both driven by one task.
//!
//! The answer may begin, and end, while the request is still on its way. What happens to the connection
//! afterwards, and whether a failed request goes again, is decided by `answer` and `pool`.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::backend::{Backend, Counted};
use super::codec::framing::Asked;
use super::codec::head::Head;
use super::download::{Download, ReadError};
use super::error::{BodyError, Cause, Progress};
use super::stream::Stream;
use super::timer::Alarm;
use super::upload::{Upload, UploadError};

/// An open connection to a backend.
#[derive(Debug)]
pub struct Conn {
    /// Its bytes.
    pub stream: Stream,
    alarm: Alarm,
    opened: Instant,
    /// Its place among the backend's connections.
    _place: Counted,
}

impl Conn {
    /// A connection that has just been opened.
    pub fn new(stream: Stream, place: Counted, now: Instant) -> Self {
        Self { stream, alarm: Alarm::default(), opened: now, _place: place }
    }
}

/// A frame of an answer's body; `None`: it is over.
pub type Flowed<E> = Result<Option<Frame<Bytes>>, BodyError<E>>;

/// A request and its answer.
#[derive(Debug)]
pub struct Exchange<B> {
    conn: Conn,
    // Boxed: it moves from attempt to attempt, and is nothing any more once an answer is taken.
    upload: Box<Upload<B>>,
    download: Download,
    asked: Asked,
    head_timeout: Duration,
    /// When the request last made progress, and the bytes written by then.
    moved: (Instant, u64),
    /// The connection takes no more; an answer may still come.
    broken: Option<io::Error>,
}

impl<B: Body<Data = Bytes> + Unpin> Exchange<B> {
    /// Begins at `now`; `piece` bytes are read at once until `set_piece` says otherwise.
    pub fn new(
        conn: Conn,
        upload: Box<Upload<B>>,
        asked: Asked,
        piece: usize,
        head_timeout: Duration,
        now: Instant,
    ) -> Self {
        let mut download = Download::default();
        download.set_piece(piece);
        Self { conn, upload, download, asked, head_timeout, moved: (now, 0), broken: None }
    }

    /// Writes the request and reads the answer's head.
    ///
    /// The head timeout runs from the last bytes that the backend took, and not while the client is
    /// awaited: a long upload is no slow answer.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Cause<B::Error>>> {
        if let Err(error) = self.poll_upload(cx) {
            return Poll::Ready(Err(match error {
                UploadError::Request(error) => Cause::RequestBody(error),
                UploadError::Length => Cause::RequestLength,
                UploadError::Write(error) => Cause::Io(error),
            }));
        }
        if let Poll::Ready(read) = self.download.poll_head(cx, &mut self.conn.stream, self.asked) {
            if self.download.has_begun() {
                self.upload.release();
            }
            return Poll::Ready(read.map_err(|error| match error {
                ReadError::Closed | ReadError::Chunk(_) => Cause::Closed,
                ReadError::Io(error) => Cause::Io(error),
                ReadError::Head(error) => Cause::Malformed(error),
            }));
        }
        if self.moved.1 != self.upload.written() {
            // A request that went out with the first poll needs no second look at the clock.
            let now =
                if self.moved.1 == 0 && self.upload.is_done() { self.moved.0 } else { crate::clock::now() };
            self.moved = (now, self.upload.written());
        }
        if self.upload.is_starved() {
            return Poll::Pending;
        }
        ready!(self.conn.alarm.poll(cx, self.moved.0 + self.head_timeout));
        Poll::Ready(Err(Cause::HeadTimeout))
    }

    /// The next frame of the answer's body; drives the rest of the request too.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Flowed<B::Error>> {
        if let Err(error) = self.poll_upload(cx) {
            return Poll::Ready(Err(match error {
                UploadError::Request(error) => BodyError::RequestBody(error),
                UploadError::Length => BodyError::RequestLength,
                UploadError::Write(error) => BodyError::Io(error),
            }));
        }
        let frame = ready!(self.download.poll_frame(cx, &mut self.conn.stream));
        Poll::Ready(frame.map_err(|error| match error {
            ReadError::Closed | ReadError::Head(_) => BodyError::Truncated,
            ReadError::Io(error) => BodyError::Io(error),
            ReadError::Chunk(error) => BodyError::Malformed(error),
        }))
    }

    /// Whether the way to `backend` was cut after the request was sent and no byte of an answer came.
    pub fn is_cut_off(&self, backend: &Backend) -> bool {
        backend.cut_off(self.conn.opened, self.moved.0) && !self.download.has_begun()
    }

    /// How far the request got on this connection.
    pub fn progress(&self) -> Progress {
        if self.download.has_begun() {
            Progress::AnswerBegan
        } else if self.upload.written() > 0 {
            Progress::SentNoAnswer
        } else {
            Progress::NotSent
        }
    }

    /// Bounds the bytes of the answer that are read at once from now on.
    pub fn set_piece(&mut self, bytes: usize) {
        self.download.set_piece(bytes);
    }

    /// The answer's side.
    pub fn download(&self) -> &Download {
        &self.download
    }

    /// The rest of the body, if all of it has come.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        self.download.take_whole()
    }

    /// Whether both sides are over, so that another exchange may follow.
    pub fn is_clean(&self) -> bool {
        self.upload.is_done()
            && self.broken.is_none()
            && self.download.is_ended()
            && !self.download.has_leftovers()
            && !self.asked.upgrade
    }

    /// Whether the request has been written to its end.
    pub fn is_uploaded(&self) -> bool {
        self.upload.is_done()
    }

    /// The connection, and what was read from it beyond the answer.
    pub fn into_conn(self) -> (Conn, Bytes) {
        (self.conn, self.download.into_leftovers())
    }

    /// The request, for another attempt; the connection is closed.
    pub fn into_upload(self) -> Box<Upload<B>> {
        self.upload
    }

    /// Writes on. A connection that takes no more is no failure yet: a backend that refuses an upload
    /// answers, and then closes.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), UploadError<B::Error>> {
        if self.broken.is_some() {
            return Ok(());
        }
        match self.upload.poll(cx, &mut self.conn.stream) {
            Poll::Ready(Err(UploadError::Write(error))) => {
                self.broken = Some(error);
                Ok(())
            }
            Poll::Ready(done) => done,
            Poll::Pending => Ok(()),
        }
    }
}
