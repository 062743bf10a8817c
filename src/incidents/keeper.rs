//! `incidents.json` in the state folder: read at the start, written by a thread of its own.
//!
//! A disk that fails costs the memory of incidents and nothing else: it is told, and porchd goes on.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::incidents::file::{self, FileError};
use crate::incidents::record::Incident;
use crate::os::disk_fault;
use crate::os::folder::Folder;

const NAME: &str = "incidents.json";
const BROKEN: &str = "incidents.json.broken";
/// A thousand incidents with all their causes are less; a wrong file must not eat the memory.
const LARGEST: u64 = 16 * 1024 * 1024;
/// More than a last write takes: an end must not depend on a dead disk.
const LAST_WRITE: Duration = Duration::from_secs(3);

/// Incidents that can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The system refuses the file.
    #[error("{path}: {reason}", path = path.display(), reason = disk_fault::reason(source))]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why; it is shown with the cure.
        source: io::Error,
    },
    /// It is no text.
    #[error("{path}: this is not text", path = path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// It holds something else.
    #[error("{path}: {fault}", path = path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: FileError,
    },
}

/// What the folder has of incidents; nothing when there is no file yet.
///
/// # Errors
/// Those of the disk, and what is wrong with the file.
pub fn read(folder: &Folder) -> Result<Vec<Incident>, KeepError> {
    let path = || folder.path().join(NAME);
    let bytes = folder.read(NAME, LARGEST).map_err(|source| KeepError::Disk { path: path(), source })?;
    let Some(bytes) = bytes else { return Ok(Vec::new()) };
    let text = String::from_utf8(bytes).map_err(|_| KeepError::NotText { path: path() })?;
    file::read(&text).map_err(|fault| KeepError::Broken { path: path(), fault })
}

/// The same at a start: a file that can't be read is called `incidents.json.broken` from now on, and told.
pub fn take(folder: &Folder) -> (Vec<Incident>, Option<String>) {
    match read(folder) {
        Ok(kept) => (kept, None),
        Err(error) => {
            let aside = match folder.rename(NAME, BROKEN) {
                Ok(()) => format!("it is called {BROKEN} now, and incidents begin anew"),
                Err(_) => String::from("incidents begin anew, and it is written over"),
            };
            (Vec::new(), Some(format!("{error}; {aside}")))
        }
    }
}

/// The thread that writes. Dropped, it writes what it was given last, and ends.
#[derive(Debug)]
pub struct Keeper {
    texts: Option<Sender<String>>,
    done: Receiver<()>,
}

impl Keeper {
    /// Writes into `folder`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(folder: Folder) -> io::Result<Self> {
        let (texts, given) = channel();
        let (alive, done) = channel();
        std::thread::Builder::new().name("porchd-incidents".to_owned()).spawn(move || {
            write_all(&folder, &given);
            drop(alive);
        })?;
        Ok(Self { texts: Some(texts), done })
    }

    /// Has `text` written, in place of what was there.
    pub fn keep(&self, text: String) {
        // A thread that is gone has told why.
        self.texts.as_ref().map(|texts| texts.send(text));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.texts = None;
        let _ = self.done.recv_timeout(LAST_WRITE);
    }
}

fn write_all(folder: &Folder, given: &Receiver<String>) {
    let mut failing = false;
    while let Ok(text) = given.recv() {
        // On a slow disk texts queue: the newest holds all.
        let text = given.try_iter().last().unwrap_or(text);
        let written = folder.write(NAME, text.as_bytes());
        match written {
            Err(source) if !failing => {
                let error = KeepError::Disk { path: folder.path().join(NAME), source };
                tracing::warn!("incidents are kept in memory alone: {error}");
                failing = true;
            }
            Ok(()) if failing => {
                tracing::info!("incidents are kept on disk again");
                failing = false;
            }
            _ => {}
        }
    }
}

/// The text that holds `incidents`.
pub fn text<'a>(incidents: impl Iterator<Item = &'a Incident>) -> String {
    file::text(incidents)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::acme::moment::Moment;
    use crate::incidents::record::{End, Requests};

    /// A folder that goes away with its test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("porchd-incidents-{:x}", crate::clock::random())))
        }

        fn folder(&self) -> Folder {
            Folder::make(&self.0).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn incident(id: u64) -> Incident {
        Incident {
            id,
            upstream: "home".into(),
            began: Moment::parse("2026-11-28T14:02:11Z").unwrap(),
            ended: None,
            end: End::Lasts,
            lasted_ms: 3,
            causes: Vec::new(),
            requests: Requests::default(),
        }
    }

    #[test]
    fn what_was_given_last_is_there_when_it_ends() {
        let scratch = Scratch::new();
        assert!(read(&scratch.folder()).unwrap().is_empty());
        let keeper = Keeper::start(scratch.folder()).unwrap();
        for id in 1..=20 {
            keeper.keep(text([incident(id)].iter()));
        }
        drop(keeper);
        assert_eq!(read(&scratch.folder()).unwrap(), [incident(20)]);
        let written = fs::read_to_string(scratch.0.join(NAME)).unwrap();
        assert!(written.starts_with("{\"version\":1,\"incidents\":[\n{\"id\":20,"), "{written}");
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_told() {
        for damaged in ["", "{", "[]", "{\"version\":2,\"incidents\":7}", "{\"version\":1}", "\u{fffd}"] {
            let scratch = Scratch::new();
            let folder = scratch.folder();
            let bytes = if damaged == "\u{fffd}" { b"\xff\xfe".to_vec() } else { damaged.into() };
            fs::write(scratch.0.join(NAME), &bytes).unwrap();
            let (kept, warning) = take(&folder);
            assert!(kept.is_empty());
            let warning = warning.unwrap();
            assert!(warning.contains(NAME) && warning.contains("begin anew"), "{warning}");
            assert_eq!(fs::read(scratch.0.join(BROKEN)).unwrap(), bytes);
            assert!(take(&folder).1.is_none());
        }
    }

    #[test]
    fn what_is_no_file_does_not_keep_porchd_from_starting() {
        let scratch = Scratch::new();
        let folder = scratch.folder();
        fs::create_dir(scratch.0.join(NAME)).unwrap();
        let (kept, warning) = take(&folder);
        assert!(kept.is_empty() && warning.is_some_and(|warning| warning.contains(NAME)));
    }
}
