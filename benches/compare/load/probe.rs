//! Requests that go on beside a reload: each answer with its time, each failure.
//!
//! Two kinds: connections that are kept, as clients keep them, and a new connection for each request. What
//! it means is worked out by `reloads.py`.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use clap::Args;
use porchd::clock;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
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
    /// Connections that are kept.
    #[arg(long, default_value_t = 64)]
    kept: usize,
    /// Ends when the answer has changed.
    #[arg(long)]
    until_changed: bool,
    /// Milliseconds between two requests of one kept connection.
    #[arg(long, default_value_t = 25)]
    kept_gap: u64,
    /// Milliseconds between two requests on new connections; 0: none of these.
    #[arg(long, default_value_t = 4)]
    fresh_gap: u64,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    /// Sent at, answered at (milliseconds of Unix time), place in `bodies`, on a kept connection.
    answers: Vec<(f64, f64, usize, bool)>,
    bodies: Vec<String>,
    /// Requests without an answer of 200.
    failures: Vec<(f64, String)>,
    /// Requests that a kept connection lost unanswered: sent again, and answered.
    retries: usize,
    /// Kept connections that were seen closed before anything was sent.
    reopened: usize,
}

/// Asks for a while; tells that it has begun, and in the end all that was seen.
pub(crate) async fn run(options: Options) -> io::Result<()> {
    let prober = Prober {
        dialer: Dialer::new(options.target.port, Spoken::Http1, Tickets::Refused)?,
        request: request(&options.target.path).into(),
        seen: Arc::default(),
        until: clock::now() + Duration::from_secs_f64(options.seconds),
        until_changed: options.until_changed,
    };
    // What is seen before anything changes.
    let begun = unix_time();
    let first = prober.ask_on(&mut None, 0).await;
    prober.note(begun, first, true);
    tell(&json!({ "begun": true }))?;
    let mut asking = JoinSet::new();
    if options.fresh_gap > 0 {
        asking.spawn(prober.clone().ask_fresh(Duration::from_millis(options.fresh_gap)));
    }
    for number in 0..options.kept {
        asking.spawn(prober.clone().ask_kept(number, Duration::from_millis(options.kept_gap)));
    }
    asking.join_all().await;
    tell(&prober.told())
}

#[derive(Clone)]
struct Prober {
    dialer: Dialer,
    request: Arc<[u8]>,
    seen: Arc<Mutex<Seen>>,
    until: Instant,
    until_changed: bool,
}

type Kept = Wire<TlsStream<TcpStream>>;

impl Prober {
    async fn ask_fresh(self, gap: Duration) {
        let mut number = FIRST_FRESH;
        while self.goes_on() {
            let begun = unix_time();
            let asked = async {
                let mut wire = Wire::new(self.dialer.dial(number).await?);
                let body = self.ask(&mut wire).await?.0;
                // A reset in place of minutes in TIME_WAIT; the answer is complete.
                let _ = wire.into_stream().get_ref().0.set_zero_linger();
                Ok(body)
            };
            let asked = asked.await;
            self.note(begun, asked, false);
            number += 1;
            sleep(gap).await;
        }
    }

    async fn ask_kept(self, number: usize, gap: Duration) {
        let mut kept = None;
        while self.goes_on() {
            let begun = unix_time();
            let asked = self.ask_on(&mut kept, number).await;
            self.note(begun, asked, true);
            sleep(gap).await;
        }
    }

    /// A request on a kept connection, as clients do it: on a new one when it is seen closed, and again on a
    /// new one when it closes unanswered.
    async fn ask_on(&self, kept: &mut Option<Kept>, number: usize) -> io::Result<String> {
        if let Some(mut wire) = kept.take() {
            let closed = tokio::select! {
                biased;
                () = wire.closed() => true,
                () = std::future::ready(()) => false,
            };
            if closed {
                self.seen().reopened += 1;
            } else {
                match self.ask(&mut wire).await {
                    Ok((body, closes)) => {
                        *kept = (!closes).then_some(wire);
                        return Ok(body);
                    }
                    Err(error) if wire.heard() => return Err(error),
                    Err(_) => self.seen().retries += 1,
                }
            }
        }
        let mut wire = Wire::new(self.dialer.dial(number).await?);
        let (body, closes) = self.ask(&mut wire).await?;
        *kept = (!closes).then_some(wire);
        Ok(body)
    }

    /// The body of a good answer, and whether its connection is closed behind it.
    async fn ask(&self, wire: &mut Kept) -> io::Result<(String, bool)> {
        let answer = timeout(PATIENCE, wire.ask(&self.request)).await??;
        let body = String::from_utf8_lossy(wire.body(answer)).into_owned();
        match answer.status {
            200 => Ok((body, answer.closes)),
            status => Err(io::Error::other(format!("status {status}"))),
        }
    }

    fn goes_on(&self) -> bool {
        let changed = self.until_changed && self.seen().bodies.len() > 1;
        clock::now() < self.until && !changed
    }

    fn note(&self, begun: f64, asked: io::Result<String>, kept: bool) {
        let mut seen = self.seen();
        match asked {
            Ok(body) => {
                let known = seen.bodies.iter().position(|other| *other == body);
                let place = known.unwrap_or(seen.bodies.len());
                if known.is_none() {
                    seen.bodies.push(body);
                }
                seen.answers.push((begun, unix_time(), place, kept));
            }
            Err(error) => seen.failures.push((begun, error.to_string())),
        }
    }

    fn told(&self) -> Value {
        let seen = self.seen();
        json!({
            "answers": seen.answers,
            "bodies": seen.bodies,
            "failures": seen.failures,
            "retries": seen.retries,
            "reopened": seen.reopened,
        })
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds of Unix time, which `run.py` reads too.
fn unix_time() -> f64 {
    clock::wall().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1e3)
}

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Numbers of new connections, away from those of kept ones.
const FIRST_FRESH: usize = 1_000_000;
