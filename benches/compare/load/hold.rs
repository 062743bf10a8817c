//! Connections that stand: idle after one request, or with a long poll open.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use serde_json::json;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::client::{Dialer, Spoken, Target, Tickets};
use crate::lines::{Orders, tell};
use crate::streams::Connection;
use crate::wire::{Wire, request};

/// What is held.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// So many.
    #[arg(long)]
    connections: usize,
    /// By HTTP/2, with one stream each.
    #[arg(long)]
    h2: bool,
    /// The request is a long poll: a connection stands once it is sent.
    #[arg(long)]
    poll: bool,
    /// Handshakes at a time.
    #[arg(long, default_value_t = 64)]
    together: usize,
}

/// What became of the connections so far.
#[derive(Debug, Default)]
struct Tally {
    /// Idle, or with a poll on its way.
    standing: AtomicUsize,
    /// Never stood.
    failed: AtomicUsize,
    /// Requests answered with 200.
    answered: AtomicUsize,
    /// Polls that ended otherwise.
    cut: AtomicUsize,
    /// Connections that the proxy closed.
    closed: AtomicUsize,
    /// One of the first two grew.
    grown: Notify,
}

/// Holds until standard input ends; tells when all stand, and what became of them.
pub(crate) async fn run(options: Options) -> io::Result<()> {
    let orders = Orders::read();
    let spoken = if options.h2 { Spoken::Http2 } else { Spoken::Http1 };
    let dialer = Dialer::new(options.target.port, spoken, Tickets::Refused)?;
    let turns = Arc::new(Semaphore::new(options.together));
    let tally = Arc::new(Tally::default());
    for number in 0..options.connections {
        let holder = Holder { dialer: dialer.clone(), options: options.clone(), tally: Arc::clone(&tally) };
        let turns = Arc::clone(&turns);
        tokio::spawn(async move {
            if let Ok(turn) = turns.acquire_owned().await {
                holder.hold(number, turn).await;
            }
        });
    }
    while count(&tally.standing) + count(&tally.failed) < options.connections {
        tally.grown.notified().await;
    }
    tell(&json!({ "standing": count(&tally.standing), "failed": count(&tally.failed) }))?;
    orders.ended().await;
    tell(&json!({
        "answered": count(&tally.answered),
        "cut": count(&tally.cut),
        "closed": count(&tally.closed),
    }))
}

/// One connection's part.
struct Holder {
    dialer: Dialer,
    options: Options,
    tally: Arc<Tally>,
}

impl Holder {
    async fn hold(self, number: usize, turn: OwnedSemaphorePermit) {
        let held = match self.dialer.dial(number).await {
            Ok(stream) if self.options.h2 => match Connection::open(stream).await {
                Ok(connection) => self.over_http2(connection, turn).await,
                Err(error) => Err(error),
            },
            Ok(stream) => self.over_http1(Wire::new(stream), turn).await,
            Err(error) => Err(error),
        };
        if held.is_err() {
            add(&self.tally.failed);
            self.tally.grown.notify_one();
        }
    }

    async fn over_http1<S>(&self, mut wire: Wire<S>, turn: OwnedSemaphorePermit) -> io::Result<()>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let request = request(&self.options.target.path);
        let asked = async { wire.ask(&request).await.map(|answer| answer.status) };
        self.stand(asked, turn).await?;
        wire.closed().await;
        add(&self.tally.closed);
        Ok(())
    }

    async fn over_http2(&self, mut connection: Connection, turn: OwnedSemaphorePermit) -> io::Result<()> {
        let asked = async { connection.ask(&self.options.target.path).await.map(|(status, _)| status) };
        self.stand(asked, turn).await?;
        connection.closed().await;
        add(&self.tally.closed);
        Ok(())
    }

    /// One request, and from when on its connection stands: a poll does before its answer.
    async fn stand(
        &self,
        asked: impl Future<Output = io::Result<u16>>,
        turn: OwnedSemaphorePermit,
    ) -> io::Result<()> {
        let mut asked = std::pin::pin!(asked);
        if self.options.poll {
            // The first poll of the future sends it; the rest of its wait is the proxy's.
            tokio::select! {
                biased;
                _ = &mut asked => return Err(io::Error::other("answered before its time")),
                () = tokio::task::yield_now() => {}
            }
            self.stands(turn);
            match asked.await {
                Ok(200) => add(&self.tally.answered),
                _ => add(&self.tally.cut),
            }
            return Ok(());
        }
        match asked.await? {
            200 => add(&self.tally.answered),
            _ => return Err(io::Error::other("another status than 200")),
        }
        self.stands(turn);
        Ok(())
    }

    fn stands(&self, turn: OwnedSemaphorePermit) {
        drop(turn);
        add(&self.tally.standing);
        self.tally.grown.notify_one();
    }
}

fn add(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn count(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}
