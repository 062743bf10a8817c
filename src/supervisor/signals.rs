//! What the process is told by signals, where no warden hears them: SIGHUP reloads, SIGUSR1 opens the logs again,
//! SIGTERM and SIGINT drain and end, and the second of them ends at once. SIGUSR2, an upgrade where there is a warden,
//! is told to be of no use.
//!
//! SIGPIPE needs nothing here: Rust's runtime ignores it before `main`.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::supervisor::steering::Asked;

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    reload: Signal,
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
    upgrade: Signal,
}

impl Signals {
    /// Catches them from now on.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next one. Several of one kind that come at once are one.
    pub async fn next(&mut self) -> Asked {
        loop {
            return tokio::select! {
                _ = self.terminate.recv() => Asked::Stop,
                _ = self.interrupt.recv() => Asked::Stop,
                _ = self.reload.recv() => Asked::Reload,
                _ = self.reopen.recv() => Asked::Reopen,
                _ = self.upgrade.recv() => {
                    tracing::warn!(
                        "SIGUSR2: a porchd in one process cannot be upgraded; restart it, or run it without --one-process"
                    );
                    continue;
                }
            };
        }
    }
}
