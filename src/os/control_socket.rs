//! The socket by which people of this machine ask a running porchd: made for its user and group alone.
//!
//! It accepts nothing and knows nothing of what is said on it.

#![expect(unsafe_code, reason = "umask(2) has no safe form in std")]

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::os::owner;

/// A control socket that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ControlSocketError {
    /// Somebody answers on it.
    #[error(
        "another porchd answers on it; stop that one, or set `admin.socket` to another path for this one"
    )]
    InUse,
    /// There is something else.
    #[error("this is no socket; move it away, or set `admin.socket` to another path")]
    NotASocket,
    /// Everybody could put another socket in its place.
    #[error(
        "every user of this machine may write in its folder; chmod o-w the folder, or choose another path"
    )]
    FolderOpenToOthers,
    /// Whoever the folder belongs to could do so.
    #[error(
        "its folder belongs to another user (uid {0}), who could put another socket there; choose another path"
    )]
    FolderOfAnother(u32),
    /// The path is longer than a socket's may be.
    #[error("the path is too long for a socket; choose one of at most 100 bytes")]
    PathTooLong,
    /// The system refused.
    #[error("{reason}", reason = reason(.0))]
    System(#[from] io::Error),
}

/// A socket that listens at `path`, non-blocking, close-on-exec, mode 0660.
///
/// Its folder is made when it is missing. A socket on which nobody answers is replaced. At no time can anybody
/// connect who is neither porchd's user nor of its group.
///
/// # Errors
/// What `ControlSocketError` says; a socket that is alive and what is no socket are left alone.
pub fn listen(path: &Path) -> Result<UnixListener, ControlSocketError> {
    make_folder_of(path)?;
    remove_stale(path)?;
    let listener = bind_privately(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => ControlSocketError::PathTooLong,
        ErrorKind::AddrInUse => ControlSocketError::InUse,
        _ => error.into(),
    })?;
    // The folder is nobody else's to write to, so the path leads to the socket that was just made.
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Binds with a umask that shuts others out: on some systems a socket's mode can't be set before it has a name.
///
/// The umask is one for all threads. What others make meanwhile is for porchd's user alone, as what porchd makes is
/// anyway.
fn bind_privately(path: &Path) -> io::Result<UnixListener> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: umask(2) only exchanges a number.
    let before = unsafe { libc::umask(0o077) };
    let bound = UnixListener::bind(path);
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    bound
}

fn make_folder_of(path: &Path) -> Result<(), ControlSocketError> {
    let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) else { return Ok(()) };
    let found = match fs::metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
            // Under a strict umask the group could not reach the socket.
            fs::set_permissions(folder, Permissions::from_mode(0o755))?;
            return Ok(());
        }
        found => found?,
    };
    is_safe(found.mode(), found.uid(), owner::me())
}

/// Whether nobody but user `me`, root and a group that was given the folder can exchange what is in it.
fn is_safe(mode: u32, owner: u32, me: u32) -> Result<(), ControlSocketError> {
    // With the sticky bit (as /tmp has it) nobody else can remove what is ours.
    if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        return Err(ControlSocketError::FolderOpenToOthers);
    }
    if owner::is_stranger(owner, me) { Err(ControlSocketError::FolderOfAnother(owner)) } else { Ok(()) }
}

