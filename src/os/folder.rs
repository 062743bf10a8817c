//! A folder of porchd's own, held by its descriptor: whole files in and out, each written at once or not at all.
//!
//! Names are single entries of the folder, never paths, and no symbolic link in it is followed. What it makes is
//! for porchd's user alone, whatever the umask. It knows nothing of what the files mean.

#![expect(
    unsafe_code,
    reason = "openat(2), mkdirat(2), renameat(2) and unlinkat(2) have no safe form in std"
)]

use std::ffi::{CString, OsStr};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::clock;
use crate::os::beneath::{again, c_string, done, names_in, owned};

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// The bits of a mode that are for others than the owner.
const OTHERS: u32 = 0o077;

/// What the name of a temporary file begins with; nothing else may be called so.
const TEMPORARY: &str = ".new-";

/// The longest name of an entry, in bytes (NAME_MAX of every system that porchd runs on).
const LONGEST_NAME: usize = 255;

/// Whether another process can be given a folder by its descriptor. OpenBSD ends a process with a pledge that passes
/// one, or is passed one, whatever was promised (pledge_sendfd, pledge_recvfd of kern_pledge.c).
pub const IS_PASSED: bool = cfg!(not(target_os = "openbsd"));

/// A folder whose files are porchd's alone.
#[derive(Debug)]
pub struct Folder {
    /// For openat(2) and its kin, and for fsync(2), which O_PATH would not allow.
    fd: File,
    /// For messages alone.
    path: PathBuf,
}

/// A lock that this process holds until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would not do while a child that was just forked has a copy of the descriptor.
        let _ = self.file.unlock();
    }
}

impl Folder {
    /// Holds the folder at `path`; links in `path` itself are followed, the operator wrote them.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The folder that another process has opened at `path`.
    pub fn held(fd: OwnedFd, path: &Path) -> Self {
        Self { fd: File::from(fd), path: path.to_owned() }
    }

