//! `Provision` by acting in this process, with the privileges that it was started with.
//!
//! It parses nothing and keeps nothing: every call looks at the file system anew.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::os::socket;
use crate::provision::{PemPair, Provision, ProvisionError, ProvisionWarning};

/// No file that is read whole is larger: a wrong path (`/dev/zero`, a disk image) must not eat the memory.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The bits of a file's mode that let others read or write it.
const OTHERS: u32 = 0o006;

/// Acts in this process.
#[derive(Debug)]
pub struct InProcess {
    configuration: PathBuf,
    warnings: Vec<ProvisionWarning>,
}

impl InProcess {
    /// With the configuration in the file `configuration`.
    pub fn new(configuration: PathBuf) -> Self {
        Self { configuration, warnings: Vec::new() }
    }

    fn warn_of_open_key(&mut self, path: &Path, file: &File) -> io::Result<()> {
        let warning = || ProvisionWarning::KeyOpenToOthers { path: path.to_owned() };
        if file.metadata()?.mode() & OTHERS != 0 && !self.warnings.contains(&warning()) {
            self.warnings.push(warning());
        }
        Ok(())
    }

    fn key(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        self.warn_of_open_key(path, &file)?;
        read(file)
    }
}

impl Provision for InProcess {
    fn configuration(&mut self) -> Result<String, ProvisionError> {
        File::open(&self.configuration)
            .and_then(read)
            .and_then(|bytes| {
                String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
            })
            .map_err(of(&self.configuration))
    }

    fn listen(&mut self, addr: SocketAddr, copies: usize) -> Result<Vec<TcpListener>, ProvisionError> {
        socket::listen(addr, copies).map_err(|source| ProvisionError::Bind { addr, source })
    }

    fn key_pair(&mut self, cert: &Path, key: &Path) -> Result<PemPair, ProvisionError> {
        Ok(PemPair { cert: self.public_file(cert)?, key: self.key(key).map_err(of(key))? })
    }

    fn log_file(&mut self, path: &Path) -> Result<File, ProvisionError> {
        // Lines hold client addresses, which are nobody else's business.
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o640);
        // A FIFO without a reader is an error then, and not something to wait for.
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        options.open(path).map_err(of(path))
    }

    fn public_file(&mut self, path: &Path) -> Result<Vec<u8>, ProvisionError> {
        File::open(path).and_then(read).map_err(of(path))
    }

    fn warnings(&mut self) -> Vec<ProvisionWarning> {
        std::mem::take(&mut self.warnings)
    }
}

fn of(path: &Path) -> impl FnOnce(io::Error) -> ProvisionError {
    move |source| ProvisionError::File { path: path.to_owned(), source }
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder that goes away with its test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("porchd-provision-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn configuration_is_read_anew_each_time() {
        let folder = Folder::new("configuration");
        let path = folder.file("porchd.yaml", b"one", 0o644);
        let mut provision = InProcess::new(path.clone());
        assert_eq!(provision.configuration().unwrap(), "one");
        fs::write(&path, "two").unwrap();
        assert_eq!(provision.configuration().unwrap(), "two");
        fs::write(&path, b"\xff").unwrap();
        let told = provision.configuration().unwrap_err().to_string();
        assert_eq!(told, format!("{}: the file is not UTF-8 text; is it the right one?", path.display()));
    }

    #[test]
    fn file_errors_name_the_file_and_the_cure() {
        let folder = Folder::new("errors");
        let mut provision = InProcess::new(folder.0.join("none.yaml"));
        let none = provision.configuration().unwrap_err().to_string();
        assert!(
            none.ends_with("none.yaml: no such file; check the path and that its folder exists"),
            "{none}"
        );
        let directory = provision.public_file(&folder.0).unwrap_err().to_string();
        assert!(directory.ends_with(": this is a folder and not a file"), "{directory}");
        let endless = provision.public_file(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(endless.contains("too large"), "{endless}");
    }

    #[test]
    fn key_pair_names_the_file_that_is_missing() {
        let folder = Folder::new("pair");
        let cert = folder.file("a.crt", b"CERT", 0o644);
        let key = folder.0.join("a.key");
        let mut provision = InProcess::new(PathBuf::new());
        let error = provision.key_pair(&cert, &key).err().unwrap();
        assert!(matches!(error, ProvisionError::File { path, .. } if path == key));
        folder.file("a.key", b"KEY", 0o600);
        let pair = provision.key_pair(&cert, &key).unwrap();
        assert_eq!((pair.cert, pair.key), (b"CERT".to_vec(), b"KEY".to_vec()));
    }

    #[test]
    fn key_that_others_can_read_is_warned_of_once() {
        let folder = Folder::new("mode");
        let cert = folder.file("a.crt", b"CERT", 0o644);
        let mut provision = InProcess::new(PathBuf::new());
        for (mode, warned) in [(0o600, false), (0o640, false), (0o644, true)] {
            let key = folder.file("a.key", b"KEY", mode);
            provision.key_pair(&cert, &key).unwrap();
            provision.key_pair(&cert, &key).unwrap();
            let expected =
                if warned { vec![ProvisionWarning::KeyOpenToOthers { path: key }] } else { vec![] };
            assert_eq!(provision.warnings(), expected, "{mode:o}");
        }
        assert_eq!(provision.warnings(), []);
    }

    #[test]
    fn log_file_is_made_private_and_appended_to() {
        use std::io::Write;
        let folder = Folder::new("log");
        let path = folder.0.join("access.log");
        let mut provision = InProcess::new(PathBuf::new());
        provision.log_file(&path).unwrap().write_all(b"one\n").unwrap();
        provision.log_file(&path).unwrap().write_all(b"two\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & OTHERS, 0);
    }

    #[test]
    fn log_to_a_pipe_that_nobody_reads_is_refused_at_once() {
        let folder = Folder::new("pipe");
        let path = folder.0.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let error = InProcess::new(PathBuf::new()).log_file(&path).unwrap_err().to_string();
        assert!(error.ends_with("nobody reads this pipe; start its reader first"), "{error}");
    }

    #[test]
    fn bind_errors_name_the_address_and_the_cure() {
        let mut provision = InProcess::new(PathBuf::new());
        let taken = provision.listen("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let addr = taken[0].local_addr().unwrap();
        let told = provision.listen(addr, 2).unwrap_err().to_string();
        assert!(told.starts_with(&format!("cannot listen on {addr}: the address is in use; ")), "{told}");
        // TEST-NET-1 of RFC 5737 is on no interface.
        let told = provision.listen("192.0.2.1:0".parse().unwrap(), 1).unwrap_err().to_string();
        assert!(
            told.ends_with("no interface of this machine has the address 192.0.2.1; is it up?"),
            "{told}"
        );
        let denied = ProvisionError::Bind { addr, source: ErrorKind::PermissionDenied.into() };
        assert!(denied.to_string().contains("needs root"), "{denied}");
    }
}
