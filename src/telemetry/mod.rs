//! Diagnostics and access lines, and where they go; counts of requests, and what they mean.
//!
//! Secrets are redacted by whoever fills in a record.

pub mod access;
pub mod counters;
pub mod diagnostics;
pub mod figures;
pub mod limited;
pub mod line;
pub mod output;
pub mod sink;
pub mod timestamp;
