//! Whose a folder may be, so that no stranger can exchange what porchd has in it.

#![expect(unsafe_code, reason = "geteuid(2) has no safe form in std")]

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Who can exchange anything anyway.
/// Who may do everything.
pub const ROOT: u32 = 0;

/// The bits of a mode that let others than the owner write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The bit of a folder's mode that keeps each user's files from the others.
const STICKY: u32 = 0o1000;

/// Links that a path may lead over, as many as Linux allows.
const MOST_LINKS: usize = 40;

/// The user that this process runs as.
pub fn me() -> u32 {
    // SAFETY: geteuid(2) only tells a number.
    unsafe { libc::geteuid() }
}

/// Whether `owner` is neither `me` nor root.
pub fn is_stranger(owner: u32, me: u32) -> bool {
    owner != me && owner != ROOT
}

/// Whether anybody but `me` and root may write to what was `found`.
pub fn may_write(found: &Metadata, me: u32) -> bool {
    found.mode() & WRITABLE_BY_OTHERS != 0 || is_stranger(found.uid(), me)
}

/// The first folder or link on the way to `path` with which anybody but `me` and root could lead it elsewhere.
///
/// # Errors
/// Those of the file system; a way over too many links.
pub fn exchangeable(path: &Path, me: u32) -> io::Result<Option<PathBuf>> {
    let path = std::path::absolute(path)?;
    // What is to be walked yet, the next one last.
    let mut ahead = reversed(&path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        let around = fs::metadata(&at)?;
        // With the sticky bit (as /tmp has it) nobody else can exchange what is in it.
        let sticky = around.mode() & STICKY != 0 && !is_stranger(around.uid(), me);
        if may_write(&around, me) && !sticky {
            return Ok(Some(at));
        }
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let found = fs::symlink_metadata(&next)?;
        if !found.is_symlink() {
            at = next;
            continue;
        }
        if is_stranger(found.uid(), me) {
            return Ok(Some(next));
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        ahead.extend(reversed(&target));
    }
    Ok(None)
}

/// The names in a path, the last one first.
fn reversed(path: &Path) -> Vec<OsString> {
    let named = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some("..".as_ref()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    named.map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    use super::*;
    use crate::os::anew::Scratch;

    fn folder(path: PathBuf, mode: u32) -> PathBuf {
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn way_is_followed_over_links_and_folders() {
        let scratch = Scratch::new();
        let root = scratch.0.canonicalize().unwrap();
        let [good, bad] = [("good", 0o755), ("bad", 0o775)].map(|(name, mode)| folder(root.join(name), mode));
        for place in [&good, &bad] {
            fs::write(place.join("file"), "x").unwrap();
        }
        symlink("../good/file", bad.join("link")).unwrap();
        symlink("../bad/../good/file", good.join("through")).unwrap();
        symlink(bad.join("file"), good.join("into")).unwrap();
        symlink("good", root.join("folder")).unwrap();
        symlink("round", root.join("round")).unwrap();
        let found = |path: &str| exchangeable(&root.join(path), me());
        for closed in ["good/file", "folder/file", "good/./file"] {
            assert_eq!(found(closed).unwrap(), None, "{closed}");
        }
        for open in ["bad/file", "bad/link", "good/through", "good/into", "folder/into"] {
            assert_eq!(found(open).unwrap().as_ref(), Some(&bad), "{open}");
        }
        assert_eq!(found("round").unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert_eq!(found("good/none").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_a_strangers_is_found() {
        let scratch = Scratch::new();
        let root = scratch.0.canonicalize().unwrap();
        let sticky = folder(root.join("sticky"), 0o1777);
        fs::write(root.join("file"), "x").unwrap();
        let link = sticky.join("link");
        symlink("../file", &link).unwrap();
        assert_eq!(exchangeable(&link, me()).unwrap(), None);
        if me() != ROOT {
            return;
        }
        lchown(&link, Some(65_534), None).unwrap();
        assert_eq!(exchangeable(&link, ROOT).unwrap(), Some(link));
        chown(&sticky, Some(65_534), None).unwrap();
        assert_eq!(exchangeable(&sticky.join("x"), ROOT).unwrap(), Some(sticky));
    }
}
