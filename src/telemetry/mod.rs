//! Diagnostics and access lines, and where they go.
//!
//! Nothing here knows Matrix: secrets are redacted by whoever fills in a record.

pub mod access;
pub mod diagnostics;
pub mod limited;
pub mod line;
pub mod output;
pub mod sink;
pub mod timestamp;
