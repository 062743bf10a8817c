//! What the operating system does for us, behind same-named functions; the only unsafe code.

pub mod activation;
pub mod beneath;
pub mod children;
pub mod confine;
pub mod control_socket;
pub mod cores;
pub mod disk_fault;
pub mod folder;
pub mod limits;
pub mod notify;
pub mod owner;
pub mod parcel;
pub mod socket;
pub mod syslog;
pub mod users;
pub mod waiting;
#[cfg(target_os = "openbsd")]
pub mod wireguard;
pub mod writable;

#[cfg(test)]
mod anew;
