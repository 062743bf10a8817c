//! `Provision` by acting in this process, with the privileges that it was started with.
//!
//! It parses nothing and keeps nothing: every call looks at the file system anew.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::config::model::home::{Address, WireGuard};
use crate::home::endpoint::OfSystem;
use crate::home::tools::Tools;
use crate::home::tunnel::{self, Reading};
use crate::home::update::{self, Outcome, Step, UpdateError};
use crate::os::control_socket::{self, ControlSocketError};
use crate::os::folder::Folder;
use crate::os::users::{self, User};
use crate::os::{owner, socket};
use crate::provision::activated::Activated;
use crate::provision::{PemPair, Provision, ProvisionError, ProvisionWarning};

/// No file that is read whole is larger: a wrong path (`/dev/zero`, a disk image) must not eat the memory.
const LARGEST: u64 = 16 * 1024 * 1024;

/// What is no file of bytes that end.
const NO_FILE: &str = "this is a pipe or a device and not a file; copy what it should hold into a file";

/// The bits of a file's mode that let others read or write it.
const OTHERS: u32 = 0o006;

/// The bits of a folder's mode that let anybody but its owner do anything.
const NOT_THE_OWNER: u32 = 0o077;

/// The bit of a folder's mode that lets everybody put files there.
const WRITABLE_FOR_ALL: u32 = 0o002;

/// Acts in this process.
#[derive(Debug)]
pub struct InProcess {
    configuration: PathBuf,
    // Whose acts these are: an edge's by its warden, or None: this process' own.
    edge: Option<User>,
    activated: Activated,
    warnings: Vec<ProvisionWarning>,
    tools: Tools,
}

impl InProcess {
    /// With the configuration in the file `configuration`.
    pub fn new(configuration: PathBuf) -> Self {
        Self {
            configuration,
            edge: None,
            activated: Activated::default(),
            warnings: Vec::new(),
            tools: Tools::default(),
        }
    }

    /// The same for an edge that runs as `user`: the configuration must be nobody else's to write, and the state
    /// folder is that user's.
    pub fn for_edge(configuration: PathBuf, user: User) -> Self {
        Self { edge: Some(user), ..Self::new(configuration) }
    }

    /// With sockets that a service manager has opened: one that listens on an address is taken for it.
    pub fn with_activated(self, activated: Activated) -> Self {
        Self { activated, ..self }
    }

    /// Closes sockets of a service manager that nobody has asked for; their addresses.
    pub fn close_unasked(&mut self) -> Vec<SocketAddr> {
        self.activated.close()
    }

    /// What the configuration says is done with privileges: it must be theirs alone who have them.
    fn is_closed(&self, file: &File) -> Result<(), ProvisionError> {
        let open = |path: &Path| Err(ProvisionError::OpenToOthers { path: path.to_owned() });
        let path = &self.configuration;
        let found = file.metadata().map_err(of(path))?;
        if owner::may_write(&found, owner::me()) {
            return open(path);
        }
        // With links and folders that lead there are others who choose which file it is.
        let way = owner::exchangeable(path, owner::me()).map_err(of(path))?;
        way.map_or(Ok(()), |found| open(&found))
    }

    fn warn_once(&mut self, warning: ProvisionWarning) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// The bytes of a file that should be closed to others; `open` is the warning if it is not.
    fn secret(
        &mut self,
        path: &Path,
        open: fn(PathBuf) -> ProvisionWarning,
    ) -> Result<Vec<u8>, ProvisionError> {
        let file = open_file(path).map_err(of(path))?;
        if file.metadata().map_err(of(path))?.mode() & OTHERS != 0 {
            self.warn_once(open(path.to_owned()));
        }
        read(file).map_err(of(path))
    }
}

impl Provision for InProcess {
    fn configuration(&mut self) -> Result<String, ProvisionError> {
        let path = &self.configuration;
        // A person who runs `check` may give a pipe; the warden waits for none.
        let file = if self.edge.is_some() { open_file(path) } else { File::open(path) };
        let file = file.map_err(of(path))?;
        if self.edge.is_some() {
            self.is_closed(&file)?;
        }
        read(file)
            .and_then(|bytes| {
                String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
            })
            .map_err(of(&self.configuration))
    }

    fn configuration_name(&self) -> String {
        self.configuration.display().to_string()
    }

    fn listen(&mut self, addr: SocketAddr, copies: usize) -> Result<Vec<TcpListener>, ProvisionError> {
        if let Some(sockets) = self.activated.take(addr, copies) {
            return sockets.map_err(|source| ProvisionError::Bind { addr, source });
        }
        socket::listen(addr, copies).map_err(|source| ProvisionError::Bind { addr, source })
    }

