//! Files beneath a folder, never outside of it, whatever the names and symbolic links in it say.
//!
//! Linux resolves with openat2(2) and RESOLVE_BENEATH: a link that stays inside is followed. Elsewhere, and where
//! openat2 is missing or filtered, each component is opened with O_NOFOLLOW: no link at all is followed. What
//! leads outside is told as `NotFound`, as if it was not there.

#![expect(
    unsafe_code,
    reason = "openat(2), openat2(2), preadv2(2) and readdir(3) have no safe wrapper in std"
)]

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::ptr::NonNull;

/// To hold a folder, permission to search it is enough where O_PATH exists.
#[cfg(target_os = "linux")]
const HOLD: libc::c_int = libc::O_PATH;
#[cfg(not(target_os = "linux"))]
const HOLD: libc::c_int = libc::O_RDONLY;

/// To look at a file's type without opening it, where that can be told apart.
#[cfg(target_os = "linux")]
const LOOK: libc::c_int = libc::O_PATH | libc::O_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const LOOK: libc::c_int = READ;

/// O_NONBLOCK: opening a FIFO must not wait for its writer. O_NOCTTY: nor a terminal become ours.
const READ: libc::c_int = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;

/// A folder beneath which files are opened.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
}

impl Folder {
    /// Holds the folder at `path`; links in `path` itself are followed, the operator wrote them.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = c_string(path.as_os_str())?;
        let flags = HOLD | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: `path` is a NUL-terminated string that outlives the call.
        let fd = owned(unsafe { libc::open(path.as_ptr(), flags) })?;
        Ok(Self { fd })
    }

    /// Opens `relative` (segments joined by `/`; empty: the folder itself) for reading. It may be anything but a
    /// symbolic link: the caller looks at its type.
    ///
    /// # Errors
    /// `NotFound` for whatever is not there or leads outside, else those of open(2).
    pub fn read(&self, relative: &str) -> io::Result<File> {
        self.descend(relative, READ).map(File::from)
    }

    /// What `relative` is. On the way without openat2 a link is told as a link, or is `NotFound`.
    ///
    /// # Errors
    /// As of `read`.
    pub fn look(&self, relative: &str) -> io::Result<Metadata> {
        File::from(self.descend(relative, LOOK)?).metadata()
    }

    /// The names in the folder `relative`, without `.` and `..`, at most `most` of them.
    ///
    /// # Errors
    /// As of `read`, and those of readdir(3).
    pub fn names(&self, relative: &str, most: usize) -> io::Result<Vec<OsString>> {
        let fd = self.descend(relative, READ | libc::O_DIRECTORY)?;
        names_in(fd, most)
    }

    fn descend(&self, relative: &str, flags: libc::c_int) -> io::Result<OwnedFd> {
        // `..` is refused before the kernel sees it: RESOLVE_BENEATH would allow it inside.
        if !relative.is_empty() && relative.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let opened = match open_beneath(&self.fd, relative, flags) {
            Some(opened) => opened,
            None => open_by_steps(&self.fd, relative, flags),
        };
        opened.map_err(outside_is_absent)
    }
}

/// Reads at most `most` bytes at `at` if the system holds them in memory; `WouldBlock`: a disk must be waited for.
///
/// # Errors
/// Those of pread(2).
#[cfg(target_os = "linux")]
pub fn read_in_memory(file: &File, most: usize, at: u64) -> io::Result<Vec<u8>> {
    let mut bytes: Vec<u8> = Vec::with_capacity(most);
    let room = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: most };
    let offset = libc::off_t::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `room` names `most` bytes that `bytes` owns; the kernel writes there alone.
    let n = unsafe { libc::preadv2(file.as_raw_fd(), &raw const room, 1, offset, libc::RWF_NOWAIT) };
    let n = usize::try_from(n).map_err(|_| io::Error::last_os_error());
    match n {
        Ok(n) => {
            // SAFETY: the kernel has initialised the first `n` bytes, and `n` is at most the capacity.
            unsafe { bytes.set_len(n.min(most)) };
            Ok(bytes)
        }
        // File systems without it (and kernels before 4.14): the caller may wait elsewhere.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Err(error) => Err(error),
    }
}

/// Reads at most `most` bytes at `at`; this system can't tell whether a disk must be waited for.
///
/// # Errors
/// Those of pread(2).
#[cfg(not(target_os = "linux"))]
pub fn read_in_memory(file: &File, most: usize, at: u64) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; most];
    let n = file.read_at(&mut bytes, at)?;
    bytes.truncate(n);
    Ok(bytes)
}

