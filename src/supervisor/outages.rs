//! How the upstreams stand: looked at once a second and when a prober has news, told to the log and to the journal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::clock;
use crate::incidents::evidence::{Evidence, Now};
use crate::incidents::journal::{Journal, News};
use crate::incidents::keeper::{self, Keeper};
use crate::incidents::told;
use crate::incidents::tunnel::Spells;
use crate::os::folder::Folder;
use crate::upstream::group::Group;
use crate::upstream::health::{Health, ProbeFailure, Transition};
use crate::upstream::prober;

/// What is known of outages.
#[derive(Debug, Default)]
pub struct Outages {
    journal: Journal,
    /// None: the journal is kept in memory alone.
    keeper: Option<Keeper>,
    /// The last change of each backend, by upstream and address.
    changes: BTreeMap<(Arc<str>, Arc<str>), Change>,
}

/// The last change of a backend.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// What it has been since then.
    pub health: Health,
    /// When.
    pub since: SystemTime,
    /// Why, when it went down.
    pub cause: Option<ProbeFailure>,
}

impl Outages {
    /// Goes on with what `folder` remembers, and keeps it there.
    pub fn keep_in(&mut self, folder: Folder) {
        let (kept, warning) = keeper::take(&folder);
        if let Some(warning) = warning {
            tracing::warn!("{warning}");
        }
        let (journal, closed) = Journal::restore(kept, clock::wall());
        closed.iter().for_each(|incident| tracing::info!("{}", told::ended(incident)));
        self.journal = journal;
        self.keeper = Keeper::start(folder)
            .inspect_err(|error| tracing::warn!("incidents are kept in memory alone: {error}"))
            .ok();
    }

    /// Keeps nothing on disk any more: another edge does. What it knows is written before this returns.
    pub fn keep_no_more(&mut self) {
        self.write();
        self.keeper = None;
    }

    /// Looks at all upstreams, while the tunnel home stands so.
    pub fn look(&mut self, groups: &[Arc<Group>], tunnel: &Spells, now: Now) {
        let names: Vec<&str> = groups.iter().map(|group| &*group.def().name).collect();
        let mut news = self.journal.follow(&names, now);
        for group in groups {
            if let Some(outage) = group.lot().outage() {
                news.extend(self.journal.observe(&group.def().name, &Evidence::of(&outage, tunnel), now));
            }
        }
        news.iter().for_each(tell);
        if self.journal.is_due(now.at) {
            self.write();
        }
    }

    /// A prober has found something.
    pub fn reported(&mut self, report: prober::Report) {
        tell_health(&report);
        if let prober::News::Changed(Transition { to, cause, .. }) = report.news {
            let change = Change { health: to, since: clock::wall(), cause };
            self.changes.insert((report.group, report.backend), change);
        }
    }

    /// Home has moved; `text` is the whole story.
    pub fn moved(&mut self, name: &str, text: String) {
        let now = Now { at: clock::now(), wall: clock::wall() };
        self.journal.moved(name, text, now);
        if self.journal.is_due(now.at) {
            self.write();
        }
    }

    /// The last change of a backend that was seen.
    pub fn change(&self, upstream: &Arc<str>, backend: &Arc<str>) -> Option<Change> {
        self.changes.get(&(Arc::clone(upstream), Arc::clone(backend))).copied()
    }

    /// All incidents.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    fn write(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.keep(keeper::text(self.journal.all()));
        }
    }
}

impl Drop for Outages {
    fn drop(&mut self) {
        // How long what lasts has lasted is known best now.
        self.write();
    }
}

fn tell(news: &News) {
    match news {
        News::Began(incident) => tracing::warn!("{}", told::began(incident)),
        News::Ended(incident) => tracing::info!("{}", told::ended(incident)),
    }
}

/// Health changes are what an operator looks for first after an outage.
fn tell_health(report: &prober::Report) {
    match report.news {
        prober::News::Changed(Transition { to: Health::Down, .. }) | prober::News::NoProbePath(_) => {
            tracing::warn!("{report}");
        }
        prober::News::Changed(_) => tracing::info!("{report}"),
    }
}
