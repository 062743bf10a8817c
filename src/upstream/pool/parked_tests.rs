//! Requests that wait while the upstream is away, against backends made of scripts.

use std::net::IpAddr;

use tokio::net::TcpSocket;

use crate::config::model::BackendAddress;
use crate::upstream::fake::{self, Fake, error, get, put, read};
use crate::upstream::health::Health;
use crate::upstream::outage::Counts;
use crate::upstream::prober::Probers;

use crate::upstream::error::{Cause, Progress};
use crate::upstream::health::ProbeFailure;

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

fn stay(seconds: u64) -> Option<Stay> {
    let client = IpAddr::from([192, 0, 2, 1]);
    Some(Stay { client, stranger: false, poll: false, budget: Duration::from_secs(seconds) })
}

/// A GET that may wait.
fn waiting(method: &Method, seconds: u64) -> Call<'_, http_body_util::Full<Bytes>> {
    Call { stay: stay(seconds), ..get(method) }
}

/// An upstream at an address where nobody listens yet, and its prober.
fn absent() -> (TcpSocket, Arc<Group>, Probers) {
    let (socket, addr) = fake::reserved();
    let group = fake::groups(&[fake::upstream(&[BackendAddress::Socket(addr)])]).remove(0);
    let mut probers = Probers::default();
    probers.follow(&[Arc::clone(&group)], &|_| {});
    (socket, group, probers)
}

