//! The body of an answer, whoever made it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::handler::files::body::FileBody;
use crate::http::body::{RequestBody, RequestBodyError};
use crate::upstream;
use crate::upstream::answer::AnswerBody;

/// Why an answer's body broke off. The front cuts the connection (HTTP/1) or resets the stream (HTTP/2),
/// so that the client sees the answer as truncated.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The backend's part.
    #[error("the backend's answer broke off")]
    Home(#[source] upstream::error::BodyError<RequestBodyError>),
    /// A file's.
    #[error("a file could not be read to its end")]
    File(#[source] std::io::Error),
}

/// The body of an answer.
pub enum Body {
    /// Bytes at hand; `None` once they were given.
    Bytes(Option<Bytes>),
    /// From a backend.
    Home(AnswerBody<RequestBody>),
    /// From a folder.
    File(Box<FileBody>),
}

impl Body {
    /// No body at all.
    pub const EMPTY: Self = Self::Bytes(None);

    /// Bounds the frames to come to `bytes` each, where they are not in memory already.
    pub fn set_piece(&mut self, bytes: usize) {
        match self {
            Self::Bytes(_) => {}
            Self::Home(body) => body.set_piece(bytes),
            Self::File(body) => body.set_piece(bytes),
        }
    }

    /// Bytes that have come and were not given yet. Files are read when they are asked for.
    pub fn behind(&self) -> usize {
        match self {
            Self::Home(body) => body.behind(),
            Self::Bytes(_) | Self::File(_) => 0,
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes((!bytes.is_empty()).then_some(bytes))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Home(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(BodyError::Home)))
            }
            Self::File(body) => Pin::new(&mut **body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(BodyError::File))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_none(),
            Self::Home(body) => body.is_end_stream(),
            Self::File(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Home(body) => body.size_hint(),
            Self::File(body) => body.size_hint(),
        }
    }
}
