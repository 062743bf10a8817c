//! Which addresses a reload opens and closes, as a pure plan.
//!
//! What stays is not touched: its sockets, queues and connections are the old ones.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::model::{Bind, Listener};
use crate::listener::sockets::SocketId;

/// An address that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// How the threads know it.
    pub id: SocketId,
    /// Name of its listener.
    pub listener: Arc<str>,
    /// The address as configured; its port may be 0.
    pub configured: SocketAddr,
    /// The address that it got.
    pub actual: SocketAddr,
}

/// An address to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Name of its listener.
    pub listener: Arc<str>,
    /// The address.
    pub bind: Bind,
}

/// What a reload does to the addresses.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Stay as they are.
    pub keep: Vec<Bound>,
    /// Stay open and belong to another listener from now on, which is named here.
    pub hand_over: Vec<Bound>,
    /// Are closed once the new configuration is in force.
    pub close: Vec<Bound>,
    /// Are bound before.
    pub open: Vec<Opening>,
}

/// An address can't be opened while porchd itself holds one that is in its way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "listener {listener:?} cannot open {addr} while listener {holder:?} of the old configuration holds {held}; \
     restart porchd, or remove {held} by one reload and add {addr} by another"
)]
pub struct InTheWay {
    /// The listener that wants the address.
    pub listener: Arc<str>,
    /// The address that it wants.
    pub addr: SocketAddr,
    /// The listener that holds one.
    pub holder: Arc<str>,
    /// The address that it holds.
    pub held: SocketAddr,
}

/// Plans the way from the addresses that are open to those that are configured.
pub fn plan(open: &[Bound], listeners: &[Listener]) -> Plan {
    let mut plan = Plan::default();
    let mut left: Vec<&Bound> = open.iter().collect();
    let mut wanted = Vec::new();
    for listener in listeners {
        for bind in &listener.binds {
            let same = |bound: &&Bound| bound.listener == listener.name && bound.configured == bind.addr;
            match left.iter().position(same) {
                // Taken out, so that two binds of port 0 need two bound ones.
                Some(at) => plan.keep.push(left.remove(at).clone()),
                None => wanted.push(Opening { listener: listener.name.clone(), bind: *bind }),
            }
        }
    }
    // After all of the above: a listener's own address is not taken from it.
    for Opening { listener, bind } in wanted {
        match left.iter().position(|bound| bound.actual == bind.addr) {
            Some(at) => {
                plan.hand_over.push(Bound { listener, configured: bind.addr, ..left.remove(at).clone() });
            }
            None => plan.open.push(Opening { listener, bind }),
        }
    }
    plan.close = left.into_iter().cloned().collect();
    plan
}

impl Plan {
    /// Whether something that is still open would make opening `opening` fail.
    ///
    /// Told apart from a foreign process in the way, since the cure is another.
    pub fn in_the_way(&self, opening: &Opening) -> Option<InTheWay> {
        let addr = opening.bind.addr;
        let mut open = self.close.iter().chain(&self.keep).chain(&self.hand_over);
        let held = open.find(|bound| collide(bound.actual, addr))?;
        Some(InTheWay {
            listener: opening.listener.clone(),
            addr,
            holder: held.listener.clone(),
            held: held.actual,
        })
    }
}

