//! What one thread knows of the files that it serves: small ones whole, of all what they are.
//!
//! An entry is believed for a second and then compared with the disk, so a change is seen after a second at
//! most. Missing files are not remembered: nobody can fill the memory with names. It opens and reads on the
//! serving thread: small files come from the page cache in a few microseconds, once a second each.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::handler::files::judged::Memory;
use crate::os::beneath::Folder;
use crate::route::hash::Map;
use crate::telemetry::limited::Limited;

/// Files up to this size are kept whole.
pub(super) const SMALL: u64 = 64 * 1024;

/// How long an entry is believed without a look at the disk.
const BELIEVED: Duration = Duration::from_secs(1);

/// Entries that nobody asked for during this time are dropped.
const IDLE: Duration = Duration::from_secs(300);

/// Most bytes and most entries of one thread.
const MOST_BYTES: usize = 16 * 1024 * 1024;
const MOST_FILES: usize = 4096;

/// The encodings of files that lie beside the plain one, and their file name endings.
pub(super) const SIBLINGS: [(&str, &str); 3] = [("br", ".br"), ("zstd", ".zst"), ("gzip", ".gz")];

/// One thread's cache.
#[derive(Debug)]
pub struct Cache {
    inner: RefCell<Inner>,
}

#[derive(Debug)]
struct Inner {
    roots: Map<OsString, Root>,
    /// At least the bytes and the entries that there are; counted exactly when they seem too many.
    bytes: usize,
    count: usize,
    swept: Option<Instant>,
    broken_root: Limited,
}

#[derive(Debug)]
struct Root {
    folder: Arc<Folder>,
    opened: Instant,
    files: Map<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    checked: Instant,
    used: Instant,
    found: Rc<Found>,
}

/// A file and what lies beside it in other encodings, in the order of `SIBLINGS`.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) plain: Held,
    pub(super) siblings: [Option<Held>; 3],
    pub(super) judged: Memory,
}

/// One file as it was when it was looked at.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) stat: Stat,
    /// `None`: too large to be kept.
    pub(super) bytes: Option<Bytes>,
}

/// By what a file is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) len: u64,
    pub(super) modified: SystemTime,
    inode: (u64, u64),
    changed: (i64, i64),
}

/// What a name is.
#[derive(Debug)]
pub(super) enum Looked {
    File(Rc<Found>),
    Folder,
    /// A FIFO or a device: never read for a client.
    Special,
}

