//! Linux: the order in which the walls go up, each needing what the ones after it take away.

mod calls;
mod names;
mod paths;
mod privileges;

use std::path::PathBuf;

use crate::os::confine::{ConfineError, Held};

pub(super) fn edge(held: &mut Held) -> Result<(), ConfineError> {
    let threads = threads();
    if threads > 1 {
        return Err(ConfineError::Threads(threads));
    }
    names::load_modules();
    privileges::forbid_core_dumps()?;
    privileges::give_up(held)?;
    paths::restrict(held)?;
    calls::restrict(held)
}

pub(super) fn warden(_: bool) -> Result<(), ConfineError> {
    privileges::forbid_core_dumps()
}

pub(super) fn may_ask_tunnels() -> bool {
    true
}

pub(super) fn name_files() -> Vec<PathBuf> {
    names::files()
}

/// How many threads this process has; one where that can't be told.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}
