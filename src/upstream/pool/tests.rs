//! Attempts, kept connections, replays and budgets, against backends made of scripts.

use crate::config::model::Balance;
use crate::upstream::error::{Cause, Progress, SendError};

use super::*;
use crate::config::model::BackendAddress;
use crate::upstream::dial::DialError;
use crate::upstream::fake::{self, Fake, error, fetch, get, put, read, reserved};
use crate::upstream::group;
use crate::upstream::health::Health;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[tokio::test]
async fn connection_is_used_again() {
    let backend = Fake::start(|number, mut peer| async move {
        while peer.request().await.is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}")).await;
        }
    })
    .await;
    let (pools, group) = (Pools::new(), backend.group());
    for _ in 0..3 {
        assert_eq!(fetch(&pools, &group).await, (200, "0".to_owned()));
        assert_eq!(pools.kept(), 1);
    }
    assert_eq!(group.backends()[0].open(), 1);
}

#[tokio::test]
async fn stale_connection_costs_a_replayable_request_nothing() {
    // Every connection answers once, and closes when it is asked again.
    let backend = Fake::start(|_, mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
        peer.request().await;
    })
    .await;
    let (pools, group) = (Pools::new(), backend.group());
    assert_eq!(fetch(&pools, &group).await.0, 200);
    let (sent, attempts) = pools.send(&group, put(&Method::PUT, "body", true)).await;
    assert_eq!(read(sent).await, (200, "hi".to_owned()));
    assert!(attempts.replayed);
    assert_eq!(attempts.count, 2);
    assert_eq!(backend.count("PUT"), 2);
    assert!(backend.seen().iter().skip(1).all(|request| request.ends_with("\r\n\r\nbody")));
}

#[tokio::test]
async fn post_is_never_sent_twice() {
    let backend = Fake::start(|_, mut peer| async move {
        peer.request().await;
    })
    .await;
    let (pools, group) = (Pools::new(), backend.group());
    let error = error(pools.send(&group, put(&Method::POST, "body", false)).await.0);
    assert_eq!(error.progress, Progress::SentNoAnswer);
    assert!(matches!(error.cause, Cause::Closed | Cause::Io(_)));
    assert_eq!(backend.count("POST"), 1);
}

