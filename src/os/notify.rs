//! Tells the service manager how the daemon stands (sd_notify(3), `Type=notify-reload`).
//!
//! Nothing happens unless `NOTIFY_SOCKET` is set. A manager that can't be reached never hinders serving: the failure is
//! returned to be logged, and that is all. Nor is one waited for that does not read, which the crate's own way to send
//! does.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;

use sd_notify::NotifyState;
use socket2::{SockAddr, SockRef};

/// Start-up or a reload is done; `status` is the line that `systemctl status` shows.
pub fn ready(status: &str) -> io::Result<()> {
    // A status of several lines would end the assignment early and smuggle in others.
    let line = status.lines().next().unwrap_or_default();
    tell(&[NotifyState::Ready, NotifyState::Status(line)])
}

/// A reload has begun. `ready` must follow, whether it succeeded or not.
pub fn reloading() -> io::Result<()> {
    // systemd tells by the time whether this reload is the one that it asked for.
    tell(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
}

/// A stop has begun.
pub fn stopping() -> io::Result<()> {
    tell(&[NotifyState::Stopping])
}

fn tell(states: &[NotifyState<'_>]) -> io::Result<()> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(path) => send(&path, states),
        None => Ok(()),
    }
}

fn send(path: &OsStr, states: &[NotifyState<'_>]) -> io::Result<()> {
    let text: String = states.iter().map(|state| format!("{state}\n")).collect();
    // `@` stands for the zero byte with which an abstract name begins (sd_notify(3)).
    let name = match path.as_bytes().strip_prefix(b"@") {
        Some(rest) => [b"\0", rest].concat(),
        None => path.as_bytes().to_vec(),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let sent = SockRef::from(&socket).send_to(text.as_bytes(), &SockAddr::unix(OsStr::from_bytes(&name))?)?;
    if sent == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::anew::Scratch;

    #[test]
    fn manager_that_does_not_read_is_not_waited_for() {
        let scratch = Scratch::new();
        let path = scratch.0.join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let told = [NotifyState::Ready, NotifyState::Status("all is well")];
        send(path.as_os_str(), &told).unwrap();
        let mut heard = [0; 100];
        let length = manager.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"READY=1\nSTATUS=all is well\n");
        let full = (0..10_000).find_map(|_| send(path.as_os_str(), &told).err()).unwrap();
        assert!(matches!(full.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Other), "{full:?}");
        assert!(send(OsStr::new("/no/where"), &told).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn abstract_name_is_understood() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("porchd-notify-{:x}", crate::clock::random());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), &[NotifyState::Stopping]).unwrap();
        let mut heard = [0; 100];
        let length = manager.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"STOPPING=1\n");
    }
}
