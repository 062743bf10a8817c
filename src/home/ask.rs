//! Asks a nameserver: UDP first, TCP for what does not fit, a few tries.
//!
//! Sockets are connected and never bound: the kernel chooses a port at random, takes answers from the nameserver's own
//! address alone, and a sandbox may forbid bind(2).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::clock;
use crate::config::model::home::Nameserver;
use crate::home::address::{Answer, Family};
use crate::home::message::{Fault, Heard, Question};

/// How long one try may last, TCP included.
const DEADLINE: Duration = Duration::from_secs(3);
/// So many tries; each goes to the nameserver's next address, if it has several.
const TRIES: usize = 3;
/// What fits into a datagram without EDNS is 512 bytes; more is cut off, and then no answer.
const DATAGRAM: usize = 4096;
/// Most addresses of the nameserver's name that are tried.
const MOST_PLACES: usize = 4;

/// Asks `nameserver` for the addresses of `name`, IPv4 and IPv6 at the same time.
pub async fn both(nameserver: &Nameserver, name: &str) -> [Answer; 2] {
    let places = match places(nameserver).await {
        Ok(places) => places,
        Err(fault) => return [Err(fault.clone()), Err(fault)],
    };
    let (v4, v6) = tokio::join!(one(&places, name, Family::V4), one(&places, name, Family::V6));
    [v4, v6]
}

async fn places(nameserver: &Nameserver) -> Result<Vec<SocketAddr>, Fault> {
    match nameserver {
        Nameserver::Socket(at) => Ok(vec![*at]),
        Nameserver::Name(name, port) => {
            let found = timeout(DEADLINE, tokio::net::lookup_host((&**name, *port))).await;
            let found = found.map_err(|_| Fault::Unresolved)?.map_err(|_| Fault::Unresolved)?;
            let found: Vec<SocketAddr> = found.take(MOST_PLACES).collect();
            if found.is_empty() { Err(Fault::Unresolved) } else { Ok(found) }
        }
    }
}

async fn one(places: &[SocketAddr], name: &str, family: Family) -> Answer {
    let mut last = Fault::Silent;
    for place in places.iter().cycle().take(TRIES.max(places.len())) {
        match timeout(DEADLINE, ask(*place, name, family)).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) => last = Fault::Unreachable(error.kind()),
            // That it can't be reached says more.
            Err(_) if matches!(last, Fault::Unreachable(_)) => {}
            Err(_) => last = Fault::Silent,
        }
    }
    Err(last)
}

/// One try. An error is the way's; what the nameserver says is in the answer.
async fn ask(place: SocketAddr, name: &str, family: Family) -> io::Result<Answer> {
    // The lower bits are as good as the others.
    let id = (clock::random() & 0xffff) as u16;
    let question = Question::new(id, name, family);
    let Some((question, bytes)) = question.and_then(|one| one.bytes().map(|bytes| (one, bytes))) else {
        return Ok(Err(Fault::Garbled));
    };
    let socket = datagrams(place)?;
    socket.send(&bytes).await?;
    let mut room = vec![0; DATAGRAM];
    loop {
        let read = socket.recv(&mut room).await?;
        match question.judge(&room[..read]) {
            Heard::Foreign => {}
            Heard::Answer(answer) => return Ok(answer),
            Heard::Truncated => return over_tcp(place, &question, &bytes).await,
        }
    }
}

fn datagrams(place: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(place), Type::DGRAM, Some(Protocol::UDP))?;
    socket.connect(&place.into())?;
    let socket = std::net::UdpSocket::from(socket);
    // std's way: the walls leave socket2's (fcntl(2), F_SETFL) closed.
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// RFC 7766: two bytes of length, then the message.
async fn over_tcp(place: SocketAddr, question: &Question, bytes: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(place).await?;
    let mut message = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    message.extend_from_slice(bytes);
    stream.write_all(&message).await?;
    let length = stream.read_u16().await?;
    let mut room = vec![0; length.into()];
    stream.read_exact(&mut room).await?;
    Ok(match question.judge(&room) {
        Heard::Answer(answer) => answer,
        // Over TCP everything fits.
        Heard::Foreign | Heard::Truncated => Err(Fault::Garbled),
    })
}

#[cfg(test)]
mod tests;