/// Removes a socket at `path` on which nobody answers.
fn remove_stale(path: &Path) -> Result<(), ControlSocketError> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(ControlSocketError::NotASocket);
    }
    let address = SockAddr::unix(path).map_err(|_| ControlSocketError::PathTooLong)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Where nobody accepts and the queue is full, connect(2) would wait.
    socket.set_nonblocking(true)?;
    match socket.connect(&address).map_err(|error| (error.raw_os_error(), error)) {
        Err((Some(libc::ECONNREFUSED), _)) => Ok(fs::remove_file(path)?),
        Err((Some(libc::ENOENT), _)) => Ok(()),
        Ok(()) | Err((Some(libc::EAGAIN | libc::EINPROGRESS), _)) => Err(ControlSocketError::InUse),
        // It is of another kind: a log's, for instance.
        Err((Some(libc::EPROTOTYPE), _)) => Err(ControlSocketError::NotASocket),
        Err((_, error)) => Err(error.into()),
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            "permission denied; make its folder writable for the user that porchd runs as".to_owned()
        }
        ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only; choose a path below /run or /var/run".to_owned()
        }
        ErrorKind::StorageFull => "the disk is full; free some space".to_owned(),
        ErrorKind::NotADirectory => {
            "a part of the path is no folder; set `admin.socket` to another path".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;
    use crate::os::anew::{self, Scratch};

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn socket_is_for_user_and_group_whatever_the_umask() {
        if let Some(folder) = anew::folder() {
            listen(&folder.join("run/porchd.sock")).unwrap();
            // The umask is as it was.
            fs::create_dir(folder.join("after")).unwrap();
            return;
        }
        let test = "os::control_socket::tests::socket_is_for_user_and_group_whatever_the_umask";
        for (umask, after) in [("000", 0o777), ("022", 0o755), ("077", 0o700)] {
            let scratch = Scratch::new();
            let output = anew::program(test, &scratch.0, &format!("umask {umask}")).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let modes = ["run", "run/porchd.sock", "after"].map(|name| mode(&scratch.0.join(name)));
            assert_eq!(modes, [0o755, 0o660, after], "{umask}");
        }
    }

    #[test]
    fn socket_is_closed_to_all_others_from_its_first_moment() {
        let scratch = Scratch::new();
        let path = scratch.0.join("s");
        bind_privately(&path).unwrap();
        assert_eq!(mode(&path) & 0o077, 0);
    }

    #[test]
    fn living_socket_is_left_alone_and_a_dead_one_replaced() {
        let scratch = Scratch::new();
        let path = scratch.0.join("s");
        let first = listen(&path).unwrap();
        assert_eq!(first.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(matches!(listen(&path), Err(ControlSocketError::InUse)));
        UnixStream::connect(&path).unwrap();
        // A child that another test is just starting may hold a copy of it for a moment.
        let _ = socket2::SockRef::from(&first).shutdown(std::net::Shutdown::Both);
        drop(first);
        let second = listen(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        assert!(second.accept().is_ok());
        assert_eq!(mode(&path), 0o660);
    }

    /// The BSDs say of a full queue what they say of a dead socket; there it takes 128 who wait.
    #[cfg(target_os = "linux")]
    #[test]
    fn socket_with_a_full_queue_is_alive() {
        let scratch = Scratch::new();
        let path = scratch.0.join("s");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let _waits = UnixStream::connect(&path).unwrap();
        assert!(matches!(listen(&path), Err(ControlSocketError::InUse)));
    }

    #[test]
    fn what_is_no_socket_of_ours_is_left_alone() {
        let scratch = Scratch::new();
        let (file, folder, link) = (scratch.0.join("file"), scratch.0.join("folder"), scratch.0.join("link"));
        fs::write(&file, "kept").unwrap();
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let datagrams = scratch.0.join("datagrams");
        let _log = UnixDatagram::bind(&datagrams).unwrap();
        for path in [&file, &folder, &link, &datagrams] {
            assert!(matches!(listen(path), Err(ControlSocketError::NotASocket)), "{}", path.display());
            assert!(fs::symlink_metadata(path).is_ok());
        }
        assert_eq!(fs::read(&file).unwrap(), b"kept");
    }

    #[test]
    fn folder_of_another_user_is_refused() {
        for (mode, owner, me, safe) in [
            (0o755, 0, 0, true),
            (0o755, 7, 7, true),
            (0o1777, 0, 7, true),
            (0o770, 0, 7, true),
            (0o755, 7, 0, false),
            (0o1777, 7, 0, false),
            (0o700, 8, 7, false),
            (0o777, 0, 0, false),
        ] {
            assert_eq!(is_safe(mode, owner, me).is_ok(), safe, "{mode:o} {owner} {me}");
        }
        let told = is_safe(0o755, 7, 0).unwrap_err().to_string();
        assert!(told.contains("(uid 7)") && told.ends_with("choose another path"), "{told}");
    }

    #[test]
    fn errors_name_the_cure() {
        let scratch = Scratch::new();
        let told = |path: &Path| listen(path).unwrap_err().to_string();
        let long = scratch.0.join("x".repeat(120));
        assert!(told(&long).ends_with("choose one of at most 100 bytes"), "{}", told(&long));
        fs::write(scratch.0.join("file"), "").unwrap();
        let below = told(&scratch.0.join("file/s"));
        assert!(below.starts_with("a part of the path is no folder; "), "{below}");
        for (mode, refused) in [(0o777, true), (0o1777, false), (0o770, false)] {
            fs::set_permissions(&scratch.0, Permissions::from_mode(mode)).unwrap();
            let path = scratch.0.join("s");
            let refusal = matches!(listen(&path), Err(ControlSocketError::FolderOpenToOthers));
            assert_eq!(refusal, refused, "{mode:o}");
        }
        let denied = ControlSocketError::from(io::Error::from(ErrorKind::PermissionDenied)).to_string();
        assert!(denied.ends_with("the user that porchd runs as"), "{denied}");
    }
}
