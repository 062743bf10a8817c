//! HTTP at the edge, as pure functions: who is asked (authority), which headers pass (headers), what a
//! bare front hides (scan), what goes wrong (fault) and how the edge itself answers (reply).
//!
//! No sockets and no clock, except that `body` waits for a client's bytes. What is ambiguous is refused,
//! never guessed.

pub mod ambiguity;
pub mod authority;
pub mod body;
mod edits;
pub mod fault;
pub mod forwarded;
pub mod headers;
mod hop;
mod page;
pub mod rate;
pub mod reply;
pub mod scan;
pub mod survey;
pub mod watch;
