//! What outlives an edge: the sockets that listen, and the control socket.
//!
//! While the warden has them a port stays open, whatever becomes of the edge, and connections wait in its queue.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::os::{socket, waiting};
use crate::provision::inventory::Inventory;
use crate::provision::{Provision, ProvisionError};
use crate::warden::plan::EdgeId;

/// The sockets of one address.
#[derive(Debug)]
pub struct Address {
    /// As configured; its port may be 0.
    pub configured: SocketAddr,
    /// The one that it got.
    pub actual: SocketAddr,
    /// One for each thread that accepts, where the system deals connections out.
    pub sockets: Vec<TcpListener>,
    /// The edges that have them.
    pub given: BTreeSet<EdgeId>,
}

/// The control socket.
#[derive(Debug)]
pub struct Control {
    /// Its path.
    pub path: PathBuf,
    /// Device and number of the entry that was made there.
    pub entry: (u64, u64),
    /// It.
    pub listener: UnixListener,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Holdings {
    /// Addresses that are open.
    pub addresses: Vec<Address>,
    /// The control socket, if one was asked for.
    pub control: Option<Control>,
}

impl Holdings {
    /// The sockets of `addr` for `edge`, at least `copies` of them; opened by `provision` if they are not open yet.
    ///
    /// None is left out: a connection that waits at a socket which nobody has would wait for ever.
    ///
    /// # Errors
    /// When the address can't be opened.
    pub fn listen(
        &mut self,
        edge: EdgeId,
        addr: SocketAddr,
        copies: usize,
        provision: &mut dyn Provision,
    ) -> Result<Vec<TcpListener>, ProvisionError> {
        let failed = |source| ProvisionError::Bind { addr, source };
        let at = match self.place(edge, addr) {
            Some(at) => at,
            None => {
                let sockets = provision.listen(addr, copies)?;
                let actual = sockets.first().map_or(Ok(addr), TcpListener::local_addr).map_err(failed)?;
                self.addresses.push(Address { configured: addr, actual, sockets, given: BTreeSet::new() });
                self.addresses.len() - 1
            }
        };
        let held = &mut self.addresses[at];
        held.mend(copies, provision)?;
        let count = copies.max(held.sockets.len());
        let copied = held.sockets.iter().cycle().take(count).map(TcpListener::try_clone);
        let copied = copied.collect::<io::Result<Vec<_>>>().map_err(failed)?;
        held.given.insert(edge);
        Ok(copied)
    }

    /// Where sockets of `addr` are that `edge` has not. One that was configured so comes before one that got it.
    fn place(&self, edge: EdgeId, addr: SocketAddr) -> Option<usize> {
        let by = |is: fn(&Address) -> SocketAddr| {
            self.addresses.iter().position(|held| is(held) == addr && !held.given.contains(&edge))
        };
        by(|held| held.configured).or_else(|| by(|held| held.actual))
    }

    /// The control socket at `path`; `None`: the edge has it already (`held`).
    ///
    /// # Errors
    /// When it can't be made.
    pub fn control_socket(
        &mut self,
        path: &Path,
        held: bool,
        provision: &mut dyn Provision,
    ) -> Result<Option<UnixListener>, ProvisionError> {
        let failed = |source: io::Error| ProvisionError::ControlSocket {
            path: path.to_owned(),
            source: source.into(),
        };
        if let Some(control) =
            self.control.as_ref().filter(|control| control.path == path && control.stands(held))
        {
            return if held { Ok(None) } else { control.listener.try_clone().map(Some).map_err(failed) };
        }
        let Some(listener) = provision.control_socket(path, false)? else { return Ok(None) };
        let copy = listener.try_clone().map_err(failed)?;
        let entry = entry(path).map_err(failed)?;
        self.control = Some(Control { path: path.to_owned(), entry, listener });
        Ok(Some(copy))
    }

    /// Edge `edge` has ended.
    pub fn forget(&mut self, edge: EdgeId) {
        for held in &mut self.addresses {
            held.given.remove(&edge);
        }
    }

