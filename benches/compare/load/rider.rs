//! A kept connection and the request that goes over it, again and again.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::client::Dialer;
use crate::wire::Wire;

/// One connection.
pub(crate) struct Rider {
    wire: Wire<TlsStream<TcpStream>>,
    dialer: Dialer,
    request: Arc<[u8]>,
    number: usize,
}

impl Rider {
    /// One request; a connection that is lost by it is opened anew for the next.
    pub(crate) async fn ask(&mut self) -> io::Result<()> {
        let asked = self.wire.ask(&self.request).await;
        if asked.is_err()
            && let Ok(stream) = self.dialer.dial(self.number).await
        {
            self.wire = Wire::new(stream);
        }
        match asked?.status {
            200 => Ok(()),
            status => Err(io::Error::other(format!("status {status}"))),
        }
    }
}

/// Opens so many connections, some at a time, with one request on each.
pub(crate) async fn open(dialer: &Dialer, request: &Arc<[u8]>, count: usize) -> io::Result<Vec<Rider>> {
    let turns = Arc::new(Semaphore::new(TOGETHER));
    let mut opened = JoinSet::new();
    for number in 0..count {
        let (dialer, request, turns) = (dialer.clone(), Arc::clone(request), Arc::clone(&turns));
        opened.spawn(async move {
            let _turn = turns.acquire().await.map_err(io::Error::other)?;
            let mut rider = Rider { wire: Wire::new(dialer.dial(number).await?), dialer, request, number };
            rider.ask().await.map(|()| rider)
        });
    }
    let mut riders = Vec::with_capacity(count);
    while let Some(rider) = opened.join_next().await {
        riders.push(rider.map_err(io::Error::other)??);
    }
    Ok(riders)
}

/// Handshakes at a time.
const TOGETHER: usize = 64;
