//! Users of this system by their names (getpwnam_r(3)), and what is handed over to them.

#![expect(unsafe_code, reason = "getpwnam_r(3) has no safe form in std")]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

/// A user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// The number of its own group.
    pub gid: u32,
}

/// The user called `name`; `None`: there is none.
///
/// # Errors
/// When the list of users can't be read.
pub fn named(name: &str) -> io::Result<Option<User>> {
    let name = CString::new(name)?;
    let mut buffer = vec![0; 1024];
    loop {
        // SAFETY: a passwd is numbers and pointers, all of which may be zero.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        let room = buffer.len();
        let at = buffer.as_mut_ptr();
        // SAFETY: all pointers lead to locals that live through the call, and `room` is the buffer's length.
        let code = unsafe { libc::getpwnam_r(name.as_ptr(), &raw mut entry, at, room, &raw mut found) };
        match code {
            libc::ERANGE if room < MOST => buffer.resize(room * 4, 0),
            0 if found.is_null() => return Ok(None),
            0 => return Ok(Some(User { uid: entry.pw_uid, gid: entry.pw_gid })),
            // How some systems say that there is none (getpwnam_r(3), "errors").
            libc::ENOENT | libc::ESRCH => return Ok(None),
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// Gives the folder at `path` and all in it to `user`; the folder itself last, so that nobody but its owner of
/// before can put anything there meanwhile, and an interrupted giving is done again. Links are not followed.
///
/// # Errors
/// Those of readdir(3) and chown(2).
pub fn give_folder(path: &Path, user: User) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // Of the entry itself: a link's target is not meant.
        if entry.file_type()?.is_dir() {
            give_folder(&entry.path(), user)?;
        } else if entry.metadata()?.nlink() == 1 {
            lchown(entry.path(), Some(user.uid), Some(user.gid))?;
        }
    }
    lchown(path, Some(user.uid), Some(user.gid))
}

/// The longest entry that is read.
const MOST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::anew::Scratch;
    use crate::os::owner;

    #[test]
    fn users_are_known_by_name() {
        assert_eq!(named("root").unwrap(), Some(User { uid: 0, gid: 0 }));
        assert_eq!(named("nobody-of-this-name").unwrap(), None);
        assert!(named("a\0b").is_err());
    }

    #[test]
    fn folder_is_given_with_all_that_is_in_it() {
        // Nobody else may give anything away.
        if owner::me() != 0 {
            return;
        }
        let scratch = Scratch::new();
        let path = scratch.0.join("state");
        fs::create_dir_all(path.join("deep")).unwrap();
        fs::write(path.join("deep/file"), "").unwrap();
        fs::write(scratch.0.join("foreign"), "").unwrap();
        std::os::unix::fs::symlink("../foreign", path.join("link")).unwrap();
        fs::hard_link(scratch.0.join("foreign"), path.join("twin")).unwrap();
        give_folder(&path, User { uid: 4711, gid: 4712 }).unwrap();
        for given in ["", "deep", "deep/file", "link"] {
            let found = fs::symlink_metadata(path.join(given)).unwrap();
            assert_eq!((found.uid(), found.gid()), (4711, 4712), "{given}");
        }
        // It is a file of somebody else under another name.
        assert_eq!(fs::metadata(scratch.0.join("foreign")).unwrap().uid(), 0);
    }
}