    fn key_pair(&mut self, cert: &Path, key: &Path) -> Result<PemPair, ProvisionError> {
        let cert = self.public_file(cert)?;
        let key = self.secret(key, |path| ProvisionWarning::KeyOpenToOthers { path })?;
        Ok(PemPair { cert, key })
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
        open_file(path).and_then(read).map_err(of(path))
    }

    fn secret_file(&mut self, path: &Path) -> Result<Vec<u8>, ProvisionError> {
        self.secret(path, |path| ProvisionWarning::SecretOpenToOthers { path })
    }

    fn state_folder(&mut self, path: &Path) -> Result<Folder, ProvisionError> {
        let failed = |source| ProvisionError::StateFolder { path: path.to_owned(), source };
        let folder = Folder::make(path).map_err(failed)?;
        let mode = folder.mode().map_err(failed)?;
        if mode & WRITABLE_FOR_ALL != 0 {
            return Err(ProvisionError::StateFolderWritable { path: path.to_owned() });
        }
        let mut uid = folder.owner().map_err(failed)?;
        let user = self.edge.map_or(owner::me(), |edge| edge.uid);
        if let Some(edge) = self.edge.filter(|edge| edge.uid != uid && uid == owner::me()) {
            users::give_folder(path, edge).map_err(failed)?;
            uid = edge.uid;
        }
        if owner::is_stranger(uid, user) {
            self.warn_once(ProvisionWarning::StateFolderOfAnother { path: path.to_owned(), uid });
        }
        if mode & NOT_THE_OWNER != 0 {
            self.warn_once(ProvisionWarning::StateFolderOpenToOthers { path: path.to_owned() });
        }
        Ok(folder)
    }

    fn control_socket(&mut self, path: &Path, held: bool) -> Result<Option<UnixListener>, ProvisionError> {
        match control_socket::listen(path) {
            Ok(listener) => Ok(Some(listener)),
            // The caller answers itself there. Had somebody removed the file, there would be another now.
            Err(ControlSocketError::InUse) if held => Ok(None),
            Err(source) => Err(ProvisionError::ControlSocket { path: path.to_owned(), source }),
        }
    }

    fn tunnel(&mut self, wireguard: &WireGuard) -> Result<Reading, ProvisionError> {
        Ok(tunnel::read(&wireguard.interface, &wireguard.peer)?)
    }

    fn home_address(&mut self, address: &Address, which: usize, step: &Step) -> Result<Outcome, UpdateError> {
        update::act(&self.tools, &OfSystem, address, which, step)
    }

    fn warnings(&mut self) -> Vec<ProvisionWarning> {
        std::mem::take(&mut self.warnings)
    }
}

fn of(path: &Path) -> impl FnOnce(io::Error) -> ProvisionError {
    move |source| ProvisionError::File { path: path.to_owned(), source }
}

