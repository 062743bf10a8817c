//! Files and endpoints for real or played, and what no act may be.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::config::model::home::{Nameserver, PublicKey};

/// A tunnel that a test plays.
struct Played {
    peer: Result<Peer, String>,
    set: RefCell<Vec<SocketAddr>>,
}

impl Tunnels for Played {
    fn peer(&self, _: &WireGuard) -> Result<Peer, String> {
        self.peer.clone()
    }

    fn set_endpoint(&self, _: &WireGuard, endpoint: SocketAddr) -> Result<(), String> {
        self.set.borrow_mut().push(endpoint);
        Ok(())
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn address(update: Update) -> Address {
    Address {
        name: "home".into(),
        nameserver: Nameserver::Socket("127.0.0.1:53".parse().unwrap()),
        every: Duration::from_secs(60),
        allow_private: false,
        updates: vec![update],
    }
}

fn done(tunnels: &dyn Tunnels, update: Update, step: Step) -> Result<Outcome, UpdateError> {
    act(&Tools::of("/nowhere".into(), Duration::ZERO), tunnels, &address(update), 0, &step)
}

fn none() -> Played {
    Played { peer: Err("no tunnel".into()), set: RefCell::default() }
}

fn endpoint() -> Update {
    let wireguard = WireGuard { interface: "wg1".into(), peer: PublicKey([7; 32]) };
    Update::WireGuardEndpoint { wireguard, port: 51820 }
}

/// A folder that goes away with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("porchd-homeip-{:x}", crate::clock::random()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_is_written_whole_and_for_everybody_to_read() {
    let scratch = Scratch::new();
    let path = scratch.0.join("homeip");
    let write = |all: &[&str]| {
        let all = all.iter().map(|text| ip(text)).collect();
        done(&none(), Update::File(path.clone()), Step::Replace(all))
    };
    assert_eq!(write(&["5.9.1.1", "2a01:4f8::1"]), Ok(Outcome::Done));
    assert_eq!(fs::read_to_string(&path).unwrap(), "5.9.1.1\n2a01:4f8::1\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(write(&["5.9.1.1", "2a01:4f8::1"]), Ok(Outcome::Present));
    assert_eq!(write(&["5.9.1.2"]), Ok(Outcome::Done));
    assert_eq!(fs::read_to_string(&path).unwrap(), "5.9.1.2\n");
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1, "nothing is left beside it");
    let nowhere = Update::File(scratch.0.join("no/homeip"));
    let error = done(&none(), nowhere, Step::Replace(vec![ip("5.9.1.1")])).unwrap_err();
    assert!(error.to_string().contains("no/homeip: No such file"), "{error}");
}

#[test]
fn an_endpoint_changes_only_while_the_tunnel_is_stale() {
    let old = Some("5.9.1.1:51820".parse().unwrap());
    let new: SocketAddr = "5.9.1.2:51820".parse().unwrap();
    for (stale, endpoint_of, outcome, set) in [
        (true, old, Outcome::Done, vec![new]),
        (true, None, Outcome::Done, vec![new]),
        (false, old, Outcome::Alive, vec![]),
        (true, Some(new), Outcome::Present, vec![]),
        (false, Some(new), Outcome::Present, vec![]),
    ] {
        let tunnel = Played { peer: Ok(Peer { stale, endpoint: endpoint_of }), set: RefCell::default() };
        assert_eq!(done(&tunnel, endpoint(), Step::Add(new.ip())), Ok(outcome));
        assert_eq!(*tunnel.set.borrow(), set, "{stale} {endpoint_of:?}");
    }
    let error = done(&none(), endpoint(), Step::Add(new.ip())).unwrap_err();
    assert_eq!(error.to_string(), "no tunnel");
}

#[test]
fn what_the_configuration_does_not_allow_is_refused() {
    let table = |owned| Update::PfTable { table: "homeip".into(), owned };
    let home = ip("5.9.1.1");
    for (update, step, refusal) in [
        (table(false), Step::Replace(vec![home]), Refusal::Act),
        (table(true), Step::Replace(vec![]), Refusal::Many(0)),
        (table(true), Step::Replace(vec![home; 17]), Refusal::Many(17)),
        (table(false), Step::Add(ip("127.0.0.1")), Refusal::Address(ip("127.0.0.1"))),
        (table(true), Step::Replace(vec![home, ip("10.0.0.1")]), Refusal::Address(ip("10.0.0.1"))),
        (Update::File("/etc/homeip".into()), Step::Add(home), Refusal::Act),
        (endpoint(), Step::Remove(home), Refusal::Act),
        (endpoint(), Step::Replace(vec![home]), Refusal::Act),
    ] {
        let error = done(&none(), update, step).unwrap_err();
        assert_eq!(error, UpdateError::Refused(refusal));
    }
    let tools = Tools::of("/nowhere".into(), Duration::ZERO);
    let error = act(&tools, &none(), &address(table(false)), 1, &Step::Add(home)).unwrap_err();
    assert_eq!(error, UpdateError::Refused(Refusal::NoSuchUpdate));
}

#[test]
fn acts_and_what_comes_of_them_go_from_process_to_process() {
    let step = Step::Replace(vec![ip("5.9.1.1")]);
    let text = serde_json::to_string(&step).unwrap();
    assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step);
    let error = UpdateError::Refused(Refusal::Address(ip("::1")));
    let text = serde_json::to_string(&error).unwrap();
    assert_eq!(serde_json::from_str::<UpdateError>(&text).unwrap(), error);
}