    /// Closes what none of `inventories` names.
    pub fn keep(&mut self, inventories: &[&Inventory]) {
        let named = |addr: SocketAddr| inventories.iter().any(|one| one.addresses.contains(&addr));
        self.addresses.retain(|held| named(held.configured) || named(held.actual));
        let wanted = |path: &Path| inventories.iter().any(|one| one.socket.as_deref() == Some(path));
        self.control = self.control.take().filter(|control| wanted(&control.path));
    }
}

impl Address {
    /// Undoes what an edge that was taken over may have done to the sockets, which it shares: let them block, or end
    /// their listening.
    fn mend(&mut self, copies: usize, provision: &mut dyn Provision) -> Result<(), ProvisionError> {
        let failed = |source| ProvisionError::Bind { addr: self.actual, source };
        // There are none if they could not be opened anew the last time.
        if !self.sockets.is_empty() && self.sockets.iter().all(|one| socket::listens_again(one).is_ok()) {
            return Ok(());
        }
        // What is spoiled for good holds the port.
        let copies = copies.max(self.sockets.len());
        self.sockets.clear();
        self.sockets = provision.listen(self.actual, copies)?;
        self.actual =
            self.sockets.first().map_or(Ok(self.actual), TcpListener::local_addr).map_err(failed)?;
        Ok(())
    }
}

impl Control {
    /// Whether the path still leads to this socket, and somebody can be met there. An edge that has it (`held`) knows
    /// that by itself.
    fn stands(&self, held: bool) -> bool {
        let leads = entry(&self.path).is_ok_and(|entry| entry == self.entry);
        leads
            && (held
                || (self.listener.set_nonblocking(true).is_ok() && !waiting::is_shut(self.listener.as_fd())))
    }
}

fn entry(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::in_process::InProcess;

    const ONE: EdgeId = EdgeId(1);
    const TWO: EdgeId = EdgeId(2);

    /// Any port of a host of this module's own: one that is given back is not somebody else's at once.
    fn any() -> SocketAddr {
        let host = if cfg!(target_os = "linux") { [127, 0, 1, 1] } else { [127, 0, 0, 1] };
        SocketAddr::from((host, 0))
    }

    fn ports(sockets: &[TcpListener]) -> Vec<u16> {
        sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
    }

    /// What edge one has been given: so many sockets of a port, and where that is.
    fn opened(copies: usize) -> (InProcess, Holdings, Vec<TcpListener>, SocketAddr) {
        let (mut provision, mut holdings) = (InProcess::new(PathBuf::new()), Holdings::default());
        let sockets = holdings.listen(ONE, any(), copies, &mut provision).unwrap();
        let actual = sockets[0].local_addr().unwrap();
        (provision, holdings, sockets, actual)
    }

    #[test]
    fn each_edge_gets_the_same_sockets() {
        let mut provision = InProcess::new(PathBuf::new());
        let mut holdings = Holdings::default();
        let first = ports(&holdings.listen(ONE, any(), 2, &mut provision).unwrap());
        // Two addresses with a free port are two.
        let other = ports(&holdings.listen(ONE, any(), 2, &mut provision).unwrap());
        assert_ne!(first[0], other[0]);
        assert_eq!(ports(&holdings.listen(TWO, any(), 2, &mut provision).unwrap()), first);
        assert_eq!(ports(&holdings.listen(TWO, any(), 2, &mut provision).unwrap()), other);
        holdings.forget(ONE);
        let again = EdgeId(3);
        // A third with fewer threads gets all of them, one with more shares some.
        assert_eq!(ports(&holdings.listen(again, any(), 1, &mut provision).unwrap()), first);
        assert_eq!(holdings.listen(again, any(), 5, &mut provision).unwrap().len(), 5);
        assert_eq!(holdings.addresses.len(), 2);
    }

    #[test]
    fn what_an_edge_spoils_is_mended_for_the_next() {
        let (mut provision, mut holdings, sockets, actual) = opened(2);
        sockets[0].set_nonblocking(false).unwrap();
        socket2::SockRef::from(&sockets[1]).shutdown(std::net::Shutdown::Both).unwrap();
        drop(sockets);
        holdings.forget(ONE);
        let sockets = holdings.listen(TWO, actual, 2, &mut provision).unwrap();
        for socket in &sockets {
            assert!(socket2::SockRef::from(socket).is_listener().unwrap());
            assert_eq!(socket.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            assert_eq!(socket.local_addr().unwrap(), actual);
        }
    }

    #[test]
    fn socket_that_is_spoiled_for_good_is_opened_anew() {
        let (mut provision, mut holdings, sockets, actual) = opened(1);
        let spoiled = socket2::SockRef::from(&sockets[0]);
        spoiled.shutdown(std::net::Shutdown::Both).unwrap();
        // It is a connection now, and can't listen any more.
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        spoiled.set_nonblocking(false).unwrap();
        spoiled.connect(&elsewhere.local_addr().unwrap().into()).unwrap();
        drop(sockets);
        holdings.forget(ONE);
        let sockets = holdings.listen(TWO, actual, 1, &mut provision).unwrap();
        assert_eq!(ports(&sockets), [actual.port()]);
        assert!(std::net::TcpStream::connect(actual).is_ok());
    }

    #[test]
    fn what_nobody_names_is_closed() {
        let (_, mut holdings, sockets, actual) = opened(1);
        drop(sockets);
        let by_port = Inventory { addresses: vec![actual], ..Inventory::default() };
        holdings.keep(&[&Inventory::default(), &by_port]);
        assert!(std::net::TcpStream::connect(actual).is_ok());
        holdings.keep(&[&Inventory::default()]);
        assert!(std::net::TcpStream::connect(actual).is_err());
    }

    #[test]
    fn control_socket_is_made_anew_only_when_it_is_gone() {
        let folder = std::env::temp_dir().join(format!("porchd-holdings-{:x}", crate::clock::random()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("s");
        let mut provision = InProcess::new(PathBuf::new());
        let mut holdings = Holdings::default();
        assert!(holdings.control_socket(&path, false, &mut provision).unwrap().is_some());
        assert!(holdings.control_socket(&path, true, &mut provision).unwrap().is_none());
        // A new edge gets the one that there is.
        assert!(holdings.control_socket(&path, false, &mut provision).unwrap().is_some());
        // An edge has shut it.
        let spoiled = holdings.control_socket(&path, false, &mut provision).unwrap().unwrap();
        socket2::SockRef::from(&spoiled).shutdown(std::net::Shutdown::Both).unwrap();
        drop(spoiled);
        assert!(holdings.control_socket(&path, false, &mut provision).unwrap().is_some());
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
        fs::remove_file(&path).unwrap();
        assert!(holdings.control_socket(&path, true, &mut provision).unwrap().is_some());
        fs::remove_dir_all(&folder).unwrap();
    }
}
