//! One request, and all that came of it: whether a measurement would measure what it says.

use std::io;

use clap::Args;
use rustls::{CipherSuite, NamedGroup, ProtocolVersion};
use serde_json::json;

use crate::client::{Dialer, Spoken, Target, Tickets};
use crate::lines::tell;
use crate::streams::Connection;
use crate::wire::{Wire, request};

/// What is asked.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// By HTTP/2.
    #[arg(long)]
    h2: bool,
}

/// Asks once and tells the answer.
pub(crate) async fn run(options: &Options) -> io::Result<()> {
    let spoken = if options.h2 { Spoken::Http2 } else { Spoken::Http1 };
    let stream = Dialer::new(options.target.port, spoken, Tickets::Refused)?.dial(0).await?;
    let tls = stream.get_ref().1;
    let settled = json!({
        "version": tls.protocol_version().as_ref().and_then(ProtocolVersion::as_str),
        "cipher": tls.negotiated_cipher_suite().map(|suite| suite.suite()).as_ref().and_then(CipherSuite::as_str),
        "group": tls.negotiated_key_exchange_group().map(|group| group.name()).as_ref().and_then(NamedGroup::as_str),
        "alpn": tls.alpn_protocol().map(String::from_utf8_lossy),
    });
    let (status, body) = match spoken {
        Spoken::Http1 => {
            let mut wire = Wire::new(stream);
            let answer = wire.ask(&request(&options.target.path)).await?;
            (answer.status, wire.body(answer).to_vec())
        }
        Spoken::Http2 => Connection::open(stream).await?.ask(&options.target.path).await?,
    };
    // A body of many megabytes is told by its length alone.
    let text = String::from_utf8_lossy(&body[..body.len().min(TOLD)]);
    tell(&json!({ "status": status, "length": body.len(), "body": text, "tls": settled }))
}

const TOLD: usize = 8192;
