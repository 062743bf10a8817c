//! What the operating system does for us, behind same-named functions; the only unsafe code.

pub mod beneath;
pub mod limits;
pub mod notify;
pub mod socket;
pub mod syslog;
pub mod writable;
