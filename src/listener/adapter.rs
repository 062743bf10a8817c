//! The real serving side of a thread: a worker, and the certificates that it may show.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustls::ServerConfig;

use crate::listener::handshake::Certificate;
use crate::listener::serving::{self, Serving, Terms};
use crate::serve::connection::{Arrived, TlsFacts, connection};
use crate::serve::stream::Stream;
use crate::serve::worker::Worker;
use crate::tls::live::Live;
use crate::tls::store::Served;

/// One thread's worker and everybody's certificates.
pub struct WorkerAdapter {
    /// This thread's worker.
    pub worker: Rc<Worker>,
    /// The certificates in use.
    pub certificates: Arc<Live>,
}

impl Certificate for Arc<Served> {
    fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
}

impl Serving for WorkerAdapter {
    type Certificate = Arc<Served>;

    fn terms(&self, listener: &str, peer: IpAddr) -> Option<Terms> {
        let snapshot = self.worker.snapshot_of(listener);
        let config = &snapshot.config;
        let listener = config.listeners.iter().find(|known| &*known.name == listener)?;
        let proxy_header = listener.proxy_protocol.iter().any(|net| net.contains(&peer));
        Some(Terms { tls: listener.tls, proxy_header, handshake: config.limits.handshake })
    }

    fn stands_for_many(&self, client: IpAddr) -> bool {
        self.worker.snapshot().config.trusted_proxies.iter().any(|net| net.contains(&client))
    }

    /// A name that no certificate is for gets the default one, as no name does at an address that is no
    /// host: the client's own error then says which names were offered. An alert is left for a store without
    /// any certificate.
    fn certificate(&self, sni: Option<&Arc<str>>, reached: IpAddr) -> Option<Arc<Served>> {
        let store = self.certificates.load();
        match sni {
            Some(name) => store.lookup(Some(name)).cloned(),
            None => store.lookup_reached(reached).cloned(),
        }
    }

    fn challenge(&self, sni: &str) -> Option<Arc<ServerConfig>> {
        self.worker.challenges().handshake(sni)
    }

    // Not an async fn: its state would hold a second copy of the stream for the connection's life.
    fn serve(
        self: Rc<Self>,
        arrived: serving::Arrived<Arc<Served>>,
        stream: Stream,
    ) -> impl Future<Output = ()> {
        let serving::Arrived { client, local, listener, tls, permit, seat } = arrived;
        let tls = tls.map(|serving::TlsFacts { sni, h2, served }| TlsFacts { sni, h2, served });
        let arrived = Arrived { client, local, listener, tls, permit: Box::new(permit), seat };
        connection(self.worker.clone(), arrived, stream)
    }

    fn retire(&self, listener: &str) {
        self.worker.retire(listener);
    }

    fn close(&self, listener: &str) {
        self.worker.close(listener);
    }

    fn stop(&self) {
        self.worker.stop();
    }

    fn abort(&self) {
        self.worker.abort();
    }

    fn cut(&self) {
        self.worker.cut();
    }

    fn shed(&self) {
        self.worker.shed();
    }

    fn tick(&self, now: Instant) {
        self.worker.tick(now);
    }
}
