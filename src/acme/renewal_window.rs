//! What a CA answers about the renewal of a certificate (RFC 9773 section 4.2). Pure.

use instant_acme::Error;
use serde::Deserialize;

use crate::acme::answer::Seen;
use crate::acme::failure::{Failure, Kind};
use crate::acme::moment::Moment;
use crate::acme::problem;
use crate::acme::records::RenewalWindow;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    suggested_window: Window,
    #[serde(default, rename = "explanationURL")]
    explanation: Option<String>,
}

#[derive(Deserialize)]
struct Window {
    start: Moment,
    end: Moment,
}

/// The window that `authority` answers in `body`; `seen` is what came beside it.
pub fn of_answer(body: &[u8], authority: &str, seen: &Seen) -> Result<RenewalWindow, Failure> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| problem::failure(authority, &Error::Json(error), seen, &[]))?;
    let Window { start, end } = answer.suggested_window;
    if end <= start {
        let text = format!("{authority}: its renewal window ends at {end}, before it starts at {start}");
        return Err(problem::plain(Kind::Unavailable, &text));
    }
    let explanation = answer.explanation.map(|text| problem::one_line(&text));
    Ok(RenewalWindow { start, end, explanation })
}
