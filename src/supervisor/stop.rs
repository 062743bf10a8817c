//! The end: drained within `drain.stop`, or at once when it is asked for twice.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::supervisor::control::{Control, Request};
use crate::supervisor::steering::Standing;

impl Control {
    /// Closes the addresses, serves what is there to its end, and ends.
    pub async fn stop(mut self) -> ExitCode {
        self.tell(Standing::Stopping);
        // The CA would look for proofs at addresses that are closed now, and count it as a failure.
        self.daemon.stop_ordering();
        if self.inbox.steering.is_left_alone() {
            self.daemon.give_up_the_lead().await;
        }
        let limit = self.daemon.in_force().config.drain.stop;
        tracing::info!(connections = self.daemon.open(), "stopping: connections drain for {limit:?} at most");
        let mut deadline = pin!(sleep(limit));
        let mut closing = pin!(self.daemon.close_all());
        let mut closed = false;
        loop {
            let request = tokio::select! {
                () = &mut closing, if !closed => {
                    closed = true;
                    self.daemon.threads().stop();
                    continue;
                }
                () = self.daemon.threads().ended(), if closed => {
                    tracing::info!("stopped");
                    return ExitCode::SUCCESS;
                }
                () = &mut deadline => break,
                request = self.inbox.next() => request,
            };
            match request {
                Request::Stop | Request::Abort => break,
                request => self.answer_at_the_end(request),
            }
        }
        self.abort().await
    }

    /// Answers what waits, closes everything, ends.
    pub async fn abort(mut self) -> ExitCode {
        tracing::info!(connections = self.daemon.open(), "stopping now: what is left is closed");
        self.daemon.threads().abort();
        match timeout(LAST_WAIT, self.daemon.threads().ended()).await {
            Ok(()) => {
                tracing::info!("stopped");
                ExitCode::SUCCESS
            }
            Err(_) => {
                tracing::error!("a thread hangs: porchd ends without it");
                ExitCode::FAILURE
            }
        }
    }
}

/// More than an abort takes: an end must not depend on a thread that hangs (a dead disk, a bug).
pub const LAST_WAIT: Duration = Duration::from_secs(10);
