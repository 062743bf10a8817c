//! What is done with a request: one file per action.
//!
//! Redirects and fixed answers need no file: they are `http::reply`'s.

pub mod body;
pub mod challenge;
mod failed;
pub mod files;
pub mod forward;
pub mod told;
pub mod upgrade;
pub mod well_known;