    /// Holds the folder at `path`, which is made with mode 0700 when it is missing. Its missing parents are made
    /// with what the umask leaves of 0755. The mode of a folder that is there is left alone: `path` may be a mistake.
    ///
    /// # Errors
    /// Those of mkdir(2) and open(2).
    pub fn make(path: &Path) -> io::Result<Self> {
        match Self::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => return opened,
        }
        let parents: Vec<_> = path.ancestors().skip(1).filter(|parent| *parent != Path::new("")).collect();
        if let Some(parent) = parents.first() {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        match DirBuilder::new().mode(FOLDER_MODE).create(path) {
            Ok(()) => fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE))?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        // A folder that is forgotten in a crash takes its files along. Those above may not be ours to open.
        parents.iter().for_each(|parent| drop(File::open(parent).and_then(|parent| parent.sync_all())));
        Self::open(path)
    }

    /// Where it was when it was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The permission bits of its mode.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn mode(&self) -> io::Result<u32> {
        Ok(self.fd.metadata()?.mode() & 0o7777)
    }

    /// The user that it belongs to.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn owner(&self) -> io::Result<u32> {
        Ok(self.fd.metadata()?.uid())
    }

    /// The same folder once more.
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, path: self.path.clone() })
    }

    /// The bytes of `name`, at most `most` of them; `None`: there is no such file.
    ///
    /// # Errors
    /// `InvalidInput` for what is no name of an entry or no file, `FileTooLarge` for more than `most` bytes, and
    /// those of open(2) and read(2).
    pub fn read(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        // O_NONBLOCK: a FIFO must not hold the thread. O_NOCTTY: nor a terminal become ours.
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = match self.entry(name, flags) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => File::from(opened?),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "this is no file; move it away"));
        }
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most { Err(ErrorKind::FileTooLarge.into()) } else { Ok(Some(bytes)) }
    }

    /// Puts `bytes` into `name`, mode 0600. After a crash at any point `name` holds all of what it held before or
    /// all of `bytes`; after `Ok` it holds `bytes`, even when the power fails.
    ///
    /// # Errors
    /// `InvalidInput` for what is no name of an entry, and those of open(2), write(2), fsync(2) and rename(2).
    /// `name` holds then what it held before, but for an error of the last step, the fsync of the folder.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let name = entry_name(name)?;
        let temporary = c_string(OsStr::new(&format!("{TEMPORARY}{:016x}", clock::random())))?;
        let put = self.fill(&temporary, bytes).and_then(|()| self.rename_entry(&temporary, &name));
        if put.is_err() {
            let _ = self.unlink(&temporary);
        }
        put?;
        self.sync()
    }

    /// Calls the entry `from` `to` from now on, in place of what is called so.
    ///
    /// # Errors
    /// `InvalidInput` for what is no name of an entry, and those of rename(2) and fsync(2).
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename_entry(&entry_name(from)?, &entry_name(to)?)?;
        self.sync()
    }

    /// Removes the file `name`; none there is none to remove.
    ///
    /// # Errors
    /// `InvalidInput` for what is no name of an entry, and those of unlink(2) and fsync(2).
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match self.unlink(&entry_name(name)?) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.sync(),
        }
    }

    /// The names of its entries, in their order, without temporary files and without what is not UTF-8.
    ///
    /// # Errors
    /// Those of open(2) and readdir(3).
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = self.all_names()?;
        names.retain(|name| !name.starts_with(TEMPORARY));
        Ok(names)
    }

    /// Removes temporary files that a crash has left; the caller sees to it that nobody writes.
    ///
    /// # Errors
    /// Those of readdir(3) and unlink(2), the first of them after all were tried.
    pub fn remove_temporary_files(&self) -> io::Result<()> {
        let mut names = self.all_names()?;
        names.retain(|name| name.starts_with(TEMPORARY));
        let removals: Vec<_> = names.iter().map(|name| self.remove(name)).collect();
        removals.into_iter().collect()
    }

    /// The folder `name` in it, made when it is missing; it is mode 0700 afterwards if it is ours to change.
    ///
    /// # Errors
    /// `InvalidInput` for what is no name of an entry, `NotADirectory` for links too, and those of mkdir(2).
    pub fn subfolder(&self, name: &str) -> io::Result<Self> {
        if let Some(folder) = self.existing_subfolder(name)? {
            return Ok(folder);
        }
        self.make_entry(&entry_name(name)?)?;
        self.sync()?;
        self.existing_subfolder(name)?.ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// The folder `name` in it, if it is there; it is mode 0700 afterwards if it is ours to change.
    ///
    /// # Errors
    /// As of `subfolder`.
    pub fn existing_subfolder(&self, name: &str) -> io::Result<Option<Self>> {
        let fd = match self.entry(name, libc::O_RDONLY | libc::O_DIRECTORY) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => File::from(opened?),
        };
        let folder = Self { fd, path: self.path.join(name) };
        if folder.mode()? & OTHERS != 0 {
            // Best effort: the one who copied it here by hand may be another user, and its files are 0600.
            let _ = folder.fd.set_permissions(Permissions::from_mode(FOLDER_MODE));
        }
        Ok(Some(folder))
    }

    /// Locks the file `name` (flock(2)), which then holds this process' id; `None`: another process has it.
    ///
    /// The lock ends with the process at the latest, and programs that it starts don't get it. On a read-only
    /// disk it works if the file is there.
    ///
    /// # Errors
    /// `InvalidInput` for what is no name of an entry, and those of open(2) and flock(2).
    pub fn lock(&self, name: &str) -> io::Result<Option<Lock>> {
        let file = match self.entry(name, libc::O_RDWR | libc::O_CREAT) {
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => self.entry(name, libc::O_RDONLY),
            opened => opened,
        };
        let file = File::from(file?);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The id is for people: a full disk takes nothing away but that. Its width is always the same, so that
        // it fits where the last one was.
        let id = format!("{:<10}\n", std::process::id());
        let _ = file.set_permissions(Permissions::from_mode(FILE_MODE));
        let _ = file.write_all_at(id.as_bytes(), 0);
        Ok(Some(Lock { file }))
    }

    /// The process that has the lock `name`, as far as its file tells.
    pub fn holder(&self, name: &str) -> Option<u32> {
        let bytes = self.read(name, 64).ok()??;
        std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
    }

    fn all_names(&self) -> io::Result<Vec<String>> {
        // A descriptor of its own: reading moves it.
        let fd = self.open_entry(c".", libc::O_RDONLY | libc::O_DIRECTORY)?;
        let names = names_in(fd, usize::MAX)?;
        let mut names: Vec<_> = names.into_iter().filter_map(|name| name.into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    fn fill(&self, temporary: &CString, bytes: &[u8]) -> io::Result<()> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
        let mut file = File::from(self.open_entry(temporary, flags)?);
        // The umask may have taken more from it than it has to.
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn sync(&self) -> io::Result<()> {
        match self.fd.sync_all() {
            // File systems that have no such thing for folders.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(()),
            synced => synced,
        }
    }

    fn entry(&self, name: &str, flags: libc::c_int) -> io::Result<OwnedFd> {
        self.open_entry(&entry_name(name)?, flags)
    }

    fn open_entry(&self, name: &std::ffi::CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
        let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC;

        again(|| {
            // SAFETY: `name` is NUL-terminated and outlives the call, as the descriptor does.
            owned(unsafe { libc::openat(self.fd.as_raw_fd(), name.as_ptr(), flags, FILE_MODE) })
        })
    }

    fn make_entry(&self, name: &CString) -> io::Result<()> {
        let fd = self.fd.as_raw_fd();
        // SAFETY: `name` is NUL-terminated and outlives the call, as the descriptor does.
        match done(unsafe { libc::mkdirat(fd, name.as_ptr(), FOLDER_MODE as libc::mode_t) }) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            made => made?,
        }
        // The umask may have taken more from it than it has to.
        // SAFETY: as above.
        done(unsafe { libc::fchmodat(fd, name.as_ptr(), FOLDER_MODE as libc::mode_t, 0) })
    }

    fn rename_entry(&self, from: &CString, to: &CString) -> io::Result<()> {
        let fd = self.fd.as_raw_fd();
        // SAFETY: both names are NUL-terminated and outlive the call, as the descriptor does.
        done(unsafe { libc::renameat(fd, from.as_ptr(), fd, to.as_ptr()) })
    }

    fn unlink(&self, name: &CString) -> io::Result<()> {
        // SAFETY: `name` is NUL-terminated and outlives the call, as the descriptor does.
        done(unsafe { libc::unlinkat(self.fd.as_raw_fd(), name.as_ptr(), 0) })
    }
}

