//! Linux's own WireGuard, asked by generic netlink. What is said is in `message.rs`.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use super::message::{self, Answer};
use super::peer::{Fault, KEY, Peer};
use super::{ROOM, left};
use crate::clock;

/// The family's name in the kernel.
const FAMILY: &str = "wireguard";
/// A kernel's datagram is half of it at the most.
const DATAGRAM: usize = 64 * 1024;
/// An answer that changes while it is told is asked for so often.
const TURNS: usize = 3;

/// The peers of `interface`; `Ok(None)`: this kernel has no WireGuard.
pub(super) fn peers(interface: &str, until: Instant) -> Result<Option<Vec<Peer>>, Fault> {
    let mut kernel = Kernel::open()?;
    let Some(family) = kernel.family(FAMILY, until)? else { return Ok(None) };
    let mut answer = Answer::default();
    for _ in 0..TURNS {
        answer = kernel.ask(until, |sequence| message::get_device(family, interface, sequence))?;
        if !answer.interrupted {
            break;
        }
    }
    Ok(Some(answer.peers))
}

/// Gives a peer another endpoint; `Ok(None)`: this kernel has no WireGuard.
pub(super) fn set_endpoint(
    interface: &str,
    key: &[u8; KEY],
    endpoint: SocketAddr,
    until: Instant,
) -> Result<Option<()>, Fault> {
    let mut kernel = Kernel::open()?;
    let Some(family) = kernel.family(FAMILY, until)? else { return Ok(None) };
    kernel.ask(until, |sequence| message::set_endpoint(family, interface, key, endpoint, sequence))?;
    Ok(Some(()))
}

/// A socket to the kernel.
struct Kernel {
    socket: Socket,
    sequence: u32,
}

impl Kernel {
    fn open() -> Result<Self, Fault> {
        let socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            Type::RAW,
            Some(Protocol::from(libc::NETLINK_GENERIC)),
        )?;
        // Not to be guessed: nobody else's datagram is taken for an answer.
        let sequence = (clock::random() >> 32) as u32;
        Ok(Self { socket, sequence })
    }

    /// The number of a family; `None`: the kernel does not have it, nor a module for it.
    fn family(&mut self, name: &str, until: Instant) -> Result<Option<u16>, Fault> {
        match self.ask(until, |sequence| message::get_family(name, sequence)) {
            Ok(answer) => Ok(answer.family),
            Err(Fault::Refused(libc::ENOENT)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Sends a message, which is given its number, and waits for all of the answer.
    fn ask(&mut self, until: Instant, message: impl FnOnce(u32) -> Vec<u8>) -> Result<Answer, Fault> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.write_all(&message(self.sequence))?;
        let (mut answer, mut datagram, mut room) = (Answer::default(), vec![0; DATAGRAM], ROOM);
        loop {
            self.socket.set_read_timeout(Some(left(until)?))?;
            let length = self.socket.read(&mut datagram)?;
            // What is no datagram of the kernel's must not keep this loop going.
            room = room.checked_sub(length.max(1)).ok_or(Fault::Garbled)?;
            if answer.take(&datagram[..length], self.sequence)? {
                return Ok(answer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        clock::now() + Duration::from_secs(5)
    }

    #[test]
    fn the_kernel_understands_what_is_asked() {
        let mut kernel = Kernel::open().unwrap();
        assert_eq!(kernel.family("nlctrl", soon()).unwrap(), Some(message::CONTROLLER));
        assert_eq!(kernel.family("no-such-family", soon()).unwrap(), None);
        // And again, on the same socket.
        assert_eq!(kernel.family("nlctrl", soon()).unwrap(), Some(message::CONTROLLER));
    }
}