impl Stat {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            len: meta.len(),
            modified: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            inode: (meta.dev(), meta.ino()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

impl Cache {
    /// An empty cache.
    pub fn new() -> Self {
        let broken_root = Limited::new(Duration::from_secs(60));
        let inner = Inner { roots: Map::default(), bytes: 0, count: 0, swept: None, broken_root };
        Self { inner: RefCell::new(inner) }
    }

    /// Drops what nobody has asked for in five minutes; to be called now and then.
    pub fn sweep(&self, now: Instant) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.swept.is_some_and(|swept| now.saturating_duration_since(swept) < IDLE / 5) {
            return;
        }
        inner.swept = Some(now);
        let idle = |since: Instant| now.saturating_duration_since(since) > IDLE;
        for root in inner.roots.values_mut() {
            root.files.retain(|_, entry| !idle(entry.used));
        }
        inner.roots.retain(|_, root| !(root.files.is_empty() && idle(root.opened)));
    }

    /// The root, held open so that all of a request sees the same one; opened again each second, as a deployment
    /// may put another folder in its place.
    pub(super) fn folder(&self, root: &Path, now: Instant) -> io::Result<Arc<Folder>> {
        self.inner.borrow_mut().root(root, now).map(|root| Arc::clone(&root.folder))
    }

    /// The file `name` beneath `root`, if it is known and believed without a look at the disk.
    pub(super) fn believed(&self, root: &Path, name: &str, now: Instant) -> Option<Rc<Found>> {
        let inner = &mut *self.inner.borrow_mut();
        let root = inner.roots.get_mut(root.as_os_str()).filter(|root| is_believed(root.opened, now))?;
        let entry = root.files.get_mut(name).filter(|entry| is_believed(entry.checked, now))?;
        entry.used = now;
        Some(Rc::clone(&entry.found))
    }

    /// What `name` beneath `root` is.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, or what else the system says.
    pub(super) fn look(&self, root: &Path, name: &str, now: Instant) -> io::Result<Looked> {
        let inner = &mut *self.inner.borrow_mut();
        let held = inner.root(root, now)?;
        let known = held.files.get_mut(name).map(|entry| {
            entry.used = now;
            &*entry
        });
        if let Some(entry) = known
            && is_believed(entry.checked, now)
        {
            return Ok(Looked::File(Rc::clone(&entry.found)));
        }
        let known = known.map(|entry| Rc::clone(&entry.found));
        let looked = look_at_disk(&held.folder, name, known.as_deref());
        match &looked {
            Ok(Looked::File(found)) => {
                let entry = Entry { checked: now, used: now, found: Rc::clone(found) };
                let replaced = held.files.insert(name.to_owned(), entry);
                inner.count += usize::from(replaced.is_none());
                inner.bytes += found.bytes();
                inner.bytes -= replaced.map_or(0, |entry| entry.found.bytes());
                if inner.count > MOST_FILES || inner.bytes > MOST_BYTES {
                    inner.shrink();
                }
            }
            _ => {
                held.files.remove(name);
            }
        }
        looked
    }

    /// Forgets `name`, which was found to be another file than the one that is known.
    pub(super) fn forget(&self, root: &Path, name: &str) {
        if let Some(root) = self.inner.borrow_mut().roots.get_mut(root.as_os_str()) {
            root.files.remove(name);
        }
    }
}

impl Inner {
    fn root(&mut self, path: &Path, now: Instant) -> io::Result<&mut Root> {
        let path = path.as_os_str();
        if !self.roots.get(path).is_some_and(|root| is_believed(root.opened, now)) {
            let folder = match Folder::open(Path::new(path)) {
                Ok(folder) => Arc::new(folder),
                Err(error) => {
                    self.roots.remove(path);
                    if self.broken_root.allows(now) {
                        tracing::warn!(root = ?path, %error, "a folder of files can't be opened");
                    }
                    return Err(error);
                }
            };
            let root = self.roots.entry(path.to_owned()).or_insert_with(|| Root {
                folder: Arc::clone(&folder),
                opened: now,
                files: Map::default(),
            });
            (root.folder, root.opened) = (folder, now);
        }
        self.roots.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Drops half or more, what was not used for longest, if there is too much indeed.
    fn shrink(&mut self) {
        self.recount();
        if self.count <= MOST_FILES && self.bytes <= MOST_BYTES {
            return;
        }
        let entries = self.roots.values().flat_map(|root| root.files.values());
        let mut used: Vec<Instant> = entries.map(|entry| entry.used).collect();
        let middle = used.len() / 2;
        let (_, median, _) = used.select_nth_unstable(middle);
        let median = *median;
        for root in self.roots.values_mut() {
            root.files.retain(|_, entry| entry.used > median);
        }
        self.recount();
    }

    fn recount(&mut self) {
        let entries = || self.roots.values().flat_map(|root| root.files.values());
        self.count = entries().count();
        self.bytes = entries().map(|entry| entry.found.bytes()).sum();
    }
}

fn is_believed(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < BELIEVED
}

impl Found {
    /// The file in the encoding of `SIBLINGS[sibling]`, else the plain one; and its name's further ending.
    pub(super) fn chosen(&self, sibling: Option<usize>) -> (&Held, &'static str) {
        let encoded = sibling.and_then(|n| Some((self.siblings[n].as_ref()?, SIBLINGS[n].1)));
        encoded.unwrap_or((&self.plain, ""))
    }

