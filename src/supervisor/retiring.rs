//! The end of an edge that an upgrade has replaced: it gives up what only one edge may have, accepts no more, and
//! stays until everybody has gone.

use std::pin::pin;
use std::process::ExitCode;

use tokio::time::sleep;

use crate::provision::calls::Note;
use crate::supervisor::control::{Control, Request};

impl Control {
    /// Gives up the lead, drains for `drain.upgrade` at most, and ends. Long polls and uploads end by themselves.
    pub async fn retire(mut self) -> ExitCode {
        self.daemon.give_up_the_lead().await;
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
                self.daemon.threads().stop();
                tracing::info!("stopped: nobody is left");
                return ExitCode::SUCCESS;
            }
            let request = tokio::select! {
                () = &mut closing, if !closed => {
                    closed = true;
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
