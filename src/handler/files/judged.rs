//! Judgements of one file, remembered: most requests for it are asked in one of a few ways.
//!
//! Who judges is `head`; this knows no files.

use std::cell::RefCell;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

/// The answer's head, and what its body is cut from.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    pub(super) head: Response<()>,
    /// Index into `SIBLINGS`; `None`: the plain file.
    pub(super) sibling: Option<usize>,
    /// First byte and number of bytes; `None`: no body.
    pub(super) part: Option<(u64, u64)>,
}

/// What was judged of one file before, for requests without conditions: only the encodings that they accept
/// tell these apart, and browsers know few lists of them.
#[derive(Debug, Default)]
pub(super) struct Memory(RefCell<Vec<(Option<HeaderValue>, Judged)>>);

impl Memory {
    /// The judgement of a request with these headers.
    pub(super) fn recall(&self, headers: &HeaderMap) -> Option<Judged> {
        let accepted = accepted(headers)?;
        let known = self.0.borrow();
        known.iter().find(|(known, _)| known.as_ref() == accepted).map(|(_, judged)| judged.clone())
    }

    /// Keeps the judgement of a request with these headers, if it is a whole file.
    pub(super) fn keep(&self, headers: &HeaderMap, judged: &Judged) {
        let Some(accepted) = accepted(headers) else { return };
        let mut known = self.0.borrow_mut();
        let is_known = known.iter().any(|(known, _)| known.as_ref() == accepted);
        if judged.head.status() == StatusCode::OK && known.len() < MOST_KEPT && !is_known {
            // A copy: the value itself is a part of all that was read of its request.
            let accepted = accepted.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
            known.push((accepted, judged.clone()));
        }
    }
}

/// The value of `Accept-Encoding`, if it is one that others may send too; `Some(None)`: there is none.
fn accepted(headers: &HeaderMap) -> Option<Option<&HeaderValue>> {
    let mut lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let (first, more) = (lines.next(), lines.next());
    let usual = more.is_none() && first.is_none_or(|value| value.len() <= LONGEST_KEPT);
    usual.then_some(first)
}

/// Lists of encodings that are told apart for one file.
const MOST_KEPT: usize = 4;
/// The longest of them.
const LONGEST_KEPT: usize = 64;
