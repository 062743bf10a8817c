//! One accepted connection: what the listener learned of it, and the front that its protocol needs.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use crate::serve::front;
use crate::serve::progress::Progress;
use crate::serve::seat::Seat;
use crate::serve::stream::Stream;
use crate::serve::watched::Watched;
use crate::serve::worker::Worker;
use crate::tls::store::Served;

/// What is known of a connection before its first request.
pub struct Arrived {
    /// The client; with the PROXY protocol, the one that it named.
    pub client: SocketAddr,
    /// The address that the client reached.
    pub local: SocketAddr,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// The handshake's facts, on a TLS listener.
    pub tls: Option<TlsFacts>,
    /// Its place in the connection limits; freed on drop.
    pub permit: Box<dyn Any>,
    /// What those who count connections see of it.
    pub seat: Arc<Seat>,
}

/// What a handshake settled.
pub struct TlsFacts {
    /// The name that the client asked for: lower case, no trailing dot.
    pub sni: Option<Arc<str>>,
    /// Whether HTTP/2 was negotiated.
    pub h2: bool,
    /// The certificate that the client was shown.
    pub served: Arc<Served>,
}

impl Arrived {
    /// The client's address, an IPv4-mapped one unmapped.
    pub(super) fn client_ip(&self) -> IpAddr {
        self.client.ip().to_canonical()
    }
}

/// Serves a connection to its end.
pub async fn connection(worker: Rc<Worker>, arrived: Arrived, stream: Stream) {
    let h2 = arrived.tls.as_ref().is_some_and(|tls| tls.h2);
    let progress = Rc::new(Progress::new(arrived.listener.clone(), arrived.seat.clone(), h2, worker.now()));
    let _enlisted = worker.enlist(&progress);
    let io = Watched::new(stream, progress.clone());
    let arrived = Rc::new(arrived);
    // Boxed apart: the larger of the two states would otherwise weigh on every connection.
    if h2 {
        Box::pin(front::http2(worker, arrived, progress, io)).await;
    } else {
        Box::pin(front::http1(worker, arrived, progress, io)).await;
    }
}
