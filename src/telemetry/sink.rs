//! Where access lines go: one output shared by all threads, swapped on reload and on SIGUSR1.
//!
//! It writes whole buffers of whole lines and never waits for room: what can't be written is counted and told.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::config::model::log::{AccessFormat, AccessLog};
use crate::telemetry::limited::Limited;
use crate::telemetry::output::Output;

/// How often dropped lines are told at most.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The access log of the whole process.
#[derive(Debug)]
pub struct Sink {
    target: ArcSwap<Target>,
    dropped: AtomicU64,
    gate: Limited,
}

#[derive(Debug)]
struct Target {
    log: Option<AccessLog>,
    /// `None`: nowhere.
    output: Option<Output>,
}

impl Sink {
    /// A sink that writes nothing until `apply` says where to.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            target: ArcSwap::from_pointee(Target { log: None, output: None }),
            dropped: AtomicU64::new(0),
            gate: Limited::new(TELL_EVERY),
        })
    }

    /// Writes as `log` says from now on; `open` opens a file for appending.
    ///
    /// # Errors
    /// Those of `open`; then nothing has changed. A file that is written already is not opened again.
    pub fn apply<E>(
        &self,
        log: Option<&AccessLog>,
        open: &mut dyn FnMut(&Path) -> Result<File, E>,
    ) -> Result<(), E> {
        if self.target.load().log.as_ref() == log {
            return Ok(());
        }
        self.replace(log.cloned(), open)
    }

    /// Opens the file again, if it is one, after a rotation has moved it away.
    ///
    /// # Errors
    /// Those of `open`; then the old file is written further.
    pub fn reopen<E>(&self, open: &mut dyn FnMut(&Path) -> Result<File, E>) -> Result<(), E> {
        let log = self.target.load().log.clone();
        let is_file = log.as_ref().is_some_and(|log| log.file.is_some());
        if is_file { self.replace(log, open) } else { Ok(()) }
    }

    fn replace<E>(
        &self,
        log: Option<AccessLog>,
        open: &mut dyn FnMut(&Path) -> Result<File, E>,
    ) -> Result<(), E> {
        let output = match &log {
            None => None,
            // Without a descriptor to spare there is more amiss than this log.
            Some(AccessLog { file: None, .. }) => Output::stdout().ok(),
            Some(AccessLog { file: Some(path), .. }) => Some(Output::of(open(path)?)),
        };
        self.target.store(Arc::new(Target { log, output }));
        Ok(())
    }

    /// How lines are to be written; `None`: not at all.
    pub fn format(&self) -> Option<AccessFormat> {
        self.target.load().log.as_ref().map(|log| log.format)
    }

    /// Writes whole lines at once, so that those of other threads can't get between.
    pub fn write(&self, lines: &[u8]) {
        if let Some(output) = &self.target.load().output
            && let Err(lost) = output.write(lines)
        {
            self.dropped.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// Tells of dropped lines, at most once a minute.
    pub fn tell_dropped(&self, now: Instant) {
        if self.dropped.load(Ordering::Relaxed) > 0 && self.gate.allows(now) {
            let lines = self.dropped.swap(0, Ordering::Relaxed);
            tracing::warn!(lines, "access log: lines were dropped (is the disk full, or does nobody read?)");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn lines_after_a_reopen_go_to_the_new_file() {
        let dir = std::env::temp_dir().join(format!("porchd-sink-{:x}", crate::clock::random()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("access.log");
        let mut open = |path: &Path| File::options().append(true).create(true).open(path);
        let sink = Sink::new();
        sink.write(b"nowhere\n");
        let log = AccessLog { file: Some(path.clone()), format: AccessFormat::Combined };
        sink.apply(Some(&log), &mut open).unwrap();
        sink.write(b"one\n");
        std::fs::rename(&path, dir.join("access.log.0")).unwrap();
        sink.apply(Some(&log), &mut open).unwrap();
        sink.write(b"two\n");
        sink.reopen(&mut open).unwrap();
        sink.write(b"three\n");
        let mut refuse = |_: &Path| Err(io::Error::from(io::ErrorKind::PermissionDenied));
        sink.reopen(&mut refuse).unwrap_err();
        sink.write(b"four\n");
        assert_eq!(std::fs::read_to_string(dir.join("access.log.0")).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\nfour\n");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