#[tokio::test]
async fn connection_that_the_backend_closed_is_not_used() {
    let backend = Fake::start(|_, mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
    })
    .await;
    let (pools, group) = (Pools::new(), backend.group());
    for count in 1..4 {
        let (sent, attempts) = pools.send(&group, put(&Method::POST, "body", false)).await;
        assert_eq!(read(sent).await.0, 200);
        assert_eq!(attempts.count, 1);
        assert_eq!(backend.count("POST"), count);
        // The close is seen by the reactor, which gets its turn here.
        while group.backends()[0].open() > 0 {
            tokio::task::yield_now().await;
            pools.sweep(crate::clock::now());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn request_is_not_sent_while_the_backend_is_away_and_is_once_it_is_back() {
    let (_reserved, addr) = reserved();
    let group = fake::groups(&[fake::upstream(&[BackendAddress::Socket(addr)])]).remove(0);
    let error = error(Pools::new().send(&group, get(&Method::GET)).await.0);
    assert_eq!(error.progress, Progress::NotSent);
    assert!(matches!(error.cause, Cause::Dial(DialError::Refused(_))), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn backend_that_restarts_within_the_budget_costs_nothing() {
    let (socket, addr) = reserved();
    let group = fake::groups(&[fake::upstream(&[BackendAddress::Socket(addr)])]).remove(0);
    let pools = Pools::new();
    let start = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let listener = socket.listen(8).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, OK.as_bytes()).await.unwrap();
        listener
    };
    let ((sent, attempts), _listener) =
        tokio::join!(pools.send(&group, put(&Method::POST, "body", false)), start);
    assert_eq!(read(sent).await.0, 200);
    assert!(!attempts.replayed && attempts.count > 10);
}

#[tokio::test(start_paused = true)]
async fn request_waits_for_a_backend_that_is_down_and_is_told_when_none_comes_up() {
    let backend = Fake::answering(OK).await;
    let (pools, group) = (Pools::new(), backend.group());
    group.backends()[0].publish(Health::Down);
    let (sent, attempts) = pools.send(&group, get(&Method::GET)).await;
    assert!(matches!(error(sent), SendError { progress: Progress::NotSent, cause: Cause::Down }));
    assert_eq!(attempts.count, 0);
    let up = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        group.backends()[0].publish(Health::Up);
    };
    let (fetched, ()) = tokio::join!(fetch(&pools, &group), up);
    assert_eq!(fetched.0, 200);
}

#[tokio::test(start_paused = true)]
async fn head_timeout_is_not_replayed() {
    let backend = Fake::start(|_, mut peer| async move {
        peer.request().await;
        peer.closed().await;
    })
    .await;
    let (pools, group) = (Pools::new(), backend.group());
    let start = crate::clock::now();
    let error = error(pools.send(&group, get(&Method::GET)).await.0);
    assert!(matches!(error, SendError { progress: Progress::SentNoAnswer, cause: Cause::HeadTimeout }));
    let took = crate::clock::now() - start;
    assert!(took >= Duration::from_secs(60) && took < Duration::from_secs(61), "{took:?}");
    assert_eq!(backend.count("GET"), 1);
    assert_eq!(group.backends()[0].open(), 0);
}

#[tokio::test(start_paused = true)]
async fn head_timeout_does_not_run_while_the_client_is_awaited() {
    let backend = Fake::answering(OK).await;
    let group = backend.group();
    let (feed, body) = fake::fed();
    let feeding = async {
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            feed.send(Ok(http_body::Frame::data("x".into()))).unwrap();
        }
        drop(feed);
    };
    let pools = Pools::new();
    let ((sent, _), ()) = tokio::join!(pools.send(&group, fake::stream(&Method::POST, body)), feeding);
    assert_eq!(read(sent).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn long_poll_whose_backend_restarts_gets_a_whole_budget_again() {
    let backend = Fake::start(|number, mut peer| async move {
        peer.request().await;
        if number == 0 {
            tokio::time::sleep(Duration::from_secs(40)).await;
        } else {
            peer.send(OK).await;
        }
    })
    .await;
    let (pools, group) = (Pools::new(), backend.group());
    let (sent, attempts) = pools.send(&group, get(&Method::GET)).await;
    assert_eq!(read(sent).await.0, 200);
    assert!(attempts.replayed);
}

#[tokio::test]
async fn other_backend_is_tried_when_one_refuses() {
    let (_reserved, dead) = reserved();
    let backend = Fake::answering(OK).await;
    for balance in [Balance::RoundRobin, Balance::LeastConnections] {
        let mut def = fake::upstream(&[BackendAddress::Socket(dead), BackendAddress::Socket(backend.addr)]);
        def.balance = balance;
        let group = fake::groups(&[def]).remove(0);
        let pools = Pools::new();
        for _ in 0..4 {
            assert_eq!(fetch(&pools, &group).await.0, 200);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_most_connections_wait_their_turn() {
    let backend = Fake::start(|_, mut peer| async move {
        while peer.request().await.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            peer.send(OK).await;
        }
    })
    .await;
    let mut def = fake::upstream(&[BackendAddress::Socket(backend.addr)]);
    def.backends[0].max_connections = Some(1);
    let group = fake::groups(&[def]).remove(0);
    let pools = Pools::new();
    let start = crate::clock::now();
    let all = tokio::join!(fetch(&pools, &group), fetch(&pools, &group), fetch(&pools, &group));
    assert_eq!((all.0.0, all.1.0, all.2.0), (200, 200, 200));
    assert_eq!(group.backends()[0].open(), 1);
    // Woken when the connection was given back, not by looking again.
    assert!(crate::clock::now() - start < Duration::from_millis(90));
}

#[tokio::test(start_paused = true)]
async fn busy_backend_is_told_after_the_budget() {
    let backend = Fake::start(|_, mut peer| async move { peer.closed().await }).await;
    let mut def = fake::upstream(&[BackendAddress::Socket(backend.addr)]);
    def.backends[0].max_connections = Some(1);
    let group = fake::groups(&[def]).remove(0);
    let (one, other) = (Pools::new(), Pools::new());
    let (hangs, busy) = (one.send(&group, get(&Method::GET)), other.send(&group, get(&Method::GET)));
    let (_, (sent, _)) = tokio::join!(hangs, busy);
    assert!(matches!(error(sent), SendError { progress: Progress::NotSent, cause: Cause::Busy }));
}

#[tokio::test(start_paused = true)]
async fn post_avoids_connections_that_have_idled() {
    let backend = Fake::answering(OK).await;
    let (pools, group) = (Pools::new(), backend.group());
    for (idle, kept) in [(0, 1), (500, 1), (1500, 2), (500, 2)] {
        tokio::time::sleep(Duration::from_millis(idle)).await;
        assert_eq!(read(pools.send(&group, put(&Method::POST, "body", false)).await.0).await.0, 200);
        assert_eq!(pools.kept(), kept, "after {idle} ms");
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    fetch(&pools, &group).await;
    assert_eq!(pools.kept(), 2);
}

#[tokio::test]
async fn post_avoids_kept_connections_of_a_backend_that_closes_them_on_requests() {
    let backend = Fake::start(|_, mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
        peer.head().await;
    })
    .await;
    let (pools, group) = (Pools::new(), backend.group());
    fetch(&pools, &group).await;
    fetch(&pools, &group).await;
    for _ in 0..5 {
        let (sent, attempts) = pools.send(&group, put(&Method::POST, "body", false)).await;
        assert_eq!(read(sent).await.0, 200);
        assert_eq!(attempts.count, 1);
    }
    assert_eq!(backend.count("POST"), 5);
}

#[tokio::test(start_paused = true)]
async fn sweep_closes_what_idled_too_long() {
    let backend = Fake::answering(OK).await;
    let (pools, group) = (Pools::new(), backend.group());
    fetch(&pools, &group).await;
    pools.sweep(crate::clock::now() + Duration::from_secs(24));
    assert_eq!(pools.kept(), 1);
    pools.sweep(crate::clock::now() + Duration::from_secs(25));
    assert_eq!((pools.kept(), group.backends()[0].open()), (0, 0));
}

#[tokio::test]
async fn reload_keeps_connections_of_backends_that_stay() {
    let (stays, goes) = (Fake::answering(OK).await, Fake::answering(OK).await);
    let mut def = fake::upstream(&[BackendAddress::Socket(stays.addr), BackendAddress::Socket(goes.addr)]);
    let old = fake::groups(std::slice::from_ref(&def));
    let pools = Pools::new();
    fetch(&pools, &old[0]).await;
    fetch(&pools, &old[0]).await;
    assert_eq!(pools.kept(), 2);
    def.backends.pop();
    def.connect_timeout = Duration::from_secs(1);
    let new = group::build(&[def], &old, &mut |_| unreachable!()).unwrap();
    pools.retain(&new);
    assert_eq!(pools.kept(), 1);
    fetch(&pools, &new[0]).await;
    assert_eq!((pools.kept(), new[0].backends()[0].open()), (1, 1));
    assert_eq!(old[0].backends()[1].open(), 0);
}

#[tokio::test]
async fn large_request_is_not_replayed() {
    let backend = Fake::start(|_, mut peer| async move {
        peer.request().await;
    })
    .await;
    let body: &'static str = "x".repeat(crate::upstream::replay::MOST_A_REQUEST + 1).leak();
    let (sent, attempts) = Pools::new().send(&backend.group(), put(&Method::PUT, body, true)).await;
    assert_eq!(error(sent).progress, Progress::SentNoAnswer);
    assert_eq!((attempts.count, backend.count("PUT")), (1, 1));
}

#[tokio::test]
async fn waiting_request_is_small() {
    let (pools, method) = (Pools::new(), Method::GET);
    let backend = Fake::answering(OK).await;
    let group = backend.group();
    let future = pools.send(&group, get(&method));
    // Up to here malloc keeps memory at hand.
    assert!(std::mem::size_of_val(&future) <= 1032, "{}", std::mem::size_of_val(&future));
    future.await.0.unwrap();
}
