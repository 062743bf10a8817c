//! When a certificate is renewed, and when the CA is asked about it (ARI, RFC 9773).

use std::time::Duration;

use crate::acme::ledger::Ledger;
use crate::acme::moment::Moment;
use crate::acme::schedule::{Held, SiteView, View};
use crate::acme::status::Next;

/// When what the site has is to be renewed: by the CA's wish, else at a third of its life.
pub(super) fn renewal(view: &View<'_>, ledger: &Ledger, site: &SiteView<'_>, held: &Held) -> Next {
    let life = held.to.since(held.from);
    let own = held.to.before(life / 3 + jitter(view.jitter, site.site, life / 30));
    let wish = ledger.renewal(site.site).and_then(|(chosen, _)| chosen);
    let Some(wish) = wish else { return next(own, "a third of its life is left") };
    // A CA that wishes every certificate away as soon as it is there gets its way once a day.
    let pause = DAY.min(life / 3);
    let wish = ledger.wish_followed(site.site).map_or(wish, |last| wish.max(last.after(pause)));
    // A wish that lies too late is none: the certificate must not run out over it.
    let latest = held.to.before(life / 6 + jitter(view.jitter, site.site, life / 30));
    if wish <= latest {
        next(wish, "the CA's window (ARI)")
    } else {
        next(latest, "a sixth of its life is left")
    }
}

/// When the CA is asked about the renewal of what the site has, and which CA; `None`: there is none to ask.
pub(super) fn question(view: &View<'_>, ledger: &Ledger, site: &SiteView<'_>) -> Option<(Moment, String)> {
    let held = site.held.as_ref().filter(|held| view.now < held.to && !site.busy)?;
    let issuer = ledger.issuing_authority(site.site)?;
    let known = view.authorities.iter().find(|authority| authority.directory == issuer)?;
    let again = ledger.renewal(site.site).map_or(held.from.min(view.now), |(_, again)| again);
    let silent = ledger.unavailable(known.directory).map_or(again, |wait| wait.until);
    Some((again.max(silent), issuer.to_owned()))
}

/// How little of its life a certificate has left when something else must give way to its renewal.
pub(super) fn last_call(held: &Held) -> Moment {
    held.to.before(held.to.since(held.from) / 6)
}

/// A part of `most`, always the same for that site of that install.
fn jitter(install: u64, site: &str, most: Duration) -> Duration {
    let hash = site.bytes().fold(install ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Duration::from_secs((hash ^ (hash >> 32)) % (most.as_secs() + 1))
}

fn next(at: Moment, why: &str) -> Next {
    Next { at, why: why.to_owned() }
}

const DAY: Duration = Duration::from_secs(86_400);
