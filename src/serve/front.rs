//! hyper's two fronts, and how the worker's orders reach them.
//!
//! This is the only file that knows hyper's connection types. hyper answers what it can't parse by
//! itself (400, 414, 431); which ambiguities it hides, and what is done about them, is decision record
//! 0002.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWrite;

use crate::handler::upgrade;
use crate::http::body::RequestBody;
use crate::http::fault::Fault;
use crate::serve::arrival::{Arrival, Switch};
use crate::serve::connection::Arrived;
use crate::serve::held_timer::HeldTimer;
use crate::serve::lines;
use crate::serve::linger;
use crate::serve::order::Order;
use crate::serve::outgoing::Outgoing;
use crate::serve::progress::Progress;
use crate::serve::request;
use crate::serve::stream::Stream;
use crate::serve::streams::Streams;
use crate::serve::watched::Watched;
use crate::serve::worker::Worker;

/// Most bytes of a request's head, on both fronts.
const HEAD_BYTES: usize = 64 * 1024;
/// What hyper may hold of one HTTP/1 answer that its client does not take.
const H1_BUFFER: usize = 64 * 1024;
/// Streams of one HTTP/2 connection at a time.
const H2_STREAMS: u32 = 128;
/// Window of one stream: what an upload has in flight while home is slower than its client.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
/// Window of a connection: several streams', so that one slow upload does not stall the others.
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of answers that are buffered for one stream; all streams of a connection together: `shares`.
const H2_SEND_BUFFER: usize = 64 * 1024;
/// Streams that were reset before hyper looked at them (rapid reset, CVE-2023-44487).
const H2_RESET_PENDING: usize = 32;
/// Streams that we reset ourselves in answer to errors (made-you-reset, CVE-2025-8671).
const H2_RESET_LOCAL: usize = 256;
/// How often a silent HTTP/2 client is asked whether it is still there, and how long it may take.
const H2_PING: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// Serves HTTP/1.1 and 1.0, with upgrades.
pub(super) async fn http1(
    worker: Rc<Worker>,
    arrived: Rc<Arrived>,
    progress: Rc<Progress>,
    io: Watched<Stream>,
) {
    while request_comes(&io, &progress).await {
        // Boxed: what hyper needs is held while there are requests, not while the connection idles.
        if !Box::pin(while_busy(worker.clone(), arrived.clone(), progress.clone(), &io)).await {
            return;
        }
    }
}

/// Waits for the head of a request. False: the connection is over, and the client was told.
async fn request_comes(io: &Watched<Stream>, progress: &Progress) -> bool {
    let comes = poll_fn(|cx| {
        progress.watch(cx.waker());
        if progress.order() == Order::Close {
            return Poll::Ready(false);
        }
        // What has come by now is answered in any case.
        match (io.poll_head(cx), progress.order()) {
            (Poll::Ready(head), _) => Poll::Ready(matches!(head, Ok(true))),
            (Poll::Pending, Order::Finish | Order::Close) => Poll::Ready(false),
            (Poll::Pending, Order::Drain) if !progress.may_still_ask() => Poll::Ready(false),
            // `Retire` leaves an idle client alone: it may be sending at this moment.
            (Poll::Pending, Order::Drain | Order::Retire | Order::Serve) => Poll::Pending,
        }
    })
    .await;
    progress.rouse();
    if !comes {
        poll_fn(|cx| match progress.poll_closed(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            // A client that is gone need not be told.
            Poll::Pending => Pin::new(&mut io.clone()).poll_shutdown(cx).map(drop),
        })
        .await;
    }
    comes
}

