//! What the operating system does for us, behind same-named functions; the only unsafe code.

pub mod beneath;
pub mod control_socket;
pub mod disk_fault;
pub mod folder;
pub mod limits;
pub mod notify;
pub mod owner;
pub mod socket;
pub mod syslog;
pub mod writable;

#[cfg(test)]
mod anew;
