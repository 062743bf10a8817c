//! How many connections a configuration means on this machine.

use crate::config::model::Config;
use crate::listener::permits::{Bounds, sustainable};

/// More than this must be asked for: it is memory too.
const MOST_AUTOMATIC: usize = 20_000;

/// The bounds on connections that `config` means on a process with so many `descriptors`.
pub fn bounds(config: &Config, descriptors: u64) -> Bounds {
    let total = config.limits.connections.unwrap_or_else(|| sustainable(descriptors, MOST_AUTOMATIC));
    Bounds { total, per_address: config.limits.connections_per_address }
}

/// A warning when `config` promises more connections than there are descriptors for.
pub fn too_many(config: &Config, descriptors: u64) -> Option<String> {
    let written = config.limits.connections?;
    let most = sustainable(descriptors, usize::MAX);
    (written > most).then(|| {
        format!(
            "limits.connections is {written}, but {descriptors} file descriptors are enough for {most}; \
             raise the limit of open files (LimitNOFILE=, openfiles-cur) or lower limits.connections"
        )
    })
}