/// Has hyper answer requests until the connection is over (false), or rests.
async fn while_busy(
    worker: Rc<Worker>,
    arrived: Rc<Arrived>,
    progress: Rc<Progress>,
    io: &Watched<Stream>,
) -> bool {
    let switch = Rc::new(Switch::default());
    let whose = arrived.clone();
    let service = service(worker.clone(), arrived, progress.clone(), switch.clone());
    let mut connection = hyper::server::conn::http1::Builder::new()
        // Not that a client which leaves would be waited for: `poll_gone` looks for it.
        .half_close(true)
        // `Progress` keeps both clocks: hyper's one would close idle keep-alive connections.
        .header_read_timeout(None)
        .max_buf_size(H1_BUFFER)
        .max_header_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(io.clone()), service);
    let rests = poll_fn(|cx| {
        progress.watch(cx.waker());
        match progress.order() {
            Order::Close => return Poll::Ready(false),
            // An idle connection closes, one in use says `Connection: close` with its answer (`must_close`).
            // hyper would not look at a head that is there already.
            Order::Finish | Order::Drain if progress.may_be_shut() => {
                Pin::new(&mut connection).graceful_shutdown();
            }
            Order::Retire | Order::Serve if progress.may_rest() => return Poll::Ready(true),
            Order::Finish | Order::Drain | Order::Retire | Order::Serve => {}
        }
        match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Err(error)) if let Some(fault) = answered_by_hyper(&error) => {
                lines::unreadable(&worker, &whose, fault);
                Poll::Ready(false)
            }
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending if progress.may_rest() => Poll::Ready(true),
            Poll::Pending if io.has_left() => Poll::Ready(false),
            Poll::Pending => io.poll_gone(cx).map(|()| false),
        }
    })
    .await;
    let parts = connection.into_parts();
    let (mut client, early) = (parts.io.into_inner(), parts.read_buf);
    if rests {
        client.unread(&early);
        return true;
    }
    let closed = poll_fn(|cx| progress.poll_closed(cx));
    if let Some(home) = switch.take() {
        progress.tunnelled();
        let idle = worker.snapshot().config.limits.tunnel_idle;
        Box::pin(upgrade::tunnel(client, &early, home, idle, closed)).await;
    } else if progress.is_cut_off() {
        Box::pin(linger::linger(&mut client, closed)).await;
    }
    false
}

/// What hyper answered by itself: a head that it can't parse never becomes a request.
fn answered_by_hyper(error: &hyper::Error) -> Option<Fault> {
    match error.is_parse() {
        true if error.is_parse_too_large() => Some(Fault::HeadTooLarge),
        // The preface of HTTP/2 where nobody agreed on it gets no answer at all.
        true if !error.is_parse_version_h2() => Some(Fault::BadRequest),
        _ => None,
    }
}

/// Serves HTTP/2.
pub(super) async fn http2(
    worker: Rc<Worker>,
    arrived: Rc<Arrived>,
    progress: Rc<Progress>,
    io: Watched<Stream>,
) {
    let service = service(worker.clone(), arrived, progress.clone(), Rc::default());
    let streams = Streams::new();
    let connection = hyper::server::conn::http2::Builder::new(streams.starter())
        .timer(HeldTimer::new())
        .max_concurrent_streams(H2_STREAMS)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buf_size(H2_SEND_BUFFER)
        .max_header_list_size(HEAD_BYTES as u32)
        .max_pending_accept_reset_streams(H2_RESET_PENDING)
        .max_local_error_reset_streams(H2_RESET_LOCAL)
        .keep_alive_interval(H2_PING.0)
        .keep_alive_timeout(H2_PING.1)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    poll_fn(|cx| {
        progress.watch(cx.waker());
        match progress.order() {
            Order::Serve => {}
            Order::Close => return Poll::Ready(()),
            // GOAWAY lets a client finish its streams and open a new connection for the next ones.
            // GOAWAY would refuse a first request that is on its way: it is told with the answer to that.
            Order::Retire | Order::Drain if progress.may_still_ask() => {}
            Order::Retire | Order::Drain | Order::Finish => {
                if progress.say_goodbye(worker.now()) {
                    connection.as_mut().graceful_shutdown();
                    streams.rouse_connection();
                }
            }
        }
        streams.poll(cx, |cx| connection.as_mut().poll(cx).map(drop))
    })
    .await;
}

/// What hyper calls for each request of a connection.
fn service(
    worker: Rc<Worker>,
    arrived: Rc<Arrived>,
    progress: Rc<Progress>,
    switch: Rc<Switch>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Outgoing>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Outgoing>, Infallible>> + 'static,
> {
    service_fn(move |request: Request<Incoming>| {
        let arrival = Arrival::begin(&worker, &arrived, &progress, &switch);
        let patience = arrival.body_progress();
        let request = request.map(|body| RequestBody::new(body, patience));
        // Boxed: hyper keeps room for it on every connection, and h2 moves it about.
        Box::pin(request::answer(arrival, request))
    })
}
