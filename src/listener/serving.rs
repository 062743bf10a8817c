//! What the listener needs of the floor below: who serves connections, and on which terms.
//!
//! `serve::worker::Worker` is the real one; tests put an echo in its place.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use crate::listener::handshake::Certificate;
use crate::listener::open_connections::OpenConnection;
use crate::serve::seat::Seat;
use crate::serve::stream::Stream;

/// One thread's serving side.
pub trait Serving: 'static {
    /// A certificate to show.
    type Certificate: Certificate + 'static;

    /// On which terms connections from `peer` are taken now. Those that are on their way when their
    /// listener goes are served as it served; `None`: it is closed.
    fn terms(&self, listener: &str, peer: IpAddr) -> Option<Terms>;

    /// Whether this client is a proxy with many clients of its own, so that the bound of one client
    /// does not apply to it.
    fn stands_for_many(&self, client: IpAddr) -> bool;

    /// The certificate for the name that a client asks for (lower case, no trailing dot), or for the address
    /// that it `reached`.
    fn certificate(&self, sni: Option<&Arc<str>>, reached: IpAddr) -> Option<Self::Certificate>;

    /// The settings that prove control over the name in `sni` to a CA that looks now (RFC 8737).
    fn challenge(&self, sni: &str) -> Option<Arc<ServerConfig>>;

    /// Serves a connection to its end.
    fn serve(self: Rc<Self>, arrived: Arrived<Self::Certificate>, stream: Stream)
    -> impl Future<Output = ()>;

    /// Drains the connections of a listener that is gone, also those to come.
    fn retire(&self, listener: &str);

    /// Closes what is left of a retired listener.
    fn close(&self, listener: &str);

    /// Drains every connection, also those to come.
    fn stop(&self);

    /// The deadline of a stop: answers what waits.
    fn abort(&self);

    /// Closes every connection.
    fn cut(&self);

    /// Closes the connections whose seats are wanted.
    fn shed(&self);

    /// Once a second, and a last time before the thread ends.
    fn tick(&self, now: Instant);
}

/// How a listener takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Whether this peer must begin with a PROXY header. One that need not is served as it is: its
    /// header would be bytes like any others, so nobody unlisted can choose an address.
    pub proxy_header: bool,
    /// Until PROXY header and handshake are done, together.
    pub handshake: Duration,
}

/// A connection that may be served.
pub struct Arrived<C> {
    /// The client; with the PROXY protocol, the one that it names.
    pub client: SocketAddr,
    /// The address that the client reached.
    pub local: SocketAddr,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// What the handshake settled, on a TLS listener.
    pub tls: Option<TlsFacts<C>>,
    /// Its slot in the limits and its entry in the thread's count, freed on drop.
    pub permit: OpenConnection,
    /// What those who count connections see of it.
    pub seat: Arc<Seat>,
}

/// What a handshake settled.
pub struct TlsFacts<C> {
    /// The name that the client asked for: lower case, no trailing dot.
    pub sni: Option<Arc<str>>,
    /// Whether HTTP/2 was negotiated.
    pub h2: bool,
    /// The certificate that the client was shown.
    pub served: C,
}
