//! Incidents: the times in which an upstream was away or unwell, told, counted and kept.
//!
//! Inside, top reads down ("P" is pure):
//!
//! ```text
//! keeper.rs       the file in the state folder: read at the start, written beside the control thread
//! journal.rs (P)  from what was observed to incidents, and when they are worth a log line or a write
//! evidence.rs (P) what is observed of an upstream
//! file.rs (P)     the text of the file
//! tunnel.rs (P)   the tunnel home as their cause
//! told.rs (P)     incidents in sentences
//! record.rs (P)   what an incident is; its JSON is for programs too
//! ```
//!
//! It watches nothing by itself: the supervisor looks, and says what the time is.

pub mod evidence;
pub mod file;
pub mod journal;
pub mod keeper;
pub mod record;
pub mod told;
pub mod tunnel;