/// Opens a file to be read whole. A pipe or a terminal is not waited for.
fn open_file(path: &Path) -> io::Result<File> {
    // std adds O_CLOEXEC.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    match file.metadata()?.file_type() {
        kind if kind.is_file() => Ok(file),
        // By its number it is the same on the edge's side.
        kind if kind.is_dir() => Err(io::Error::from_raw_os_error(libc::EISDIR)),
        _ => Err(io::Error::new(ErrorKind::InvalidInput, NO_FILE)),
    }
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
    fn configuration_that_another_user_may_exchange_is_refused() {
        let folder = Folder::new("exchange");
        let me = fs::metadata(&folder.0).unwrap();
        let me = User { uid: me.uid(), gid: me.gid() };
        fs::create_dir_all(folder.0.join("open/deeper")).unwrap();
        let open = folder.0.join("open");
        let file = folder.file("open/deeper/porchd.yaml", b"one", 0o644);
        let link = folder.0.join("link.yaml");
        std::os::unix::fs::symlink("open/deeper/porchd.yaml", &link).unwrap();
        for (mode, refused) in [(0o755, false), (0o775, true), (0o777, true), (0o1777, false)] {
            fs::set_permissions(&open, Permissions::from_mode(mode)).unwrap();
            for path in [&file, &link] {
                let read = InProcess::for_edge(path.clone(), me).configuration();
                let told = read.err().map(|error| error.to_string());
                assert_eq!(told.is_some(), refused, "{mode:o} {told:?}");
                let named = format!("{}: others than", open.canonicalize().unwrap().display());
                assert!(told.is_none_or(|told| told.starts_with(&named)));
            }
        }
        assert_eq!(InProcess::new(link).configuration().unwrap(), "one");
        fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
        let told = InProcess::for_edge(file.clone(), me).configuration().unwrap_err().to_string();
        assert!(told.starts_with(&format!("{}: others than", file.display())), "{told}");
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
        assert!(endless.contains("a device and not a file"), "{endless}");
        let disk = folder.0.join("disk");
        File::create(&disk).unwrap().set_len(LARGEST + 1).unwrap();
        let large = provision.public_file(&disk).unwrap_err().to_string();
        assert!(large.contains("too large"), "{large}");
    }

    #[test]
    fn pipe_in_place_of_a_file_is_refused_at_once() {
        let folder = Folder::new("pipes");
        let pipe = folder.0.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let file = folder.file("file", b"x", 0o600);
        let me = fs::metadata(&folder.0).unwrap();
        let mut provision = InProcess::for_edge(pipe.clone(), User { uid: me.uid(), gid: me.gid() });
        for error in [
            provision.configuration().err(),
            provision.public_file(&pipe).err(),
            provision.secret_file(&pipe).err(),
            provision.key_pair(&pipe, &file).err(),
            provision.key_pair(&file, &pipe).err(),
        ] {
            let told = error.unwrap().to_string();
            assert_eq!(told, format!("{}: {NO_FILE}", pipe.display()));
        }
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
    fn secret_that_others_can_read_is_warned_of() {
        let folder = Folder::new("secret");
        let mut provision = InProcess::new(PathBuf::new());
        let path = folder.file("eab", b"c2VjcmV0", 0o600);
        assert_eq!(provision.secret_file(&path).unwrap(), b"c2VjcmV0");
        assert_eq!(provision.warnings(), []);
        folder.file("eab", b"c2VjcmV0", 0o604);
        provision.secret_file(&path).unwrap();
        assert_eq!(provision.warnings(), [ProvisionWarning::SecretOpenToOthers { path }]);
        let missing = provision.secret_file(&folder.0.join("none")).unwrap_err().to_string();
        assert!(missing.contains("none: no such file; "), "{missing}");
    }

    #[test]
    fn state_folder_is_made_private() {
        let folder = Folder::new("state");
        let mut provision = InProcess::new(PathBuf::new());
        let path = folder.0.join("lib/porchd");
        for _ in 0..2 {
            provision.state_folder(&path).unwrap().write("file", b"x").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        }
        assert_eq!(provision.warnings(), []);
        let error = provision.state_folder(&path.join("file")).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("state folder {}/file: this is no folder", path.display())),
            "{error}"
        );
    }

    #[test]
    fn state_folder_that_is_open_keeps_its_mode_and_is_told() {
        let folder = Folder::new("open");
        let mut provision = InProcess::new(PathBuf::new());
        let path = folder.0.join("state");
        fs::create_dir(&path).unwrap();
        for (mode, warned, refused) in
            [(0o700, false, false), (0o750, true, false), (0o755, true, false), (0o1777, false, true)]
        {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(provision.state_folder(&path).is_err(), refused, "{mode:o}");
            assert_eq!(provision.warnings().len(), usize::from(warned), "{mode:o}");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        }
        let told = provision.state_folder(&path).unwrap_err().to_string();
        assert!(
            told.ends_with("set `state_dir` to a folder for porchd alone, or chmod 700 this one"),
            "{told}"
        );
    }

    #[test]
    fn state_folder_of_another_user_is_told() {
        let folder = Folder::new("another");
        let path = folder.0.join("state");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        // Nobody else may give a folder away, and there it can't be tried.
        if std::os::unix::fs::chown(&path, Some(65_534), None).is_err() || owner::me() != 0 {
            return;
        }
        let mut provision = InProcess::new(PathBuf::new());
        provision.state_folder(&path).unwrap();
        let expected = ProvisionWarning::StateFolderOfAnother { path, uid: 65_534 };
        assert_eq!(provision.warnings(), [expected]);
    }

    #[test]
    fn state_folder_that_cannot_be_made_is_told_with_the_cure() {
        let source = io::Error::from(ErrorKind::PermissionDenied);
        let told = ProvisionError::StateFolder { path: "/var/lib/porchd".into(), source }.to_string();
        assert!(told.contains("mkdir /var/lib/porchd") && told.contains("`state_dir`"), "{told}");
    }

    #[test]
    fn control_socket_errors_name_the_path_and_the_cure() {
        let folder = Folder::new("control");
        let mut provision = InProcess::new(PathBuf::new());
        let path = folder.0.join("run/porchd.sock");
        let _listener = provision.control_socket(&path, false).unwrap().unwrap();
        assert!(provision.control_socket(&path, true).unwrap().is_none());
        let told = provision.control_socket(&path, false).unwrap_err().to_string();
        let path = path.display();
        assert!(
            told.starts_with(&format!("control socket {path}: another porchd answers on it; ")),
            "{told}"
        );
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
