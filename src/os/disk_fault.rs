//! Why a file of porchd's own could not be read or written, and the cure, in words for people.

use std::io::{Error, ErrorKind};

/// What `error` means for a file or folder that is porchd's own: the reason, then the cure.
pub fn reason(error: &Error) -> String {
    let reason = match error.kind() {
        ErrorKind::StorageFull => "the disk is full; free some space (df -h and df -i show what is left)",
        ErrorKind::QuotaExceeded => "the disk quota of porchd's user is used up; raise it or free some space",
        ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only; mount it writable, let the service manager's sandbox allow it, or set \
             `state_dir` to another folder"
        }
        ErrorKind::PermissionDenied => {
            "permission denied; chown it, with all in it (chown -R), to the user that porchd runs as"
        }
        ErrorKind::NotFound => {
            "the folder is gone; was it removed while porchd ran, or its disk unmounted? bring it back and restart porchd"
        }
        ErrorKind::FileTooLarge => "porchd may not write as much into a file; raise its limit (ulimit -f)",
        ErrorKind::IsADirectory => "this is a folder and not a file; move it away",
        ErrorKind::NotADirectory => "this is no folder, and links are not followed here; move it away",
        _ => return told_by_number(error),
    };
    reason.to_owned()
}

fn told_by_number(error: &Error) -> String {
    let cure = match error.raw_os_error() {
        // Linux and OpenBSD say ELOOP of a link that must not be followed, FreeBSD and NetBSD other things.
        Some(libc::ELOOP | libc::EMLINK) => {
            "this is a symbolic link, which is not followed here; move it away"
        }
        Some(libc::EIO) => "the disk fails; dmesg says more, and so does a backup",
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files",
        Some(libc::ENOLCK | libc::EOPNOTSUPP) => {
            "its file system has no locks; set `state_dir` to a folder on a local disk"
        }
        _ => return error.to_string(),
    };
    format!("{error}; {cure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_common_fault_has_a_cure() {
        for (number, begins, cure) in [
            (libc::ENOSPC, "the disk is full", "free some space"),
            (libc::EDQUOT, "the disk quota of porchd's user is used up", "raise it"),
            (libc::EROFS, "the file system is read-only", "mount it writable"),
            (libc::EACCES, "permission denied", "chown it"),
            (libc::EPERM, "permission denied", "chown it"),
            (libc::ENOENT, "the folder is gone", "removed while porchd ran"),
            (libc::EFBIG, "porchd may not write as much", "raise its limit"),
            (libc::ENOTDIR, "this is no folder", "move it away"),
            (libc::ELOOP, "", "symbolic link, which is not followed"),
            (libc::EIO, "Input/output error", "the disk fails"),
            (libc::EMFILE, "Too many open files", "raise the limit"),
            (libc::ENOLCK, "No locks available", "on a local disk"),
        ] {
            let told = reason(&Error::from_raw_os_error(number));
            assert!(told.starts_with(begins) && told.contains(cure), "{number}: {told}");
        }
    }

    #[test]
    fn what_is_not_known_is_told_in_the_systems_words() {
        assert_eq!(
            reason(&Error::from_raw_os_error(libc::EXDEV)),
            Error::from_raw_os_error(libc::EXDEV).to_string()
        );
    }
}