    fn bytes(&self) -> usize {
        let held = std::iter::once(&self.plain).chain(self.siblings.iter().flatten());
        held.filter_map(|held| held.bytes.as_ref()).map(Bytes::len).sum()
    }
}

fn look_at_disk(folder: &Folder, name: &str, known: Option<&Found>) -> io::Result<Looked> {
    let file = folder.read(name)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Ok(Looked::Folder);
    }
    if !meta.is_file() {
        return Ok(Looked::Special);
    }
    let plain = hold(file, &meta, known.map(|known| &known.plain))?;
    let mut siblings = [None, None, None];
    for (n, (_, ending)) in SIBLINGS.iter().enumerate() {
        let known = known.and_then(|known| known.siblings[n].as_ref());
        siblings[n] = hold_sibling(folder, &format!("{name}{ending}"), known);
    }
    Ok(Looked::File(Rc::new(Found { plain, siblings, judged: Memory::default() })))
}

/// A sibling that can't be read is none: the plain file is there.
fn hold_sibling(folder: &Folder, name: &str, known: Option<&Held>) -> Option<Held> {
    let file = folder.read(name).ok()?;
    let meta = file.metadata().ok().filter(Metadata::is_file)?;
    hold(file, &meta, known).ok()
}

fn hold(mut file: File, meta: &Metadata, known: Option<&Held>) -> io::Result<Held> {
    let stat = Stat::of(meta);
    if let Some(known) = known.filter(|known| known.stat == stat) {
        return Ok(known.clone());
    }
    if stat.len > SMALL {
        return Ok(Held { stat, bytes: None });
    }
    let mut bytes = Vec::with_capacity(stat.len as usize);
    (&mut file).take(SMALL + 1).read_to_end(&mut bytes)?;
    // It is being written: its parts may not belong together. Sent from the disk it is at least not kept.
    let bytes = (bytes.len() as u64 == stat.len && Stat::of(&file.metadata()?) == stat).then(|| bytes.into());
    Ok(Held { stat, bytes })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::clock;

    /// A root with `count` files of `len` bytes, named by their number.
    fn root(count: usize, len: usize) -> PathBuf {
        let root = std::env::temp_dir().join(format!("porchd-cache-{:x}", clock::random()));
        std::fs::create_dir(&root).unwrap();
        for n in 0..count {
            std::fs::write(root.join(n.to_string()), vec![b'x'; len]).unwrap();
        }
        root
    }

    fn kept(cache: &Cache, root: &Path) -> usize {
        cache.inner.borrow().roots.get(root.as_os_str()).map_or(0, |root| root.files.len())
    }

    fn look(cache: &Cache, root: &Path, name: &str, now: Instant) -> Option<Rc<Found>> {
        match cache.look(root, name, now) {
            Ok(Looked::File(found)) => Some(found),
            _ => None,
        }
    }

    #[test]
    fn memory_is_bounded_and_what_was_used_last_stays() {
        let root = root(400, SMALL as usize);
        let (cache, start) = (Cache::new(), clock::now());
        for n in 0..400 {
            look(&cache, &root, &n.to_string(), start + Duration::from_millis(n)).unwrap();
            let inner = cache.inner.borrow();
            let held: usize =
                inner.roots[root.as_os_str()].files.values().map(|entry| entry.found.bytes()).sum();
            assert!(held <= MOST_BYTES && held <= inner.bytes, "{held} bytes at {n}");
        }
        assert!(cache.inner.borrow().roots[root.as_os_str()].files.contains_key("399"));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn unchanged_files_keep_their_bytes_and_idle_ones_are_dropped() {
        let root = root(2, 10);
        std::fs::write(root.join("1.gz"), "zip").unwrap();
        let (cache, start) = (Cache::new(), clock::now());
        let pointer = |seconds| {
            let found = look(&cache, &root, "0", start + Duration::from_secs(seconds)).unwrap();
            found.plain.bytes.as_ref().unwrap().as_ptr()
        };
        let first = pointer(0);
        assert_eq!(pointer(5), first, "read once");
        assert_eq!(look(&cache, &root, "1", start).unwrap().bytes(), 13);
        cache.sweep(start + Duration::from_secs(303));
        assert_eq!(kept(&cache, &root), 1, "the one that was used later");
        cache.sweep(start + Duration::from_secs(700));
        assert!(cache.inner.borrow().roots.is_empty());
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_name_that_is_no_file_takes_no_memory() {
        let root = root(0, 0);
        let path = root.join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (cache, now) = (Cache::new(), clock::now());
        assert!(matches!(cache.look(&root, "fifo", now), Ok(Looked::Special)));
        assert!(matches!(cache.look(&root, "", now), Ok(Looked::Folder)));
        for n in 0..100 {
            assert_eq!(cache.look(&root, &n.to_string(), now).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        assert_eq!(kept(&cache, &root), 0);
        std::fs::remove_dir_all(root).unwrap();
    }
}
