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
    /// How long it waited for home to come back.
    pub parked: Duration,
    /// What home's absence was put down to, if it had to wait or failed for it.
    pub cause: Option<&'static str>,
    /// When the client should ask again, where that is known better than by the fault alone.
    pub retry_after: Option<Duration>,
    /// `X-Request-ID`, if the request got so far.
    pub request_id: Option<RequestId>,
}

/// The id under which a request is known at home and in the log.
#[derive(Debug, Clone)]
pub enum RequestId {
    /// The client's own, of harmless characters.
    Theirs(HeaderValue),
    /// 16 hexadecimal digits.
    Ours([u8; 16]),
}

impl RequestId {
    /// A new one out of a random number.
    pub fn made_of(random: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        Self::Ours(std::array::from_fn(|at| DIGITS[(random >> (60 - 4 * at)) as usize & 15]))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Theirs(id) => id.to_str().unwrap_or_default(),
            // Digits are always text.
            Self::Ours(id) => std::str::from_utf8(id).unwrap_or_default(),
        }
    }
}

impl Told {
    /// The request's id, or nothing.
    pub fn request_id(&self) -> &str {
        self.request_id.as_ref().map(RequestId::as_str).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_number_in_hexadecimal() {
        assert_eq!(RequestId::made_of(0x0123_4567_89ab_cdef).as_str(), "0123456789abcdef");
        assert_eq!(RequestId::Theirs(HeaderValue::from_static("own-1")).as_str(), "own-1");
    }
}