/// Whether two sockets can't listen on these addresses at a time. IPv6 ones are IPv6 alone.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_family = a.is_ipv4() == b.is_ipv4();
    let same_place = a.ip() == b.ip() || [a.ip(), b.ip()].iter().any(IpAddr::is_unspecified);
    same_family && same_place && a.port() == b.port() && a.port() != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(id: u64, listener: &str, configured: &str, actual: &str) -> Bound {
        Bound {
            id: SocketId(id),
            listener: listener.into(),
            configured: configured.parse().unwrap(),
            actual: actual.parse().unwrap(),
        }
    }

    fn listener(name: &str, binds: &[&str]) -> Listener {
        let bind = |addr: &&str| Bind { addr: addr.parse().unwrap(), best_effort: false };
        Listener {
            name: name.into(),
            binds: binds.iter().map(bind).collect(),
            tls: true,
            proxy_protocol: Vec::new(),
        }
    }

    fn ids(bounds: &[Bound]) -> Vec<u64> {
        bounds.iter().map(|bound| bound.id.0).collect()
    }

    fn opened(plan: &Plan) -> Vec<String> {
        plan.open.iter().map(|opening| format!("{} {}", opening.listener, opening.bind.addr)).collect()
    }

    #[test]
    fn start_opens_everything() {
        let plan =
            plan(&[], &[listener("https", &["0.0.0.0:443", "[::]:443"]), listener("http", &["[::]:80"])]);
        assert_eq!(opened(&plan), ["https 0.0.0.0:443", "https [::]:443", "http [::]:80"]);
        assert_eq!((plan.keep, plan.close), (vec![], vec![]));
    }

    #[test]
    fn only_what_differs_is_touched() {
        let open = [
            bound(1, "https", "0.0.0.0:443", "0.0.0.0:443"),
            bound(2, "https", "[::]:443", "[::]:443"),
            bound(3, "http", "0.0.0.0:80", "0.0.0.0:80"),
        ];
        let plan = plan(&open, &[listener("https", &["[::]:443", "192.0.2.1:8443"])]);
        assert_eq!((ids(&plan.keep), ids(&plan.close)), (vec![2], vec![1, 3]));
        assert_eq!(opened(&plan), ["https 192.0.2.1:8443"]);
    }

    #[test]
    fn free_ports_are_kept_one_for_one() {
        let open = [
            bound(1, "a", "127.0.0.1:0", "127.0.0.1:40001"),
            bound(2, "a", "127.0.0.1:0", "127.0.0.1:40002"),
            bound(3, "b", "127.0.0.1:0", "127.0.0.1:40003"),
        ];
        let plan =
            plan(&open, &[listener("a", &["127.0.0.1:0"]), listener("b", &["127.0.0.1:0", "127.0.0.1:0"])]);
        assert_eq!((ids(&plan.keep), ids(&plan.close)), (vec![1, 3], vec![2]));
        assert_eq!(opened(&plan), ["b 127.0.0.1:0"]);
        assert_eq!(plan.in_the_way(&plan.open[0]), None);
    }

    #[test]
    fn address_of_another_listener_is_handed_over() {
        let open = [
            bound(1, "web", "0.0.0.0:443", "0.0.0.0:443"),
            bound(2, "web", "0.0.0.0:80", "0.0.0.0:80"),
            bound(3, "any", "127.0.0.1:0", "127.0.0.1:40001"),
        ];
        let listeners =
            [listener("https", &["0.0.0.0:443"]), listener("web", &["0.0.0.0:80", "127.0.0.1:40001"])];
        let plan = plan(&open, &listeners);
        assert_eq!((ids(&plan.keep), ids(&plan.hand_over)), (vec![2], vec![1, 3]));
        assert_eq!((plan.hand_over[0].listener.as_ref(), plan.open.len(), plan.close.len()), ("https", 0, 0));
    }

    #[test]
    fn own_sockets_in_the_way_are_told_apart() {
        let open = [bound(1, "https", "0.0.0.0:443", "0.0.0.0:443"), bound(2, "six", "[::]:443", "[::]:443")];
        let cases = [
            ("web", "127.0.0.1:443", Some("https")),
            ("https", "192.0.2.1:443", Some("https")),
            ("https", "192.0.2.1:8443", None),
            ("six", "[2001:db8::1]:443", Some("six")),
            ("https", "127.0.0.1:0", None),
        ];
        for (name, addr, holder) in cases {
            let plan = plan(&open, &[listener(name, &[addr])]);
            let found = plan.in_the_way(&plan.open[0]);
            assert_eq!(found.as_ref().map(|found| &*found.holder), holder, "{name} {addr}");
        }
    }
}
