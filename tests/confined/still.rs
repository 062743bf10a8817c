//! What a confined edge must still be able to do.

use std::io::{Read, Write};
use std::net::{TcpListener, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use porchd::os::confine::{self, Walls};
use porchd::os::{beneath, folder, limits, syslog};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::inside::{self, Trial};

const MINUTE: Duration = Duration::from_secs(60);

/// What came of one act.
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// What was opened before the walls went up.
pub(crate) struct Before {
    log: (UnixDatagram, UnixDatagram),
}

impl Before {
    pub(crate) fn prepare() -> Self {
        Self { log: UnixDatagram::pair().expect("a pair") }
    }
}

pub(crate) fn all(trial: &Trial, before: Before, walls: Option<&Walls>) -> Vec<(&'static str, Outcome)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let inherited = || -> std::io::Result<TcpListener> {
        Ok(TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned()?))
    };
    let mut all: Vec<(&'static str, Outcome)> = vec![
        ("the state folder", state(&trial.folder.join("state"))),
        ("files beneath a root", files(&trial.folder.join("root"))),
        ("threads", threads()),
        ("localhost by getaddrinfo", resolve("localhost")),
        ("a line to syslog", logged(before)),
        ("a line to an inherited log", writeln!(std::io::stderr(), "{}", inside::LOGGED).map_err(Into::into)),
        ("more descriptors", limits::raise_descriptors().map(drop).map_err(Into::into)),
    ];
    all.push((
        "TLS to an inherited listener",
        inherited().map_err(Into::into).and_then(|socket| runtime.block_on(handshake(socket))),
    ));
    all.push(("signals", runtime.block_on(signals())));
    // By the time of the signal the file was replaced.
    all.extend(
        walls.map(|walls| ("a replaced file is told", replaced(walls, &trial.folder.join("replaced")))),
    );
    if trial.sockets {
        let backend = trial.folder.join("run/backend");
        all.push(("a unix backend", UnixStream::connect(backend).map(drop).map_err(Into::into)));
    } else {
        all.push((
            "no unix socket at all",
            match UnixStream::connect(trial.folder.join("run/backend")) {
                Ok(_) => Err("a unix socket was connected".into()),
                Err(_) => Ok(()),
            },
        ));
    }
    all
}

fn state(path: &Path) -> Outcome {
    let state = folder::Folder::make(path)?;
    let lock = state.lock("lock")?.ok_or("the lock is held")?;
    state.write("file", b"one")?;
    state.write("file", b"two")?;
    state.rename("file", "other")?;
    let sub = state.subfolder("certificates")?;
    sub.write("a.pem", &[b'x'; 100_000])?;
    if state.read("other", 10)?.as_deref() != Some(b"two") || state.names()?.len() != 3 {
        return Err("the folder holds something else".into());
    }
    state.remove("other")?;
    state.remove_temporary_files()?;
    if state.holder("lock") != Some(std::process::id()) || state.mode()? == 0 {
        return Err("the folder tells something else of itself".into());
    }
    state.try_clone()?.owner()?;
    drop(lock);
    Ok(())
}

fn files(path: &Path) -> Outcome {
    let root = beneath::Folder::open(path)?;
    let mut text = String::new();
    root.read("index.html")?.read_to_string(&mut text)?;
    root.look("sub")?;
    let page = root.read("sub/page")?;
    let bytes = beneath::read_in_memory(&page, 10, 0)?;
    let names = root.names("", 10)?;
    if text != "here" || bytes != b"there" || names.len() != 2 {
        return Err("the folder holds something else".into());
    }
    Ok(())
}

fn threads() -> Outcome {
    let named =
        || std::thread::Builder::new().name("porchd-thread".to_owned()).spawn(|| vec![0_u8; 1 << 22].len());
    let threads: Vec<_> = (0..8).map(|_| named()).collect::<Result<_, _>>()?;
    for thread in threads {
        thread.join().map_err(|_| "a thread has panicked")?;
    }
    std::thread::available_parallelism()?;
    Ok(())
}

fn resolve(name: &str) -> Outcome {
    let found = (name, 80).to_socket_addrs()?.any(|addr| addr.ip().is_loopback());
    if found { Ok(()) } else { Err("no loopback address".into()) }
}

fn logged(before: Before) -> Outcome {
    let (log, reader) = before.log;
    syslog::send(syslog::Priority::Info, "a line from within the walls");
    log.send(b"line")?;
    reader.recv(&mut [0; 16])?;
    Ok(())
}

fn replaced(walls: &Walls, file: &Path) -> Outcome {
    let told = confine::out_of_reach(walls);
    if told == [file] { Ok(()) } else { Err(format!("told is {told:?}").into()) }
}

/// A handshake of two ends in this process, over a socket that somebody else has bound.
async fn handshake(socket: TcpListener) -> Outcome {
    socket.set_nonblocking(true)?;
    let addr = socket.local_addr()?;
    let socket = tokio::net::TcpListener::from_std(socket)?;
    let issued = rcgen::generate_simple_self_signed(["a.test".to_owned()])?;
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der())?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issued.cert.der().clone())?;
    let ours = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)?;
    let theirs = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let accept = async {
        let (stream, _) = socket.accept().await?;
        let mut stream = TlsAcceptor::from(Arc::new(ours)).accept(stream).await?;
        stream.write_all(b"hello").await?;
        stream.shutdown().await
    };
    let connect = async {
        let stream = tokio::net::TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let alive = socket2::TcpKeepalive::new();
        let alive = alive.with_time(MINUTE).with_interval(MINUTE).with_retries(3);
        socket2::SockRef::from(&stream).set_tcp_keepalive(&alive)?;
        let name = ServerName::try_from("a.test").map_err(std::io::Error::other)?;
        let mut stream = TlsConnector::from(Arc::new(theirs)).connect(name, stream).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    let (accepted, text) = tokio::join!(accept, connect);
    accepted?;
    if text? == "hello" { Ok(()) } else { Err("something else came".into()) }
}

async fn signals() -> Outcome {
    let mut asked = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined1())?;
    inside::tell(&["signal"]);
    asked.recv().await.ok_or_else(|| "no signal came".into())
}