/// Waits until `what` holds.
async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn requests_wait_for_home_and_arrive_in_order() {
    let (socket, group, _probers) = absent();
    let pools = Pools::new();
    let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
    // Each comes when those before it wait.
    let send = async |at: usize| {
        until(|| group.lot().counts().now as usize == at).await;
        pools.send(&group, waiting(&methods[at], 60)).await
    };
    let all = async { tokio::join!(send(0), send(1), send(2), send(3)) };
    let comes = async {
        until(|| group.lot().counts().now == 4).await;
        assert!(group.is_away());
        Fake::on(socket, |_, mut peer| async move {
            while peer.request().await.is_some() {
                peer.send(OK).await;
            }
        })
    };
    let ((a, b, c, d), home) = tokio::join!(all, comes);
    for (sent, attempts) in [a, b, c, d] {
        assert_eq!(read(sent).await.0, 200);
        assert!(attempts.parked > Duration::ZERO);
        assert_eq!(attempts.cause.map(ProbeFailure::token), Some("refused"));
    }
    let seen: Vec<_> = home.seen().into_iter().filter(|request| request.contains(" /path ")).collect();
    let order: Vec<_> = seen.iter().map(|request| request.split(' ').next().unwrap()).collect();
    assert_eq!(order, ["GET", "POST", "PUT", "DELETE"]);
    let counts = Counts { parked: 4, delivered: 4, ..Counts::default() };
    assert_eq!(group.lot().counts(), counts);
    let outage = group.lot().outage().unwrap();
    assert_eq!((outage.number, outage.counts, outage.ended.is_some()), (1, counts, true));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_budget_and_the_place_is_free() {
    let (_socket, group, _probers) = absent();
    let start = crate::clock::now();
    let (sent, attempts) = Pools::new().send(&group, waiting(&Method::GET, 30)).await;
    let error = error(sent);
    assert!(matches!(error.cause, Cause::Dial(_)), "{error:?}");
    assert_eq!(error.progress, Progress::NotSent);
    assert!(attempts.parked >= Duration::from_secs(29), "{attempts:?}");
    let took = crate::clock::now() - start;
    assert!(took >= Duration::from_secs(30) && took < Duration::from_secs(31), "{took:?}");
    assert_eq!(group.lot().counts(), Counts { parked: 1, expired: 1, ..Counts::default() });
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let (_socket, group, _probers) = absent();
    let pools = Pools::new();
    {
        let mut sending = Box::pin(pools.send(&group, waiting(&Method::GET, 60)));
        tokio::select! {
            _ = &mut sending => panic!("answered by nobody"),
            () = until(|| group.lot().counts().now == 1) => {}
        }
    }
    assert_eq!(group.lot().counts(), Counts { parked: 1, left: 1, ..Counts::default() });
}

#[tokio::test]
async fn beyond_the_bounds_a_request_fails_at_once() {
    let (_socket, group, _probers) = absent();
    let park = crate::config::model::park::Park { most_per_client: 1, ..Default::default() };
    group.lot().rebound(&park);
    let pools = Pools::new();
    let mut first = Box::pin(pools.send(&group, waiting(&Method::GET, 60)));
    tokio::select! {
        _ = &mut first => panic!("answered by nobody"),
        () = until(|| group.lot().counts().now == 1) => {}
    }
    let (sent, _) = pools.send(&group, waiting(&Method::GET, 60)).await;
    assert!(matches!(error(sent).cause, Cause::Full(crate::upstream::parking::Full::Client)));
    assert_eq!(group.lot().counts().refused, 1);
}

#[tokio::test]
async fn who_waits_during_a_reload_is_given_back_and_goes_to_the_new_home() {
    let (_socket, group, _probers) = absent();
    let pools = Pools::new();
    let method = Method::POST;
    let mut sending = Box::pin(pools.send(&group, Call { stay: stay(60), ..put(&method, "body", false) }));
    tokio::select! {
        _ = &mut sending => panic!("answered by nobody"),
        () = until(|| group.lot().counts().now == 1) => {}
    }
    let home = Fake::answering(OK).await;
    let def = fake::upstream(&[BackendAddress::Socket(home.addr)]);
    let new = crate::upstream::group::build(&[def], &[Arc::clone(&group)], &mut |_| unreachable!()).unwrap();
    assert!(Arc::ptr_eq(new[0].lot(), group.lot()));
    let mut probers = Probers::default();
    probers.follow(&new, &|_| {});
    group.lot().recall();
    let (sent, _) = sending.await;
    let Err(Unsent::Recalled(held)) = sent else { panic!("{:?}", sent.is_ok()) };
    let head = b"POST /new HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n".to_vec();
    let call = Call { head, load: Load::Held(held), stay: stay(60), ..get(&method) };
    let (sent, attempts) = pools.send(&new[0], call).await;
    assert_eq!(read(sent).await.0, 200);
    assert!(attempts.parked > Duration::ZERO);
    let seen = home.seen().into_iter().find(|request| request.contains("POST")).unwrap();
    assert!(seen.starts_with("POST /new ") && seen.ends_with("body"), "{seen}");
}

#[tokio::test]
async fn a_poll_that_was_cut_off_is_sent_again_and_what_may_not_be_is_left_alone() {
    let backend = Fake::start(|number, mut peer| async move {
        peer.request().await;
        if number < 2 {
            peer.closed().await;
        } else {
            peer.send(OK).await;
        }
    })
    .await;
    let group = backend.group();
    let pools = Pools::new();
    let method = Method::GET;
    let poll = pools.send(&group, waiting(&method, 60));
    let once = pools.send(&group, Call { replay: false, ..waiting(&method, 60) });
    let (mut poll, mut once) = (Box::pin(poll), Box::pin(once));
    tokio::select! {
        _ = &mut poll => panic!("answered by nobody"),
        _ = &mut once => panic!("answered by nobody"),
        () = until(|| backend.count("GET") == 2) => {}
    }
    let now = crate::clock::now();
    group.backends()[0].was_cut(now, now + Duration::from_secs(9));
    // Whoever is sent meanwhile must not hide it.
    group.backends()[0].saw_answer(now);
    drop(
        Box::pin(pools.send(&group, waiting(&Method::HEAD, 1)))
            .as_mut()
            .poll(&mut std::task::Context::from_waker(std::task::Waker::noop())),
    );
    assert!(pools.notice_cuts() && !pools.notice_cuts());
    let (sent, attempts) = poll.await;
    assert_eq!(read(sent).await.0, 200);
    assert!(attempts.replayed);
    let still = tokio::time::timeout(Duration::from_millis(50), &mut once).await;
    assert!(still.is_err(), "a request that may go once alone was given up");
    assert_eq!(backend.count("GET"), 3);
}

#[tokio::test(start_paused = true)]
async fn while_home_hangs_nothing_is_sent_and_a_long_outage_keeps_nobody_long() {
    let backend = Fake::start(|_, mut peer| async move { peer.closed().await }).await;
    let group = backend.group();
    let mut probers = Probers::default();
    probers.follow(&[Arc::clone(&group)], &|_| {});
    until(|| group.backends()[0].health() == Health::Down).await;
    let pools = Pools::new();
    for (after, most) in [(0, 50), (320, 3)] {
        tokio::time::sleep(Duration::from_secs(after)).await;
        let start = crate::clock::now();
        let (sent, attempts) = pools.send(&group, waiting(&Method::GET, 50)).await;
        assert!(matches!(error(sent).cause, Cause::Down));
        assert_eq!(attempts.cause.map(ProbeFailure::token), Some("probe-timeout"));
        let took = (crate::clock::now() - start).as_secs();
        assert!((most..=most + 1).contains(&took), "{took} s");
    }
    assert_eq!(backend.count("GET /path"), 0);
    assert!(group.lot().retry_after(crate::clock::now()) > Duration::from_secs(30));
}
