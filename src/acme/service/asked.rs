//! What people ask of the ACME thread: renewals, revocations, reports; and what a reload brings.

use std::rc::Rc;
use std::time::Duration;

use crate::acme::failure::Failure;
use crate::acme::report;
use crate::acme::schedule::{Due, Plan};
use crate::acme::service::{Asker, Busy, Command, Renewal, Revocation, Service, Told, now};
use crate::acme::status::CertificateStatus;
use crate::acme::target::Target;
use crate::acme::wanted::Wanted;

impl Service {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Follow(target) => self.follow(target.map(|target| Rc::new(*target))),
            Command::Renew(renewal) => self.renew(renewal),
            Command::Revoke(revocation) => self.revoke(revocation),
            Command::Report(reply) => {
                // Whoever asked may be gone.
                let _ = reply.send(self.report());
            }
        }
    }

    fn follow(&mut self, target: Option<Rc<Target>>) {
        let wanted = target.as_deref().map_or(&[][..], |target| &target.wanted);
        let before = self.target.as_deref().map_or(&[][..], |target| &target.wanted);
        for old in before.iter().filter(|old| !wanted.contains(old)) {
            self.looks.forget(&old.site);
        }
        self.holdings.adopt(wanted);
        let gone = |site: &&String| !wanted.iter().any(|wanted| *wanted.site == **site);
        let gone: Vec<String> = self.asked.iter().filter(gone).cloned().collect();
        self.target = target;
        for site in gone {
            self.answer(&site, Err(format!("{site}: the configuration does not order it any more")));
        }
    }

    fn report(&self) -> Vec<CertificateStatus> {
        let Some(target) = &self.target else { return Vec::new() };
        let now = now();
        let plan = self.plan(target, now);
        let book = self.book.borrow();
        let trouble = book.trouble().or(self.holdings.trouble());
        let of = |site: &Wanted| {
            let ordering = self.busy.get(&*site.site) == Some(&Busy::Ordering);
            let held = self.holdings.of_site(&site.site);
            report::of_site(site, held, &plan, book.ledger(), trouble, ordering, now)
        };
        target.wanted.iter().map(of).collect()
    }

    /// The sites that are meant: all, the one so named, or the one that has a host so named.
    fn meant(&self, name: Option<&str>) -> Result<Vec<String>, String> {
        let target = self.target.as_ref().ok_or("no certificates are ordered: there is no `acme` section")?;
        let sites = target.wanted.iter().filter(|wanted| {
            name.is_none_or(|name| *wanted.site == *name || wanted.names.iter().any(|own| **own == *name))
        });
        let sites: Vec<String> = sites.map(|wanted| wanted.site.to_string()).collect();
        match (sites.is_empty(), name) {
            (true, Some(name)) => {
                Err(format!("no certificate is ordered for {name}; `porchd certs` lists those that are"))
            }
            (true, None) => Err(String::from("no site needs a certificate that porchd orders")),
            (false, _) => Ok(sites),
        }
    }

    fn renew(&mut self, renewal: Renewal) {
        let Renewal { name, wait, reply } = renewal;
        let sites = match self.meant(name.as_deref()) {
            Ok(sites) => sites,
            Err(error) => return drop(reply.send(Err(error))),
        };
        for site in &sites {
            self.looks.forget(site);
            self.asked.insert(site.clone());
        }
        self.book.borrow_mut().note(&self.vault, now(), |ledger| {
            sites.iter().for_each(|site| ledger.forget_failures(site));
        });
        let mut asker = Asker { left: sites, lines: Vec::new(), failed: false, reply };
        if wait {
            return self.askers.push(asker);
        }
        for (site, told) in self.stuck() {
            asker.done(&site, &Err(told));
        }
        if !asker.left.is_empty() {
            let queued = asker.left.join(", ");
            asker.lines.push(format!("queued: {queued}; `porchd certs` shows what comes of it"));
        }
        asker.answer();
    }

    /// The sites for which nothing would be ordered now in spite of being asked for, and why.
    fn stuck(&self) -> Vec<(String, String)> {
        let Some(target) = &self.target else { return Vec::new() };
        self.stuck_by(&self.plan(target, now()))
    }

    fn stuck_by(&self, plan: &Plan) -> Vec<(String, String)> {
        let due =
            |site: &str| plan.due.iter().any(|due| matches!(due, Due::Order { site: of, .. } if of == site));
        // Orders of several sites go one by one while it is not certain that the CA answers; that is worth a wait.
        let (now, disk) = (now(), self.book.borrow().writable());
        let soon = |site: &str| {
            disk && plan.next.iter().any(|(of, next)| of == site && next.at.since(now) <= WORTH_A_WAIT)
        };
        let stuck =
            self.asked.iter().filter(|site| !self.busy.contains_key(*site) && !due(site) && !soon(site));
        let told = |site: &String| match plan.next.iter().find(|(of, _)| of == site) {
            Some((_, next)) => {
                format!("{site}: nothing is ordered before {} ({}); ask again then", next.at, next.why)
            }
            None => format!("{site}: nothing can be ordered now; see `porchd certs`"),
        };
        stuck.map(|site| (site.clone(), told(site))).collect()
    }

    /// Those who asked are told of sites for which nothing is due in spite of that: they wait for a limit.
    pub(super) fn answer_asked(&mut self, plan: &Plan) {
        for (site, told) in self.stuck_by(plan) {
            tracing::warn!("{told}");
            self.answer(&site, Err(told));
        }
    }

    /// What was asked for `site` is done.
    pub(super) fn answer(&mut self, site: &str, told: Told) {
        self.asked.remove(site);
        for asker in &mut self.askers {
            asker.done(site, &told);
        }
        for done in self.askers.extract_if(.., |asker| asker.left.is_empty()) {
            done.answer();
        }
    }

    fn revoke(&mut self, revocation: Revocation) {
        let Revocation { name, reason, reply } = revocation;
        let sites = self.meant(Some(&name));
        let found = sites.and_then(|sites| {
            let held = sites.iter().find_map(|site| Some((site.clone(), self.holdings.of_site(site)?)));
            held.ok_or_else(|| format!("there is no certificate for {name} yet"))
        });
        let (site, chain) = match found {
            Ok((site, held)) => (site, held.pair.cert.clone()),
            Err(error) => return drop(reply.send(Err(error))),
        };
        let authority = self.book.borrow().ledger().issuing_authority(&site).map(str::to_owned);
        let Some((target, authority)) = self.target.clone().and_then(|target| {
            let first = target.acme.authorities.first().map(|first| first.directory.to_string());
            Some((target, authority.or(first)?))
        }) else {
            return drop(reply.send(Err(String::from("it is not known which CA issued it"))));
        };
        if self.busy.contains_key(&site) {
            return drop(
                reply.send(Err(format!("porchd is at the CA for {site} right now; try again in a minute"))),
            );
        }
        self.busy.insert(site.clone(), Busy::Revoking);
        self.revoking.insert(site.clone(), reply);
        self.tasks.revoke(&target, site, authority, chain, reason);
    }

    /// A revocation came back: the certificate is served on until another is there, which is ordered at once.
    pub(super) fn revoked(&mut self, site: &str, result: Result<(), Failure>) {
        let told = match result {
            Ok(()) => {
                self.holdings.revoked(site);
                self.holdings.save(&self.vault, now());
                self.book.borrow_mut().note(&self.vault, now(), |ledger| ledger.forget_failures(site));
                tracing::warn!("the certificate of {site} is revoked; another is ordered");
                Ok(format!("{site}: revoked; another certificate is ordered"))
            }
            Err(failure) => Err(format!("{site}: not revoked: {failure}")),
        };
        if let Some(reply) = self.revoking.remove(site) {
            let _ = reply.send(told);
        }
    }
}

/// What is due this soon is waited for by whoever asked for it.
const WORTH_A_WAIT: Duration = Duration::from_secs(15);
