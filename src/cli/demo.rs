//! `porchd demo`: the whole porch on unprivileged ports, with a home inside, nothing to prepare.
//!
//! It is the real daemon with a configuration of its own; only home is a stand-in. What it writes goes
//! into one temporary folder, which is removed at the end.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::{output, stand_in};
use crate::clock;
use crate::provision::in_process::InProcess;
use crate::supervisor;

/// Ports that the demo tries beyond the first one before it gives up.
const PORTS_TRIED: u16 = 200;

const PAGE: &str = "<!doctype html><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
<title>The porch</title><body style=\"font:1.2em/1.5 system-ui;max-width:40em;margin:3em auto;padding:0 1em\">\
<h1>The porch stands</h1><p>This page is a file that porchd serves. Behind <a href=/_matrix/client/versions>\
/_matrix</a> is a stand-in home; <a href=/.well-known/matrix/client>well-known</a> is answered by the porch \
itself; <a href=/files/>a listing</a> is one key in the configuration.\n";

/// Runs the demo until it is interrupted.
pub fn run(first_port: u16) -> ExitCode {
    match demo(first_port) {
        Ok(status) => status,
        Err(error) => {
            output::complain(&format!("porchd demo: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn demo(first_port: u16) -> anyhow::Result<ExitCode> {
    let home = stand_in::start().context("the stand-in home could not start")?;
    let folder = Folder::new().context("no temporary folder")?;
    let ports = Ports::free_from(first_port).context("no three free ports")?;
    let file = folder.0.join("porchd.yaml");
    fs::write(&file, configuration(&folder.0, ports, home)).context("the configuration was not written")?;
    let running = supervisor::start(Box::new(InProcess::new(file)), supervisor::Options::default())?;
    let ca = folder.0.join("ca.pem");
    fs::write(&ca, running.ca_pem().unwrap_or_default()).context("the CA was not written")?;
    // Without anybody who reads it, it runs all the same.
    let _ = output::print(&welcome(&folder.0, ports, home));
    Ok(running.wait())
}

/// The demo's files; the folder goes when the demo does.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("porchd-demo-{:08x}", clock::random() as u32));
        fs::create_dir(&path)?;
        let folder = Self(path);
        fs::create_dir_all(folder.0.join("www/files"))?;
        fs::write(folder.0.join("www/index.html"), PAGE)?;
        fs::write(folder.0.join("www/files/hello.txt"), "Hello from the porch.\n")?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that is left behind in the temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[derive(Clone, Copy)]
struct Ports {
    https: u16,
    federation: u16,
    http: u16,
}

impl Ports {
    /// Three ports in a row that nothing listens on, `first` or later.
    fn free_from(first: u16) -> std::io::Result<Self> {
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        (first..first.saturating_add(PORTS_TRIED))
            .find(|&port| port <= u16::MAX - 2 && (port..port + 3).all(free))
            .map(|port| Self { https: port, federation: port + 1, http: port + 2 })
            .ok_or_else(|| std::io::ErrorKind::AddrInUse.into())
    }
}

fn configuration(folder: &Path, ports: Ports, home: SocketAddr) -> String {
    let Ports { https, federation, http } = ports;
    let root = folder.join("www");
    let (root, folder) = (root.display(), folder.display());
    format!(
        r#"matrix:
  server_name: localhost
  home: {home}
  well_known:
    server: "localhost:{https}"
    client: {{ "m.homeserver": {{ base_url: "https://localhost:{https}" }} }}
listeners:
  https:      {{ bind: [ "127.0.0.1:{https}" ], tls: true }}
  federation: {{ bind: [ "127.0.0.1:{federation}" ], tls: true }}
  http:       {{ bind: [ "127.0.0.1:{http}" ] }}
tls: {{ internal_ca: true }}
admin: {{ socket: false }}
state_dir: {folder}/state
sites:
  - hosts: [ localhost ]
    routes:
      - {{ path: /, files: {{ root: "{root}", listing: true }} }}
log: {{ level: warn, access: {{ format: combined }} }}
"#
    )
}

fn welcome(folder: &Path, ports: Ports, home: SocketAddr) -> String {
    let Ports { https, federation, http } = ports;
    let folder = folder.display();
    format!(
        r#"porchd demo: the porch is open. Ctrl-C ends it and removes {folder}

  https://localhost:{https}        the site, and Matrix clients
  https://localhost:{federation}        federation
  http://localhost:{http}         redirects to https
  {home}               a stand-in home (no real Synapse)

Try each part (the CA is this demo's own):

  export CURL_CA_BUNDLE={folder}/ca.pem
  curl https://localhost:{https}/                                             # a file
  curl -i https://localhost:{https}/.well-known/matrix/client                 # discovery, with CORS
  curl https://localhost:{https}/_matrix/client/versions                      # forwarded to home
  curl "https://localhost:{https}/_matrix/client/v3/sync?timeout=5000"        # a long poll
  curl -X PUT --data-binary @/etc/hosts https://localhost:{https}/_matrix/x   # an upload
  curl -i https://localhost:{https}/_synapse/admin/v1/users                   # never exposed
  curl https://localhost:{federation}/_matrix/federation/v1/version               # federation
  curl -i http://localhost:{http}/                                           # to https

The configuration is {folder}/porchd.yaml: change it and say kill -HUP {pid}.
Every request as it passes (who answered is at the end):

"#,
        pid = std::process::id()
    )
}
