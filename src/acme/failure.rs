//! Why an attempt failed, in the terms that the schedule decides by.

use std::fmt;
use std::sync::Arc;

use crate::acme::moment::Moment;
use crate::config::model::acme::Challenge;

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault it is, and so what happens next.
    pub kind: Kind,
    /// The earliest time at which the CA wants to hear of it again.
    pub retry_after: Option<Moment>,
    /// What is told, with the CA's own words: one line.
    pub text: String,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The CA can't be reached, answers nonsense or 5xx, or never finishes.
    Unavailable,
    /// The CA says that it was asked too often (429, `rateLimited`).
    RateLimited,
    /// These names were refused. The others of the order, if any, were not.
    Names(Vec<FailedName>),
    /// The CA refuses what was asked and will again: a person must change something (account, profile, terms).
    Refused,
    /// This machine is at fault: its disk, its keys, its files.
    Local,
}

/// A name that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedName {
    /// The name.
    pub name: Arc<str>,
    /// The challenge by which the CA tried to validate it; `None`: it would not even try.
    pub challenge: Option<Challenge>,
    /// What the CA says.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
