//! What is odd about how requests wait while an upstream is away.

use std::time::Duration;

use crate::config::decode::At;
use crate::config::file::File;
use crate::config::file::park::DetailedPark;
use crate::config::file::route::Route;
use crate::config::problem::Finding;
use crate::config::scalar::quantity::{Size, Time};

/// Peers give an attempt 60 s; the answer needs some of it (Synapse: `http/matrixfederationclient.py`).
const MOST_FEDERATION: Duration = Duration::from_secs(55);

/// Synapse gives a request for keys 10 s (`crypto/keyring.py`).
const MOST_KEYS: Duration = Duration::from_secs(9);

/// What a head takes at least, and a body that is kept whole at most.
const HEAD: u64 = 1024;
const BODY: u64 = 64 * 1024;

/// Appends what is odd about how requests wait.
pub(super) fn findings(file: &File, findings: &mut Vec<Finding>) {
    for park in file.upstreams.0.iter().filter_map(|(_, upstream)| upstream.park()) {
        findings.extend(given_up(
            &park.federation,
            MOST_FEDERATION,
            "other homeservers give up after 60s",
            "50s",
        ));
        findings.extend(given_up(&park.keys, MOST_KEYS, "Synapse gives up after 10s", "8s"));
        findings.extend(one_client(&park));
        findings.extend(little_memory(&park));
    }
    let routes = file.sites.iter().flat_map(|site| &site.routes);
    findings.extend(routes.filter_map(|route| nothing_waits(file, route)));
}

fn given_up(time: &At<Time>, most: Duration, who: &str, like: &str) -> Option<Finding> {
    (time.value.0 > most).then(|| {
        Finding::warning(time.place, "a request waits longer here than anybody waits for its answer")
            .label(who)
            .help(format!(
                "stay below, like {like}: they ask again, and what nobody waits for takes up a place"
            ))
    })
}

fn one_client(park: &DetailedPark) -> Option<Finding> {
    let most = park.most_per_client.filter(|most| most.value.0 > park.most.value.0)?;
    Some(
        Finding::warning(most.place, format!("one client can take all {} places", park.most.value.0))
            .label("more than there are")
            .help("write less than `most`, so that one client can't shut out all others"),
    )
}

fn nothing_waits(file: &File, route: &Route) -> Option<Finding> {
    let park = route.park.filter(|park| park.value)?;
    let (name, upstream) = file.upstreams.0.iter().find(|(name, _)| Some(name) == route.forward.as_ref())?;
    upstream.park().is_none().then(|| {
        Finding::warning(park.place, format!("requests don't wait for upstream `{}`", name.value))
            .label("is in vain")
            .also(name.place, "`park: false` here")
            .help("leave out one of the two")
    })
}

fn little_memory(park: &DetailedPark) -> Option<Finding> {
    let most = park.most.value.0;
    let needed = (u64::from(most) * HEAD).max(2 * BODY);
    (park.memory.value.0 < needed).then(|| {
        Finding::warning(park.memory.place, format!("this memory is little for {most} requests"))
            .label("heads take 1KiB and more, bodies up to 64KiB")
            .help(format!("write {} or more: a request that finds no memory does not wait", Size(needed)))
    })
}
