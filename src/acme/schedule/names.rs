//! Which of a site's names can be ordered at a CA now, and which are better left alone for a while.

use std::sync::Arc;

use crate::acme::ledger::Ledger;
use crate::acme::moment::Moment;
use crate::acme::schedule::{AuthorityView, Held, SiteView, View};
use crate::acme::status::LeftOut;
use crate::config::model::acme::FailingName;

/// A site's names at a CA.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Those that can be ordered.
    pub(super) able: Vec<Arc<str>>,
    /// Those that can't.
    pub(super) unable: Vec<Unable>,
}

/// A name that is left alone for a while.
#[derive(Debug)]
pub(super) struct Unable {
    pub(super) name: Arc<str>,
    pub(super) why: String,
    /// Until when; `None`: until it has an address.
    pub(super) until: Option<Moment>,
    /// It was given time enough to work again.
    pub(super) hopeless: bool,
}

/// How long a name that has a certificate may keep a new name of its site from getting one: full rounds of
/// failures, which are about an hour.
const PATIENCE: u32 = 3;

/// Sorts a site's names by whether they can be ordered at that CA.
pub(super) fn names(
    view: &View<'_>,
    ledger: &Ledger,
    site: &SiteView<'_>,
    authority: &AuthorityView<'_>,
) -> Names {
    let mut names = Names::default();
    for name in site.names {
        match unable(view, ledger, site, authority, name) {
            Some(unable) => names.unable.push(unable),
            None => names.able.push(Arc::clone(name)),
        }
    }
    names
}

fn unable(
    view: &View<'_>,
    ledger: &Ledger,
    site: &SiteView<'_>,
    authority: &AuthorityView<'_>,
    name: &Arc<str>,
) -> Option<Unable> {
    let unable = |why: &str, until, hopeless| {
        Some(Unable { name: Arc::clone(name), why: why.to_owned(), until, hopeless })
    };
    if site.without_address.contains(name) {
        return unable("it has no address: add an A or AAAA record that leads here", None, true);
    }
    let failing = ledger.name(authority.directory, site.site, name);
    let hopeless = failing.is_some_and(|(_, rounds)| rounds >= PATIENCE);
    let waits = failing.map(|(wait, _)| wait).filter(|wait| wait.until > view.now);
    let full = ledger.validations_full(authority.directory, &authority.limits, name, view.now);
    match (waits, full) {
        (Some(wait), full) => unable(&wait.text, Some(wait.until).max(full), hopeless),
        (None, Some(full)) => {
            let why =
                failing.map_or("it failed as often as the CA allows within an hour", |(wait, _)| &wait.text);
            unable(why, Some(full), hopeless)
        }
        (None, None) => None,
    }
}

impl Names {
    /// Those that have no certificate and get none now, for people.
    pub(super) fn left_out(&self, held: Option<&Held>) -> Vec<LeftOut> {
        let bare = self.unable.iter().filter(|unable| !covers(held, &unable.name));
        bare.map(|unable| LeftOut {
            name: unable.name.to_string(),
            why: unable.why.clone(),
            again: unable.until,
        })
        .collect()
    }

    /// When the first (`FailingName::LeaveOut`) or the last of those that can't be ordered can.
    pub(super) fn again(&self, failing_name: FailingName, now: Moment) -> Option<Moment> {
        let times = self.unable.iter().map(|unable| unable.until.unwrap_or(now.after(ADDRESS_AGAIN)));
        match failing_name {
            FailingName::LeaveOut => times.min(),
            FailingName::Wait => times.max(),
        }
    }
}

/// Whether what is held is good for `name`.
pub(super) fn covers(held: Option<&Held>, name: &str) -> bool {
    held.is_some_and(|held| held.names.iter().any(|other| other.eq_ignore_ascii_case(name)))
}

/// Addresses are looked up again about then.
const ADDRESS_AGAIN: std::time::Duration = std::time::Duration::from_secs(60);