/// `None`: the system has no openat2(2), or a filter forbids it.
#[cfg(target_os = "linux")]
fn open_beneath(folder: &OwnedFd, relative: &str, flags: libc::c_int) -> Option<io::Result<OwnedFd>> {
    use std::sync::atomic::{AtomicBool, Ordering};
    static MISSING: AtomicBool = AtomicBool::new(false);
    if MISSING.load(Ordering::Relaxed) {
        return None;
    }
    let path = match c_string(OsStr::new(if relative.is_empty() { "." } else { relative })) {
        Ok(path) => path,
        Err(error) => return Some(Err(error)),
    };
    // SAFETY: all of `open_how` are integers, for which zero is a value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from(flags.cast_unsigned());
    how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS;
    for _ in 0..16 {
        // SAFETY: `path` is NUL-terminated, `how` is of the size that is told, and both outlive the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                folder.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<libc::open_how>(),
            )
        };
        match owned(fd as libc::c_int) {
            // EAGAIN: a rename or mount anywhere on the system while `..` of a link was followed (openat2(2)).
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                MISSING.store(true, Ordering::Relaxed);
                return None;
            }
            opened => return Some(opened),
        }
    }
    None
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(_: &OwnedFd, _: &str, _: libc::c_int) -> Option<io::Result<OwnedFd>> {
    None
}

/// Opens one component after the other, following no link.
fn open_by_steps(folder: &OwnedFd, relative: &str, flags: libc::c_int) -> io::Result<OwnedFd> {
    let Some((parents, last)) = relative.rsplit_once('/').map_or_else(
        || (!relative.is_empty()).then_some((None, relative)),
        |(parents, last)| Some((Some(parents), last)),
    ) else {
        return step(folder, ".", flags);
    };
    let mut held: Option<OwnedFd> = None;
    for parent in parents.into_iter().flat_map(|parents| parents.split('/')) {
        let from = held.as_ref().unwrap_or(folder);
        held = Some(step(from, parent, HOLD | libc::O_DIRECTORY | libc::O_CLOEXEC)?);
    }
    step(held.as_ref().unwrap_or(folder), last, flags)
}

fn step(folder: &OwnedFd, name: &str, flags: libc::c_int) -> io::Result<OwnedFd> {
    let name = c_string(OsStr::new(name))?;
    loop {
        // SAFETY: `name` is a NUL-terminated string that outlives the call, `folder` is an open descriptor.
        let fd = unsafe { libc::openat(folder.as_raw_fd(), name.as_ptr(), flags | libc::O_NOFOLLOW) };
        match owned(fd) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            opened => return opened,
        }
    }
}

/// What leads outside, through a link or through a file, or has an impossible name, is not there.
fn outside_is_absent(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(
            libc::EXDEV
            | libc::ELOOP
            | libc::ENOTDIR
            | libc::ENAMETOOLONG
            | libc::ENXIO
            | libc::EINVAL
            | libc::EMLINK,
        ) => io::ErrorKind::NotFound.into(),
        _ => error,
    }
}

pub(super) fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| io::ErrorKind::NotFound.into())
}

pub(super) fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call that returned `fd` has just made it, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A directory stream that is closed when dropped.
struct Stream(NonNull<libc::DIR>);

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the stream was made by fdopendir and is closed only here.
        unsafe { libc::closedir(self.0.as_ptr()) };
    }
}

/// What a call that gives 0 or fails has given.
pub(super) fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Does it again when a signal came.
pub(super) fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

