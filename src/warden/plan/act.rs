//! What is asked of the plan, and what it says is to be done.

use crate::provision::calls::Order;
use crate::warden::plan::EdgeId;

/// What is asked of the warden by signals and by its main edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Take the new configuration.
    Reload,
    /// Drain and end; again: now.
    Stop,
    /// Open the logs again.
    Reopen,
    /// Replace warden and edge by the binary on disk.
    Upgrade,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Start an edge.
    Start {
        /// Which it will be.
        id: EdgeId,
        /// Whether it leads from the start on.
        leads: bool,
        /// Whether it begins with the file of now, or with the configuration that was in force.
        anew: bool,
    },
    /// Tell an edge.
    Tell(EdgeId, Order),
    /// End an edge at once.
    Kill(EdgeId),
    /// Open the warden's own log again.
    Reopen,
    /// Have the binary on disk take the warden's place.
    Replace,
    /// End.
    Exit {
        /// Whether all is well.
        well: bool,
    },
}
