//! What a handler tells about an answer, for the access line.

use std::time::Duration;

use http::HeaderValue;

/// Who answered and how it went.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Whether a backend made the answer.
    pub by_home: bool,
    /// Why the edge answered, as a token of the fault table.
    pub why: Option<&'static str>,
    /// How often the request was sent to a backend.
    pub attempts: u32,
    /// Until the backend's answer began.
    pub upstream: Option<Duration>,
    /// `X-Request-ID`, if the request got so far.
    pub request_id: Option<HeaderValue>,
}

impl Told {
    /// The request's id, or nothing.
    pub fn request_id(&self) -> &str {
        self.request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default()
    }
}
