//! New connections in a loop: a handshake, full or resumed, and some requests or none.

use std::io;
use std::time::{Duration, Instant};

use clap::Args;
use porchd::clock;
use rustls::HandshakeKind;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::client::{Dialer, Spoken, Target, Tickets};
use crate::lines::tell;
use crate::wire::{Wire, request};

/// What is asked.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// How long.
    #[arg(long)]
    seconds: f64,
    /// Connections at a time.
    #[arg(long, default_value_t = 8)]
    together: usize,
    /// Uses tickets of earlier connections.
    #[arg(long)]
    resume: bool,
    /// Requests on each connection.
    #[arg(long, default_value_t = 0)]
    requests: usize,
}

#[derive(Debug, Default)]
struct Tally {
    connections: usize,
    requests: usize,
    resumed: usize,
    failed: usize,
}

/// Runs all loops and tells their sum.
pub(crate) async fn run(options: Options) -> io::Result<()> {
    let tickets = if options.resume { Tickets::Used } else { Tickets::Refused };
    let dialer = Dialer::new(options.target.port, Spoken::Http1, tickets)?;
    let begun = clock::now();
    let until = begun + Duration::from_secs_f64(options.seconds);
    let mut loops = JoinSet::new();
    for first in 0..options.together {
        loops.spawn(repeat(dialer.clone(), options.clone(), first, until));
    }
    let mut sum = Tally::default();
    while let Some(ended) = loops.join_next().await {
        let tally = ended.map_err(io::Error::other)?;
        sum.connections += tally.connections;
        sum.requests += tally.requests;
        sum.resumed += tally.resumed;
        sum.failed += tally.failed;
    }
    tell(&json!({
        "connections": sum.connections,
        "requests": sum.requests,
        "resumed": sum.resumed,
        "failed": sum.failed,
        "seconds": clock::now().duration_since(begun).as_secs_f64(),
    }))
}

async fn repeat(dialer: Dialer, options: Options, first: usize, until: Instant) -> Tally {
    let request = request(&options.target.path);
    let mut tally = Tally::default();
    let mut number = first;
    while clock::now() < until {
        match once(&dialer, number, &request, options.requests).await {
            Ok(kind) => {
                tally.connections += 1;
                tally.requests += options.requests;
                tally.resumed += usize::from(kind == Some(HandshakeKind::Resumed));
            }
            Err(_) => tally.failed += 1,
        }
        number += options.together;
    }
    tally
}

async fn once(
    dialer: &Dialer,
    number: usize,
    request: &[u8],
    requests: usize,
) -> io::Result<Option<HandshakeKind>> {
    let stream = dialer.dial(number).await?;
    let kind = stream.get_ref().1.handshake_kind();
    let mut wire = Wire::new(stream);
    for _ in 0..requests {
        let answer = wire.ask(request).await?;
        if answer.status != 200 {
            return Err(io::Error::other("another status than 200"));
        }
    }
    part(wire.into_stream()).await?;
    Ok(kind)
}

/// Ends a connection in a way that shows that the proxy finished its handshake: it answers `close_notify`.
async fn part(mut stream: TlsStream<TcpStream>) -> io::Result<()> {
    // Not `shutdown`, which closes TCP too: who closes first has a port in TIME_WAIT for a minute, and no
    // address has that many ports. So the proxy closes, and is reset then.
    stream.get_mut().1.send_close_notify();
    stream.flush().await?;
    let mut rest = [0; 512];
    // Tickets are read on the way; how it ends is the proxy's affair.
    let read = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    timeout(PATIENCE, read).await?;
    stream.get_ref().0.set_zero_linger()
}

/// What does not close by then has failed.
const PATIENCE: Duration = Duration::from_secs(5);
