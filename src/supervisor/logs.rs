//! Where log lines go: followed on reload, opened again after a rotation.
//!
//! Files are opened before a configuration is put in force, so following it can't fail.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::config::model::log::{AccessLog, Log, LogTo};
use crate::provision::{Provision, ProvisionError};
use crate::supervisor::refusal::Refusal;
use crate::telemetry::diagnostics::Diagnostics;
use crate::telemetry::sink::Sink;

/// The logs of this process.
#[derive(Debug)]
pub struct Logs {
    /// `None` where porchd runs inside a test: the test's own subscriber stays.
    diagnostics: Option<Diagnostics>,
    /// Access lines of all threads.
    pub access: Arc<Sink>,
}

/// Log files that are open and not yet used; one for each use, so that using them needs no descriptor more.
#[derive(Debug, Default)]
pub struct LogFiles {
    diagnostics: Option<File>,
    access: Option<File>,
}

impl LogFiles {
    /// Opens what `new` names and `old` did not.
    pub fn open(provision: &mut dyn Provision, old: Option<&Log>, new: &Log) -> Result<Self, Refusal> {
        let mut files = Self::default();
        let mut open = |path: &Path| provision.log_file(path).map(Some).map_err(Refusal::Log);
        if let LogTo::File(path) = &new.to
            && old.is_none_or(|old| old.to != new.to)
        {
            files.diagnostics = open(path)?;
        }
        if let Some(AccessLog { file: Some(path), .. }) = &new.access
            && old.is_none_or(|old| old.access != new.access)
        {
            files.access = open(path)?;
        }
        Ok(files)
    }
}

fn take(file: &mut Option<File>) -> io::Result<File> {
    file.take().ok_or_else(|| io::ErrorKind::NotFound.into())
}

impl Logs {
    /// Logs of the whole process.
    pub fn of_process(log: &Log, files: &mut LogFiles) -> io::Result<Self> {
        let diagnostics = Diagnostics::new(log, &mut |_| take(&mut files.diagnostics))?;
        diagnostics.install();
        Ok(Self { diagnostics: Some(diagnostics), access: Sink::new() })
    }

    /// Logs of a porchd inside another program.
    pub fn embedded() -> Self {
        Self { diagnostics: None, access: Sink::new() }
    }

    /// Follows a configuration whose files are open.
    pub fn follow(&self, log: &Log, files: &mut LogFiles) -> io::Result<()> {
        if let Some(diagnostics) = &self.diagnostics {
            diagnostics.apply(log, &mut |_| take(&mut files.diagnostics))?;
        }
        self.access.apply(log.access.as_ref(), &mut |_| take(&mut files.access))
    }

    /// Opens the files again; one that can't be is written further as it is, and the fault returned.
    pub fn reopen(&self, provision: &mut dyn Provision) -> Vec<ProvisionError> {
        let mut open = |path: &Path| provision.log_file(path);
        let diagnostics = self.diagnostics.as_ref().map_or(Ok(()), |it| it.reopen(&mut open));
        let access = self.access.reopen(&mut open);
        [diagnostics, access].into_iter().filter_map(Result::err).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;
    use crate::config::model::home::WireGuard;
    use crate::config::model::log::{AccessFormat, LogFormat, LogLevel};
    use crate::home::tunnel::Reading;
    use crate::os::folder::Folder;
    use crate::provision::PemPair;
    use crate::provision::in_process::InProcess;

    /// Opens log files but for the one that it can't.
    struct Broken<'a>(&'a Path);

    impl Provision for Broken<'_> {
        fn configuration(&mut self) -> Result<String, ProvisionError> {
            unreachable!("logs need none")
        }

        fn listen(&mut self, _: SocketAddr, _: usize) -> Result<Vec<TcpListener>, ProvisionError> {
            unreachable!("logs need none")
        }

        fn key_pair(&mut self, _: &Path, _: &Path) -> Result<PemPair, ProvisionError> {
            unreachable!("logs need none")
        }

        fn log_file(&mut self, path: &Path) -> Result<File, ProvisionError> {
            let source = io::ErrorKind::PermissionDenied.into();
            match path == self.0 {
                true => Err(ProvisionError::File { path: path.to_owned(), source }),
                false => InProcess::new(PathBuf::new()).log_file(path),
            }
        }

        fn public_file(&mut self, _: &Path) -> Result<Vec<u8>, ProvisionError> {
            unreachable!("logs need none")
        }

        fn secret_file(&mut self, _: &Path) -> Result<Vec<u8>, ProvisionError> {
            unreachable!("logs need none")
        }

        fn state_folder(&mut self, _: &Path) -> Result<Folder, ProvisionError> {
            unreachable!("logs need none")
        }

        fn tunnel(&mut self, _: &WireGuard) -> Result<Reading, ProvisionError> {
            unreachable!("logs need none")
        }

        fn control_socket(&mut self, _: &Path, _: bool) -> Result<Option<UnixListener>, ProvisionError> {
            unreachable!("logs need none")
        }
    }

    #[test]
    fn log_that_cannot_be_opened_again_does_not_hold_up_the_other() {
        let folder = std::env::temp_dir().join(format!("porchd-logs-{:x}", crate::clock::random()));
        std::fs::create_dir(&folder).unwrap();
        let (diagnostics, access) = (folder.join("porchd.log"), folder.join("access.log"));
        let log = Log {
            to: LogTo::File(diagnostics.clone()),
            level: LogLevel::Info,
            format: LogFormat::Text,
            access: Some(AccessLog { file: Some(access.clone()), format: AccessFormat::Combined }),
        };
        let mut files = LogFiles::open(&mut Broken(Path::new("")), None, &log).unwrap();
        let own = Diagnostics::new(&log, &mut |_| take(&mut files.diagnostics)).unwrap();
        let logs = Logs { diagnostics: Some(own), access: Sink::new() };
        logs.follow(&log, &mut files).unwrap();
        std::fs::rename(&access, folder.join("access.log.0")).unwrap();
        let errors = logs.reopen(&mut Broken(&diagnostics));
        assert!(
            matches!(&errors[..], [ProvisionError::File { path, .. }] if *path == diagnostics),
            "{errors:?}"
        );
        logs.access.write(b"after\n");
        assert_eq!(std::fs::read(&access).unwrap(), b"after\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