pub(super) fn names_in(fd: OwnedFd, most: usize) -> io::Result<Vec<OsString>> {
    let raw = fd.into_raw_fd();
    // SAFETY: `raw` is an open descriptor of ours; on success the stream owns it.
    let Some(stream) = NonNull::new(unsafe { libc::fdopendir(raw) }) else {
        let error = io::Error::last_os_error();
        // SAFETY: fdopendir has failed, so the descriptor is still ours to close.
        drop(unsafe { OwnedFd::from_raw_fd(raw) });
        return Err(error);
    };
    let stream = Stream(stream);
    let mut names = Vec::new();
    while names.len() < most {
        // readdir(3) tells an error from the end by errno alone, which it leaves as it was at the end.
        forget_errno();
        // SAFETY: the stream is open and used by this thread alone.
        let Some(entry) = NonNull::new(unsafe { libc::readdir(stream.0.as_ptr()) }) else {
            let error = io::Error::last_os_error();
            if error.raw_os_error() == Some(0) { break } else { return Err(error) }
        };
        // SAFETY: an entry's name is NUL-terminated and lives until the next readdir of this stream.
        let name = unsafe { CStr::from_ptr((*entry.as_ptr()).d_name.as_ptr()) }.to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    Ok(names)
}

fn forget_errno() {
    #[cfg(any(target_os = "openbsd", target_os = "netbsd", target_os = "android"))]
    use libc::__errno as errno;
    #[cfg(any(target_os = "linux", target_os = "hurd"))]
    use libc::__errno_location as errno;
    #[cfg(any(target_os = "freebsd", target_vendor = "apple"))]
    use libc::__error as errno;
    // SAFETY: it returns a pointer to this thread's own errno, which is always valid.
    unsafe { *errno() = 0 };
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        /// `outside`, and a `root` with files, a folder, and links of each kind.
        fn new() -> Self {
            let top = std::env::temp_dir().join(format!("porchd-beneath-{:x}", crate::clock::random()));
            std::fs::create_dir_all(top.join("root/folder/deep")).unwrap();
            std::fs::create_dir(top.join("outside")).unwrap();
            std::fs::write(top.join("outside/secret"), "secret").unwrap();
            std::fs::write(top.join("root/file"), "file").unwrap();
            std::fs::write(top.join("root/folder/deep/file"), "deep").unwrap();
            for (to, name) in [
                ("folder/deep/file", "inside"),
                ("../../file", "folder/deep/up"),
                ("folder", "folder-link"),
                ("../outside/secret", "out"),
                ("../outside", "out-folder"),
                ("/etc/passwd", "absolute"),
                ("loop", "loop"),
                ("nowhere", "dangling"),
            ] {
                symlink(to, top.join("root").join(name)).unwrap();
            }
            Self(top)
        }

        fn folder(&self) -> Folder {
            Folder::open(&self.0.join("root")).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn text(opened: io::Result<File>) -> Result<String, io::ErrorKind> {
        let mut text = String::new();
        opened.map_err(|error| error.kind())?.read_to_string(&mut text).map_err(|error| error.kind())?;
        Ok(text)
    }

    #[test]
    fn nothing_outside_is_opened_on_either_way() {
        let scratch = Scratch::new();
        let folder = scratch.folder();
        for name in [
            "out",
            "out-folder/secret",
            "absolute",
            "loop",
            "dangling",
            "../outside/secret",
            "folder/../../outside/secret",
            "/etc/passwd",
            "file/",
            "file/x",
            "folder//deep/file",
            "./file",
            "missing",
            "nul\0x",
            &"x".repeat(300),
        ] {
            let steps = open_by_steps(&folder.fd, name, READ).map(File::from).map_err(outside_is_absent);
            assert_eq!(text(folder.read(name)), Err(io::ErrorKind::NotFound), "{name}");
            // The steps are only reached through `descend`, which has refused dots and empty parts.
            if !name.contains("..")
                && !name.starts_with('/')
                && !name.starts_with('.')
                && !name.contains("//")
            {
                assert_eq!(text(steps), Err(io::ErrorKind::NotFound), "{name} by steps");
            }
        }
    }

    #[test]
    fn files_inside_are_opened_on_either_way() {
        let scratch = Scratch::new();
        let folder = scratch.folder();
        for (name, wanted) in [("file", "file"), ("folder/deep/file", "deep")] {
            assert_eq!(text(folder.read(name)).as_deref(), Ok(wanted));
            assert_eq!(text(open_by_steps(&folder.fd, name, READ).map(File::from)).as_deref(), Ok(wanted));
        }
        assert!(folder.read("").unwrap().metadata().unwrap().is_dir());
        assert!(File::from(open_by_steps(&folder.fd, "", READ).unwrap()).metadata().unwrap().is_dir());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn links_that_stay_inside_are_followed_by_openat2_alone() {
        let scratch = Scratch::new();
        let folder = scratch.folder();
        for (name, wanted) in
            [("inside", "deep"), ("folder/deep/up", "file"), ("folder-link/deep/file", "deep")]
        {
            if open_beneath(&folder.fd, name, READ).is_some() {
                assert_eq!(text(folder.read(name)).as_deref(), Ok(wanted), "{name}");
            }
            let steps = open_by_steps(&folder.fd, name, READ).map(File::from).map_err(outside_is_absent);
            assert_eq!(text(steps), Err(io::ErrorKind::NotFound), "{name} by steps");
        }
    }

    #[test]
    fn a_fifo_does_not_hold_the_thread() {
        let scratch = Scratch::new();
        let path = c_string(scratch.0.join("root/fifo").as_os_str()).unwrap();
        // SAFETY: `path` is a NUL-terminated string.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o644) }, 0);
        assert!(!scratch.folder().read("fifo").unwrap().metadata().unwrap().is_file());
        assert!(!scratch.folder().look("fifo").unwrap().is_file());
    }

    #[test]
    fn names_are_listed_up_to_the_bound() {
        let scratch = Scratch::new();
        let mut names = scratch.folder().names("folder", 100).unwrap();
        names.sort();
        assert_eq!(names, ["deep"]);
        assert_eq!(scratch.folder().names("", 3).unwrap().len(), 3);
        assert_eq!(scratch.folder().names("file", 3).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(scratch.folder().names("out-folder", 3).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_in_memory_is_read_from_where_it_is_asked() {
        let scratch = Scratch::new();
        let file = scratch.folder().read("folder/deep/file").unwrap();
        match read_in_memory(&file, 10, 2) {
            Ok(bytes) => assert_eq!(bytes, b"ep"),
            // A scratch folder may be on a file system that can't tell.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert_eq!(read_in_memory(&file, 10, u64::MAX).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
