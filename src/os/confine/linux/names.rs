//! What the C library needs to resolve names: files that it reads each time, modules that it loads the first time.

#![expect(unsafe_code, reason = "dlopen(3) has no safe form in std")]

use std::ffi::CString;
use std::path::{Path, PathBuf};

/// Where the C library learns which modules there are.
const SWITCH: &str = "/etc/nsswitch.conf";

/// What is read to resolve a name (getaddrinfo(3), resolv.conf(5), gai.conf(5)), and to write the time of a line
/// for syslog(3).
const FILES: [&str; 6] =
    ["/etc/resolv.conf", "/etc/hosts", SWITCH, "/etc/gai.conf", "/etc/host.conf", "/etc/localtime"];

/// Those of `FILES` that are there. Where one is a link out of /etc, it is the folder that it leads to: a name
/// service that keeps its file there puts a new one in its place.
pub(super) fn files() -> Vec<PathBuf> {
    FILES.iter().filter_map(|file| Path::new(file).canonicalize().ok()).map(with_its_folder).collect()
}

fn with_its_folder(file: PathBuf) -> PathBuf {
    // `/run/x.conf`: all of /run is too much.
    let folder = file.parent().filter(|folder| folder.components().count() > 2);
    match folder {
        Some(folder) if folder.starts_with("/run") => folder.to_owned(),
        _ => file,
    }
}

/// Loads the modules that resolve names: within the walls they could not be opened, nor mapped as code.
pub(super) fn load_modules() {
    let switch = std::fs::read_to_string(SWITCH).unwrap_or_default();
    for module in modules(&switch) {
        let Ok(file) = CString::new(format!("libnss_{module}.so.2")) else { continue };
        // One that is not installed, or part of the C library itself, is none to load.
        // SAFETY: `file` is NUL-terminated; the C library would run the same module's start by itself at the first
        // look-up, and no other thread is there yet.
        unsafe { libc::dlopen(file.as_ptr(), libc::RTLD_NOW) };
    }
}

/// The modules that nsswitch.conf(5) names for hosts.
fn modules(switch: &str) -> Vec<&str> {
    let lines = switch.lines().filter_map(|line| line.split('#').next()?.trim().strip_prefix("hosts:"));
    let words = lines.flat_map(str::split_whitespace);
    let is_name = |word: &&str| word.chars().all(|char| char.is_ascii_alphanumeric() || "_-".contains(char));
    words.filter(is_name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_those_of_hosts_without_reactions_and_comments() {
        let switch =
            "passwd: files systemd\n# hosts: nis\n  hosts: files mdns4_minimal [NOTFOUND=return] dns # x y\n";
        assert_eq!(modules(switch), ["files", "mdns4_minimal", "dns"]);
        assert!(modules("").is_empty());
    }

    #[test]
    fn a_folder_of_its_own_is_opened_whole_and_no_other() {
        for (file, opened) in [
            ("/run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve"),
            ("/run/resolv.conf", "/run/resolv.conf"),
            ("/etc/resolv.conf", "/etc/resolv.conf"),
            ("/usr/share/zoneinfo/Etc/UTC", "/usr/share/zoneinfo/Etc/UTC"),
        ] {
            assert_eq!(with_its_folder(file.into()), Path::new(opened), "{file}");
        }
    }

    #[test]
    fn the_folder_of_secrets_is_none_of_them() {
        assert!(files().iter().all(|path| path != Path::new("/etc") && path != Path::new("/")));
    }
}
