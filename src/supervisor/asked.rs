//! What the control socket is answered. Whatever takes long is answered beside the control thread's own work.

use tokio::sync::oneshot;
use tokio::task::spawn_local;

use crate::acme::moment::Moment;
use crate::acme::service::{Command, Renewal, Revocation, Told};
use crate::admin::explain;
use crate::admin::protocol::{Answer, Question, Which};
use crate::admin::server::Ask;
use crate::clock;
use crate::incidents::record::Incident;
use crate::supervisor::control::Control;

impl Control {
    /// Answers `ask`, or has it answered.
    pub async fn tell_asked(&mut self, ask: Ask) {
        let Ask { question, reply } = ask;
        match question {
            Question::Reload => {
                let answer = match self.reload().await {
                    Ok(notices) => Answer::Done { lines: notices.changes, warnings: notices.warnings },
                    Err(refusal) => Answer::Refused(refusal.to_string()),
                };
                // Whoever asked may be gone; the log has it.
                let _ = reply.send(answer);
            }
            Question::Certs => {
                let report = self.daemon.certificates().report(clock::wall());
                spawn_local(async move { reply.send(Answer::Certificates(report.await)) });
            }
            Question::Status => {
                let mut status = Box::new(self.status());
                let report = self.daemon.certificates().report(clock::wall());
                spawn_local(async move {
                    status.certificates = report.await;
                    reply.send(Answer::Status(status))
                });
            }
            Question::Incidents { since } => {
                let wanted = |incident: &&Incident| since.is_none_or(|since| incident.is_within(since));
                let incidents = self.daemon.outages().journal().all().filter(wanted).cloned();
                let _ = reply.send(Answer::Incidents(incidents.collect()));
            }
            Question::Explain { url, method, from } => {
                let _ = reply.send(self.explained(&explain::Asked { url: &url, method: &method, from }));
            }
            Question::Upgrade => self.ask_for_an_upgrade(reply),
            Question::Renew { which, wait } => {
                let name = match which {
                    Which::All => None,
                    Which::Name(name) => Some(name),
                };
                self.ask_acme(reply, |reply| Command::Renew(Renewal { name, wait, reply }));
            }
            Question::Revoke { name, reason } => {
                self.ask_acme(reply, |reply| Command::Revoke(Revocation { name, reason, reply }));
            }
        }
    }

    fn explained(&self, asked: &explain::Asked<'_>) -> Answer {
        let snapshot = self.daemon.snapshot();
        let world = explain::World {
            config: &snapshot.config,
            routes: &snapshot.routes,
            addresses: &self.daemon.in_force().addresses(),
            standing: &|name| self.standing(name),
            now: Moment::of(clock::wall()),
        };
        match explain::explain(&world, asked) {
            Ok(told) => Answer::Explanation(Box::new(told)),
            Err(error) => Answer::Refused(error.to_string()),
        }
    }

    fn ask_acme(
        &self,
        reply: oneshot::Sender<Answer>,
        command: impl FnOnce(oneshot::Sender<Told>) -> Command,
    ) {
        let Some(service) = self.daemon.certificates().service() else {
            let text = "no certificate is ordered by this porchd: its configuration has no `acme` section";
            let _ = reply.send(Answer::Refused(text.to_owned()));
            return;
        };
        let (told, answer) = oneshot::channel();
        service.send(command(told));
        spawn_local(async move {
            let answer = match answer.await {
                Ok(Ok(text)) => Answer::Done { lines: vec![text], warnings: Vec::new() },
                Ok(Err(text)) => Answer::Refused(text),
                Err(_) => Answer::Refused(String::from(
                    "the question was lost to a bug or to the end of porchd; the log says which",
                )),
            };
            reply.send(answer)
        });
    }
}
