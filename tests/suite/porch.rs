//! A porchd of the test's own, in this process, on free ports, in the accept mode of the run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use porchd::provision::in_process::InProcess;
use porchd::supervisor::daemon::StartError;
use porchd::supervisor::{self, Running};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::client::Client;
use crate::home::Home;

/// A running porchd with a folder of its own.
pub(crate) struct Porch {
    running: Option<Running>,
    folder: PathBuf,
    roots: Arc<RootCertStore>,
}

impl Porch {
    /// Starts one with this configuration. `$DIR` is the porch's folder; listeners, TLS by an internal
    /// CA and a quiet log are added when the text does not speak of them.
    pub(crate) fn new(text: &str) -> Self {
        Self::start(text).unwrap_or_else(|error| panic!("the porch did not start: {error}"))
    }

    /// The same, where the start may be refused.
    pub(crate) fn start(text: &str) -> Result<Self, StartError> {
        let folder = std::env::temp_dir().join(format!("porchd-suite-{:016x}", porchd::clock::random()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let mut porch = Self { running: None, folder, roots: Arc::new(RootCertStore::empty()) };
        porch.write("porchd.yaml", complete(text, &porch.folder));
        let provision = Box::new(InProcess::new(porch.folder.join("porchd.yaml")));
        let running = supervisor::start(provision, supervisor::Options::embedded())?;
        let mut roots = RootCertStore::empty();
        // Without an internal CA nothing is to be trusted.
        let ca = running.ca_pem().unwrap_or_default();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate.expect("a certificate")).expect("a root");
        }
        (porch.running, porch.roots) = (Some(running), Arc::new(roots));
        Ok(porch)
    }

    /// The plainest porch in front of a homeserver, for `example.com`.
    pub(crate) fn before(home: &Home) -> Self {
        Self::new(&matrix(home, ""))
    }

    /// The porch's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The running daemon.
    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until it is stopped")
    }

    /// Writes another configuration, of which nobody knows yet.
    pub(crate) fn configure(&self, text: &str) {
        self.write("porchd.yaml", complete(text, &self.folder));
    }

    /// Writes another configuration and reloads.
    pub(crate) fn reload(&self, text: &str) -> Result<Vec<String>, String> {
        self.configure(text);
        self.running().reload().map_err(|error| error.to_string())
    }

    /// The first address of a listener.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let addresses = self.running().addresses();
        *addresses
            .iter()
            .find(|(name, _)| name == listener)
            .and_then(|(_, bound)| bound.first())
            .unwrap_or_else(|| panic!("no listener {listener:?} in {addresses:?}"))
    }

    /// An HTTP/1.1 connection for `example.com`.
    pub(crate) fn connect(&self) -> Client {
        self.connect_as("https", "example.com")
    }

    /// An HTTP/1.1 connection to a TLS listener with this server name.
    pub(crate) fn connect_as(&self, listener: &str, name: &str) -> Client {
        Client::tls(self.address(listener), name, self.roots.clone())
    }

    /// A connection to a plain listener.
    pub(crate) fn connect_plain(&self, listener: &str) -> Client {
        Client::plain(self.address(listener))
    }

    /// The CA to trust.
    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        self.roots.clone()
    }

    /// Stops it and waits for its end; its folder stays until it is dropped. What is logged is written now.
    pub(crate) fn halt(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            running.wait();
        }
    }

    /// Writes a file into the porch's folder (`name` may have folders in it) and says where it is.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// Stops it and waits for its end.
    pub(crate) fn stop(mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            running.wait();
        }
    }
}

impl Drop for Porch {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            running.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A `matrix:` section for `example.com` before `home`, and whatever else a test adds.
pub(crate) fn matrix(home: &Home, more: &str) -> String {
    format!("matrix:\n  server_name: example.com\n  home: {}\n{more}", home.address())
}

fn complete(text: &str, folder: &Path) -> String {
    let mut text = text.replace("$DIR", &folder.display().to_string());
    let mut add = |key: &str, section: &str| {
        if !text.lines().any(|line| line.starts_with(key)) {
            text.push('\n');
            text.push_str(section);
        }
    };
    add(
        "listeners:",
        "listeners:\n  https: { bind: [ \"127.0.0.1:0\" ], tls: true }\n  \
         federation: { bind: [ \"127.0.0.1:0\" ], tls: true }\n  http: { bind: [ \"127.0.0.1:0\" ] }\n",
    );
    add("tls:", "tls: { internal_ca: true }\n");
    // The machine's own porchd may have the default's.
    add("admin:", "admin: { socket: false }\n");
    add("threads:", "threads: 2\n");
    add("state_dir:", &format!("state_dir: {}\n", folder.join("state").display()));
    // `.ci/run` runs the suite in both modes.
    if let Ok(mode) = std::env::var("PORCHD_TEST_ACCEPT") {
        add("accept:", &format!("accept: {mode}\n"));
    }
    text
}
