//! Tells the service manager how the daemon stands (sd_notify(3), `Type=notify-reload`).
//!
//! Nothing happens unless `NOTIFY_SOCKET` is set. A manager that can't be reached never hinders
//! serving: the failure is returned to be logged, and that is all.

use std::io;

use sd_notify::NotifyState;

/// Start-up or a reload is done; `status` is the line that `systemctl status` shows.
pub fn ready(status: &str) -> io::Result<()> {
    // A status of several lines would end the assignment early and smuggle in others.
    let line = status.lines().next().unwrap_or_default();
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(line)])
}

/// A reload has begun. `ready` must follow, whether it succeeded or not.
pub fn reloading() -> io::Result<()> {
    // systemd tells by the time whether this reload is the one that it asked for.
    sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
}

/// A stop has begun.
pub fn stopping() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Stopping])
}