/// `name` for the system, if it is one entry of a folder and no way out of it.
fn entry_name(name: &str) -> io::Result<CString> {
    let fits = (1..=LONGEST_NAME).contains(&name.len());
    if !fits || matches!(name, "." | "..") || name.contains(['/', '\0']) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "this is no name for a file in a folder"));
    }
    c_string(OsStr::new(name))
}

impl From<Folder> for OwnedFd {
    fn from(folder: Folder) -> Self {
        folder.fd.into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::symlink;
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::os::anew::{self, Scratch};

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    /// Every entry of the folder, temporary ones too.
    fn entries(path: &Path) -> Vec<String> {
        let entries = fs::read_dir(path).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_written_is_read_back_and_replaced_whole() {
        let scratch = Scratch::new();
        let folder = Folder::open(&scratch.0).unwrap();
        assert_eq!(folder.read("file", 10).unwrap(), None);
        for bytes in [&b"a longer one"[..], b"short", b""] {
            folder.write("file", bytes).unwrap();
            assert_eq!(folder.read("file", 20).unwrap().as_deref(), Some(bytes));
            assert_eq!(entries(&scratch.0), ["file"]);
        }
        folder.rename("file", "other").unwrap();
        assert_eq!(folder.names().unwrap(), ["other"]);
        folder.remove("other").unwrap();
        folder.remove("other").unwrap();
        assert_eq!(entries(&scratch.0), [""; 0]);
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let scratch = Scratch::new();
        fs::write(scratch.0.join("outside"), "outside").unwrap();
        let folder = Folder::make(&scratch.0.join("inside")).unwrap();
        let long = "x".repeat(256);
        for name in ["", ".", "..", "../outside", "/etc/passwd", "a/b", "a/", "nul\0", &long] {
            let kinds = [
                folder.read(name, 10).map(drop),
                folder.write(name, b"x"),
                folder.rename(name, "x"),
                folder.rename("x", name),
                folder.remove(name),
                folder.subfolder(name).map(drop),
                folder.existing_subfolder(name).map(drop),
                folder.lock(name).map(drop),
            ]
            .map(|result| result.map_err(|error| error.kind()));
            assert_eq!(kinds, [Err(ErrorKind::InvalidInput); 8], "{name}");
        }
        assert_eq!(entries(&scratch.0), ["inside", "outside"]);
        folder.write(&"x".repeat(255), b"x").unwrap();
    }

    #[test]
    fn links_are_not_followed() {
        let scratch = Scratch::new();
        fs::write(scratch.0.join("outside"), "outside").unwrap();
        let path = scratch.0.join("inside");
        let folder = Folder::make(&path).unwrap();
        symlink("../outside", path.join("link")).unwrap();
        symlink("..", path.join("up")).unwrap();
        assert!(folder.read("link", 10).is_err());
        assert!(folder.lock("link").is_err());
        assert_eq!(folder.subfolder("up").unwrap_err().kind(), ErrorKind::NotADirectory);
        // A link is replaced like a file: what it led to stays as it is.
        folder.write("link", b"new").unwrap();
        assert_eq!(folder.read("link", 10).unwrap().as_deref(), Some(&b"new"[..]));
        assert_eq!(fs::read(scratch.0.join("outside")).unwrap(), b"outside");
    }

    #[test]
    fn only_files_of_a_fair_size_are_read() {
        let scratch = Scratch::new();
        let folder = Folder::open(&scratch.0).unwrap();
        folder.write("file", b"12345").unwrap();
        folder.subfolder("folder").unwrap();
        let made = std::process::Command::new("mkfifo").arg(scratch.0.join("pipe")).status().unwrap();
        assert!(made.success());
        assert_eq!(folder.read("file", 5).unwrap().unwrap(), b"12345");
        assert_eq!(folder.read("file", 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(folder.read("folder", 4).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(folder.read("pipe", 4).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(folder.subfolder("file").unwrap_err().kind(), ErrorKind::NotADirectory);
    }

    #[test]
    fn folder_is_followed_where_it_is_moved() {
        let scratch = Scratch::new();
        let (before, after) = (scratch.0.join("before"), scratch.0.join("after"));
        let folder = Folder::make(&before).unwrap();
        fs::rename(&before, &after).unwrap();
        folder.try_clone().unwrap().write("file", b"x").unwrap();
        assert_eq!(fs::read(after.join("file")).unwrap(), b"x");
        fs::remove_dir_all(&after).unwrap();
        assert_eq!(folder.write("file", b"x").unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn everything_is_private_whatever_the_umask() {
        if let Some(path) = anew::folder() {
            let folder = Folder::make(&path.join("state")).unwrap();
            folder.subfolder("deeper").unwrap().write("file", b"x").unwrap();
            drop(folder.lock("lock").unwrap());
            return;
        }
        let test = "os::folder::tests::everything_is_private_whatever_the_umask";
        for umask in ["000", "022", "077", "777"] {
            let scratch = Scratch::new();
            let output = anew::program(test, &scratch.0, &format!("umask {umask}")).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let modes = ["state", "state/deeper", "state/deeper/file", "state/lock"]
                .map(|name| mode(&scratch.0.join(name)));
            assert_eq!(modes, [0o700, 0o700, 0o600, 0o600], "{umask}");
        }
    }

    #[test]
    fn missing_parents_are_made() {
        let scratch = Scratch::new();
        let path = scratch.0.join("a/b/state");
        Folder::make(&path).unwrap().write("file", b"x").unwrap();
        assert_eq!(mode(&path), 0o700);
        // It is there already.
        assert_eq!(Folder::make(&path).unwrap().names().unwrap(), ["file"]);
        assert_eq!(Folder::make(&path.join("file")).unwrap_err().kind(), ErrorKind::NotADirectory);
    }

    #[test]
    fn folders_inside_are_made_private_and_the_outermost_is_left_alone() {
        let scratch = Scratch::new();
        let path = scratch.0.join("deeper");
        fs::create_dir(&path).unwrap();
        for path in [&scratch.0, &path] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        let folder = Folder::make(&scratch.0).unwrap();
        folder.subfolder("deeper").unwrap();
        assert_eq!((folder.mode().unwrap(), mode(&path)), (0o755, 0o700));
    }

    #[test]
    fn write_that_fails_half_way_leaves_the_old_content() {
        if let Some(path) = anew::folder() {
            let error = Folder::open(&path).unwrap().write("file", &[b'x'; 100_000]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FileTooLarge);
            return;
        }
        let scratch = Scratch::new();
        let folder = Folder::open(&scratch.0).unwrap();
        folder.write("file", b"old").unwrap();
        let test = "os::folder::tests::write_that_fails_half_way_leaves_the_old_content";
        // Without the signal, write(2) fails like on a full disk.
        let output = anew::program(test, &scratch.0, "ulimit -f 8; trap '' XFSZ").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(entries(&scratch.0), ["file"]);
        assert_eq!(folder.read("file", 10).unwrap().unwrap(), b"old");
    }

    #[test]
    fn death_half_way_leaves_the_old_content_and_a_file_that_is_swept() {
        if let Some(path) = anew::folder() {
            let written = Folder::open(&path).unwrap().write("file", &[b'x'; 100_000]);
            unreachable!("the signal ends the process before this: {written:?}");
        }
        let scratch = Scratch::new();
        let folder = Folder::open(&scratch.0).unwrap();
        folder.write("file", b"old").unwrap();
        let test = "os::folder::tests::death_half_way_leaves_the_old_content_and_a_file_that_is_swept";
        let output = anew::program(test, &scratch.0, "ulimit -f 8").output().unwrap();
        assert_eq!(
            output.status.signal(),
            Some(libc::SIGXFSZ),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let left = entries(&scratch.0);
        assert!(left.len() == 2 && left[0].starts_with(TEMPORARY), "{left:?}");
        assert!(fs::metadata(scratch.0.join(&left[0])).unwrap().len() > 0);
        assert_eq!(folder.names().unwrap(), ["file"]);
        folder.remove_temporary_files().unwrap();
        assert_eq!(entries(&scratch.0), ["file"]);
        assert_eq!(folder.read("file", 10).unwrap().unwrap(), b"old");
    }

    #[test]
    fn rename_that_fails_leaves_nothing_behind() {
        let scratch = Scratch::new();
        let folder = Folder::open(&scratch.0).unwrap();
        folder.subfolder("taken").unwrap().write("file", b"x").unwrap();
        assert!(folder.write("taken", b"x").is_err());
        assert_eq!(entries(&scratch.0), ["taken"]);
    }

    #[test]
    fn lock_is_held_by_one_and_ends_with_it() {
        let scratch = Scratch::new();
        let (one, two) = (Folder::open(&scratch.0).unwrap(), Folder::open(&scratch.0).unwrap());
        let lock = one.lock("lock").unwrap().unwrap();
        assert!(two.lock("lock").unwrap().is_none());
        assert_eq!(two.holder("lock"), Some(std::process::id()));
        // A copy of the descriptor, as a child has it between fork and exec, does not prolong it.
        let copy = lock.file.try_clone().unwrap();
        drop(lock);
        assert!(two.lock("lock").unwrap().is_some());
        drop(copy);
    }

    #[test]
    fn lock_is_not_inherited() {
        let scratch = Scratch::new();
        let lock = Folder::open(&scratch.0).unwrap().lock("lock").unwrap().unwrap();
        // SAFETY: F_GETFD only reads a flag of an open descriptor.
        let flags = unsafe { libc::fcntl(lock.file.as_raw_fd(), libc::F_GETFD) };
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }

    #[test]
    fn lock_of_another_process_names_it_and_ends_when_it_is_killed() {
        if let Some(path) = anew::folder() {
            let lock = Folder::open(&path).unwrap().lock("lock").unwrap().unwrap();
            println!("\nlocked");
            let _ = io::stdin().read(&mut [0]);
            return drop(lock);
        }
        let scratch = Scratch::new();
        let folder = Folder::open(&scratch.0).unwrap();
        let test = "os::folder::tests::lock_of_another_process_names_it_and_ends_when_it_is_killed";
        let mut other = anew::program(test, &scratch.0, ":").spawn().unwrap();
        let lines = BufReader::new(other.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "locked"));
        assert!(folder.lock("lock").unwrap().is_none());
        assert_eq!(folder.holder("lock"), Some(other.id()));
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(folder.lock("lock").unwrap().is_some());
        assert_eq!(folder.holder("lock"), Some(std::process::id()));
    }
}
