//! A stand-in for the serving side, for tests: says who came, then echoes until told otherwise.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::listener::handshake::Certificate;
use crate::listener::permits::{Bounds, Permits};
use crate::listener::serving::{Arrived, Serving, Terms};
use crate::listener::shared::Shared;
use crate::serve::stream::Stream;
use crate::tls::challenges::Challenges;

/// Echoes on every listener but those that are closed.
pub(crate) struct Echo {
    /// Told in every greeting.
    pub(crate) name: String,
    pub(crate) tls: bool,
    /// Peers that must send a PROXY header.
    pub(crate) proxies: Vec<IpNet>,
    pub(crate) handshake: Duration,
    pub(crate) challenges: Challenges,
    pub(crate) orders: watch::Sender<Orders>,
}

/// What the echo was told.
#[derive(Default, Clone)]
pub(crate) struct Orders {
    gone: Vec<Arc<str>>,
    closed: Vec<Arc<str>>,
    abort: bool,
    cut: bool,
}

/// There is none: TLS is not what these tests are about.
pub(crate) enum NoCertificate {}

impl Certificate for NoCertificate {
    fn config(&self) -> &Arc<ServerConfig> {
        match *self {}
    }
}

impl Echo {
    pub(crate) fn new(name: &str) -> Self {
        let orders = watch::Sender::new(Orders::default());
        let handshake = Duration::from_secs(10);
        let challenges = Challenges::default();
        Self { name: name.to_owned(), tls: false, proxies: Vec::new(), handshake, challenges, orders }
    }
}

/// The shared state with room for so many connections.
pub(crate) fn shared(total: usize, per_address: usize) -> Arc<Shared> {
    Arc::new(Shared::new(Permits::new(Bounds { total, per_address })))
}

impl Serving for Echo {
    type Certificate = NoCertificate;

    fn terms(&self, listener: &str, peer: IpAddr) -> Option<Terms> {
        let gone = self.orders.borrow().gone.iter().any(|name| &**name == listener);
        let proxy_header = self.proxies.iter().any(|net| net.contains(&peer));
        (!gone).then_some(Terms { tls: self.tls, proxy_header, handshake: self.handshake })
    }

    fn stands_for_many(&self, client: IpAddr) -> bool {
        client.is_unspecified()
    }

    fn certificate(&self, _: Option<&Arc<str>>, _: IpAddr) -> Option<NoCertificate> {
        None
    }

    fn challenge(&self, sni: &str) -> Option<Arc<ServerConfig>> {
        self.challenges.handshake(sni)
    }

    async fn serve(self: Rc<Self>, arrived: Arrived<NoCertificate>, mut io: Stream) {
        let greeting = format!("{} {} {}\n", self.name, arrived.listener, arrived.client.ip());
        let mut orders = self.orders.subscribe();
        let told = |orders: &Orders| {
            orders.abort || orders.cut || orders.closed.iter().any(|name| **name == *arrived.listener)
        };
        if io.write_all(greeting.as_bytes()).await.is_err() {
            return;
        }
        let mut buf = [0; 64];
        loop {
            tokio::select! {
                Ok(orders) = orders.wait_for(told) => {
                    let last: &[u8] = if orders.abort { b"503" } else { b"" };
                    drop(orders);
                    let _ = io.write_all(last).await;
                    return;
                }
                read = io.read(&mut buf) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(count) if &buf[..count] == b"panic" => panic!("asked for"),
                    Ok(count) => if io.write_all(&buf[..count]).await.is_err() { return },
                },
            }
        }
    }

    fn retire(&self, listener: &str) {
        self.orders.send_modify(|orders| orders.gone.push(listener.into()));
    }

    fn close(&self, listener: &str) {
        self.orders.send_modify(|orders| orders.closed.push(listener.into()));
    }

    fn stop(&self) {}

    fn abort(&self) {
        self.orders.send_modify(|orders| orders.abort = true);
    }

    fn cut(&self) {
        self.orders.send_modify(|orders| orders.cut = true);
    }

    fn shed(&self) {}

    fn tick(&self, _: Instant) {}
}
