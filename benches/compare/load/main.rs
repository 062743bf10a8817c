//! The load of the side-by-side measurements: what wrk and h2load cannot do.
//!
//! One program, a command for each job. `run.py` starts it and reads its lines, one JSON object each; a
//! command that holds something ends when its standard input does. It reads no figure of the proxy itself:
//! those come from /proc, by `cost.py`.

mod ask;
mod client;
mod handshakes;
mod hold;
mod lines;
mod origin;
mod pace;
mod pacer;
mod probe;
mod ride;
mod rider;
mod rush;
mod streams;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "load", about = "The load of the side-by-side measurements")]
struct Arguments {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Stands in for the homeserver; tells its port.
    Origin,
    /// One request: status, body and what TLS settled on.
    Ask(ask::Options),
    /// New connections in a loop, each with a handshake and some requests or none.
    Handshakes(handshakes::Options),
    /// Requests over connections that stand; orders come as lines `ACTIVE RATE SECONDS`, rate 0: as many as go.
    Ride(ride::Options),
    /// Connections that are idle after one request, or long polls.
    Hold(hold::Options),
    /// A steady stream of requests beside a reload: every answer, every failure.
    Probe(probe::Options),
}

fn main() -> ExitCode {
    let job = Arguments::parse().job;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run(job))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(job: Job) -> std::io::Result<()> {
    match job {
        Job::Origin => origin::run().await,
        Job::Ask(options) => ask::run(&options).await,
        Job::Handshakes(options) => handshakes::run(options).await,
        Job::Ride(options) => ride::run(options).await,
        Job::Hold(options) => hold::run(options).await,
        Job::Probe(options) => probe::run(options).await,
    }
}
