//! The end of an edge that an upgrade has replaced: it gives up what only one edge may have, accepts no more, and
//! stays until everybody has gone.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::admin::server::Talks;
use crate::provision::calls::Note;
use crate::supervisor::control::{Control, Request};
use crate::supervisor::stop::LAST_WAIT;

impl Control {
    /// Gives up the lead, drains for `drain.upgrade` at most, and ends. Long polls and uploads end by themselves.
    pub async fn retire(mut self) -> ExitCode {
        let talks = self.daemon.give_up_the_lead().await;
        if let Some(warden) = self.inbox.steering.warden()
            && let Err(error) = warden.note(&Note::Yielded)
        {
            tracing::error!(%error, "the warden was not told that its new edge may lead");
        }
        let limit = self.daemon.in_force().config.drain.upgrade;
        tracing::info!(
            connections = self.daemon.open(),
            "a new edge has taken over: connections drain for {limit:?} at most"
        );
        let mut deadline = pin!(sleep(limit));
        let mut closing = pin!(self.daemon.close_all());
        let mut closed = false;
        loop {
            if closed && self.daemon.open() == 0 {
                return self.leave(talks).await;
            }
            let request = tokio::select! {
                () = &mut closing, if !closed => {
                    closed = true;
                    self.tell_upgraded(None);
                    self.daemon.retire_all(limit);
                    continue;
                }
                () = &mut deadline => break,
                request = self.inbox.next() => request,
            };
            match request {
                // The whole porchd is stopping: there is `drain.stop` left, and no more.
                Request::Stop => return self.stop().await,
                Request::Abort => break,
                request => self.answer_at_the_end(request),
            }
        }
        self.abort().await
    }

    /// Ends: whoever asked for the upgrade has the answer by then, and the access log its last lines.
    async fn leave(mut self, talks: Option<Talks>) -> ExitCode {
        self.daemon.threads().stop();
        let written = timeout(LAST_WAIT, self.daemon.threads().ended()).await;
        if let Some(talks) = talks {
            // Nobody is waited for who does not read.
            let _ = timeout(LAST_WORD, talks.over()).await;
        }
        tracing::info!("stopped: nobody is left");
        if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Does what is still to be done while porchd drains.
    pub fn answer_at_the_end(&mut self, request: Request) {
        match request {
            Request::Reopen => self.reopen_logs(),
            // Those who wait are released until the last moment, and remembered.
            Request::LookAtUpstreams => self.daemon.look_at_upstreams(),
            Request::Reported(report) => self.daemon.reported(report),
            Request::Upgraded(failed) => self.tell_upgraded(failed),
            // The next porchd does it.
            Request::Home(_) => {}
            // It would be out of force before anybody met it; whoever asked sees the channel closed.
            Request::Reload(_) | Request::Addresses(_) | Request::Metrics(_) | Request::Ca(_) => {}
            Request::Challenges(_) | Request::Ordered(..) | Request::Look(_) | Request::Asked(_) => {}
            Request::Parked(_) | Request::Lead | Request::Yield | Request::Stop | Request::Abort => {}
        }
    }
}

/// For an answer on a socket of this machine.
const LAST_WORD: Duration = Duration::from_secs(2);
