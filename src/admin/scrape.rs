//! Answers `GET /metrics` on an address of its own, on the runtime of the control thread.
//!
//! It is given a socket that listens. One connection, one answer: readers come every few seconds at most.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener as SystemListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use crate::admin::exposition::Format;
use crate::admin::metrics::{self, Sources};
use crate::clock;
use crate::listener::backoff::{Backoff, Next};
use crate::telemetry::limited::Limited;

/// An address that is served. Dropped, it accepts no more; who was accepted still gets an answer.
#[derive(Debug)]
pub struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Serves `listener`. To be called inside a runtime of one thread that can spawn locally.
pub fn serve(listener: SystemListener, sources: Rc<Sources>) -> io::Result<Server> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    Ok(Server(spawn_local(accept(listener, sources))))
}

async fn accept(listener: TcpListener, sources: Rc<Sources>) {
    let places = Arc::new(Semaphore::new(MOST_READERS));
    let (mut backoff, failing) = (Backoff::default(), Limited::new(TELL_EVERY));
    // Who finds no place waits in the kernel's backlog. Nobody closes the semaphore.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((client, _)) => {
                backoff.succeeded();
                spawn_local(answer(client, sources.clone(), place));
            }
            Err(error) => {
                if let Next::After(pause) = backoff.failed(&error) {
                    if failing.allows(clock::now()) {
                        tracing::warn!(%error, "admin.metrics cannot accept readers");
                    }
                    sleep(pause).await;
                }
            }
        }
    }
}

/// Answers one request, if it comes in time.
async fn answer(client: TcpStream, sources: Rc<Sources>, _place: OwnedSemaphorePermit) {
    let service = service_fn(|request: Request<_>| {
        let response = respond(&request, &sources);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .header_read_timeout(None)
        .max_buf_size(MOST_BUFFERED)
        .serve_connection(TokioIo::new(client), service);
    // Readers come and go as they like.
    if let Ok(Err(error)) = timeout(PATIENCE, connection).await {
        tracing::debug!(%error, "a reader of admin.metrics has left");
    }
}

fn respond<B>(request: &Request<B>, sources: &Sources) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "Figures are at /metrics.\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Figures can only be read.\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let accept = request.headers().get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::of(&accept.collect::<Vec<_>>().join(","));
    let mut response = Response::new(Full::from(metrics::text(sources, format, clock::now())));
    let kind = HeaderValue::from_static(format.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Connections at once: a Prometheus or two, and whoever looks.
const MOST_READERS: usize = 8;
/// For the request and for taking the answer, together.
const PATIENCE: Duration = Duration::from_secs(10);
/// hyper's least.
const MOST_BUFFERED: usize = 8 * 1024;
/// Between two warnings that accepting fails.
const TELL_EVERY: Duration = Duration::from_secs(60);
