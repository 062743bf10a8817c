//! A stand-in for home: enough of a homeserver to see the porch work, for `porchd demo` alone.
//!
//! It keeps nothing and knows nobody. It answers `/health`, `versions`, a `/sync` that waits, and says
//! of everything else that it is unknown, in Matrix's words.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

/// Starts the stand-in on a thread of its own and tells its address.
///
/// # Errors
/// When loopback has no free port or no thread can be started.
pub(super) fn start() -> std::io::Result<SocketAddr> {
    let socket = TcpListener::bind(("127.0.0.1", 0))?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    std::thread::Builder::new().name("stand-in home".into()).spawn(move || serve(socket))?;
    Ok(address)
}

fn serve(socket: TcpListener) {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = built else { return };
    runtime.block_on(async {
        let Ok(listener) = tokio::net::TcpListener::from_std(socket) else { return };
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            tokio::spawn(async move {
                let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
                // A client that goes away is nothing to tell.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let received = body.collect().await.map_or(0, |body| body.to_bytes().len());
    let query = parts.uri.query().unwrap_or_default();
    match (&parts.method, parts.uri.path()) {
        (_, "/health") => reply(StatusCode::OK, "text/plain", "OK".into()),
        (&Method::GET, "/_matrix/client/versions") => {
            json(StatusCode::OK, r#"{"versions":["v1.1","v1.11"],"unstable_features":{}}"#.into())
        }
        (&Method::GET, "/_matrix/federation/v1/version") => {
            json(StatusCode::OK, r#"{"server":{"name":"porchd's stand-in home","version":"0"}}"#.into())
        }
        (&Method::GET, "/_matrix/client/v3/sync") => {
            tokio::time::sleep(poll_time(query)).await;
            json(StatusCode::OK, r#"{"next_batch":"s1"}"#.into())
        }
        (&Method::PUT | &Method::POST, path) if path.starts_with("/_matrix/") => {
            json(StatusCode::OK, format!(r#"{{"received_bytes":{received}}}"#))
        }
        _ => json(
            StatusCode::NOT_FOUND,
            r#"{"errcode":"M_UNRECOGNIZED","error":"the stand-in home does not know this"}"#.into(),
        ),
    }
}

/// The `timeout` of a `/sync`, at most 30 s.
fn poll_time(query: &str) -> Duration {
    let values: HashMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let wanted = values.get("timeout").and_then(|value| value.parse().ok()).unwrap_or(0);
    Duration::from_millis(wanted).min(Duration::from_secs(30))
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    reply(status, "application/json", body)
}

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, http::HeaderValue::from_static("*"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_waits_as_long_as_asked_and_no_longer_than_half_a_minute() {
        assert_eq!(poll_time("since=s1&timeout=1500"), Duration::from_millis(1500));
        assert_eq!(poll_time("timeout=99999999"), Duration::from_secs(30));
        assert_eq!(poll_time("timeout=x"), Duration::ZERO);
    }
}
