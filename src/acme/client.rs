//! HTTPS to one CA, bounded in time and size; what an answer says beside its body is remembered.
//!
//! It repeats nothing and judges nothing: `problem` makes failures of errors, `patience` repeats.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::acme::answer::Seen;
use crate::acme::dial::{self, DialError};
use crate::acme::failure::{Failure, Kind};
use crate::tls::{pem, provider};

/// From the first packet to the last byte of the body.
const REQUEST: Duration = Duration::from_secs(30);

/// For the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The largest body that is taken. Chains have a few KiB; directories and orders less.
const LARGEST: usize = 1024 * 1024;

/// How long a connection may rest and still be used: shorter than any server keeps one.
const REST: Duration = Duration::from_secs(10);

const AGENT: &str = concat!("porchd/", env!("CARGO_PKG_VERSION"), " instant-acme");

/// A client of one CA; clones are the same one.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    tls: TlsConnector,
    // Whether `ca_file` says whom to trust.
    own_roots: bool,
    idle: Mutex<Option<Idle>>,
    seen: Mutex<Seen>,
}

/// A connection that waits for the next request.
struct Idle {
    target: Target,
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

#[derive(Clone, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
}

/// A request that got no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The CA's directory names something else than an https URL.
    #[error("{0} is not an https address")]
    Address(String),
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The TLS handshake failed.
    #[error("TLS with {host}: {}", tls_words(source, *own_roots))]
    Tls {
        /// Who was spoken to.
        host: String,
        /// Whether `ca_file` says whom to trust.
        own_roots: bool,
        /// Why.
        source: std::io::Error,
    },
    /// The TLS handshake took too long.
    #[error("TLS with {host}: no answer within {} s", HANDSHAKE.as_secs())]
    TlsSlow {
        /// Who was spoken to.
        host: String,
    },
    /// The connection ended before the answer began, or the answer is no HTTP.
    #[error("{}", hyper_words(.0))]
    Lost(#[source] hyper::Error),
    /// The body broke off.
    #[error("the answer breaks off")]
    CutShort,
    /// The body is too large.
    #[error("the answer is larger than {} KiB", LARGEST / 1024)]
    TooLarge,
    /// The answer did not come in time.
    #[error("no answer within {} s", REQUEST.as_secs())]
    Slow,
}

impl RequestError {
    /// Whether it failed before anything was asked.
    pub fn is_unreached(&self) -> bool {
        matches!(self, Self::Address(_) | Self::Dial(_) | Self::Tls { .. } | Self::TlsSlow { .. })
    }
}

fn tls_words(error: &std::io::Error, own_roots: bool) -> String {
    use rustls::CertificateError as Certificate;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        // One of the same name with another key is a CA that was made anew.
        Some(rustls::Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature)) => {
            match own_roots {
                true => "its certificate is not signed by what `ca_file` holds".to_owned(),
                false => {
                    "its certificate is signed by nobody known; for a CA of your own set `ca_file`".to_owned()
                }
            }
        }
        Some(rustls::Error::InvalidCertificate(
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. },
        )) => "its certificate is not valid at this time; is this machine's clock right?".to_owned(),
        Some(rustls::Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        )) => "its certificate is for another name".to_owned(),
        Some(other) => other.to_string(),
        None => dial::words(error),
    }
}

fn hyper_words(error: &hyper::Error) -> &'static str {
    if error.is_parse() { "the answer is not HTTP" } else { "the connection ended before the answer" }
}

impl Client {
    /// A client that trusts `ca_pem`, or the public roots. `authority` is for the error.
    pub fn new(authority: &str, ca_pem: Option<&[u8]>) -> Result<Self, Failure> {
        let tls = match ca_pem {
            None => {
                let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
                settings(roots).map_err(|error| error.to_string())
            }
            Some(pem) => own_roots(pem).and_then(|roots| settings(roots).map_err(|error| error.to_string())),
        };
        let tls = tls.map_err(|reason| Failure {
            kind: Kind::Local,
            retry_after: None,
            text: format!("`ca_file` of {authority}: {reason}"),
        })?;
        let (idle, seen) = (Mutex::default(), Mutex::default());
        let own_roots = ca_pem.is_some();
        Ok(Self(Arc::new(Shared { tls: TlsConnector::from(Arc::new(tls)), own_roots, idle, seen })))
    }

    /// What the last answer said. Orders share a client: it is one's own until one waits for something else.
    pub fn seen(&self) -> Seen {
        lock(&self.0.seen).clone()
    }

    /// Sends `request` (absolute https URL) and reads the whole answer, whatever its status.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, RequestError> {
        let mut seen = Seen::default();
        let answer = timeout(REQUEST, self.exchange(request, &mut seen)).await;
        // Only now: what another order was answered meanwhile must not be taken for this one's.
        *lock(&self.0.seen) = seen;
        answer.unwrap_or(Err(RequestError::Slow))
    }

    async fn exchange(
        &self,
        request: Request<Bytes>,
        seen: &mut Seen,
    ) -> Result<Response<Bytes>, RequestError> {
        let target = Target::of(request.uri())?;
        let mut request = request_line_for(request, &target)?;
        if let Some(mut sender) = self.rested(&target).await {
            match sender.try_send_request(request).await {
                Ok(response) => return self.read(response, sender, target, seen).await,
                Err(mut error) => match error.take_message() {
                    // Nothing of it was written: the server had closed the connection.
                    Some(unsent) => request = unsent,
                    None => return Err(RequestError::Lost(error.into_error())),
                },
            }
        }
        let mut sender = self.connect(&target).await?;
        let response = sender.send_request(request).await.map_err(RequestError::Lost)?;
        self.read(response, sender, target, seen).await
    }

    async fn rested(&self, target: &Target) -> Option<SendRequest<Full<Bytes>>> {
        let idle = lock(&self.0.idle).take()?;
        let rested = crate::clock::now().saturating_duration_since(idle.since);
        if idle.target != *target || rested >= REST {
            return None;
        }
        let mut sender = idle.sender;
        sender.ready().await.ok()?;
        Some(sender)
    }

    async fn connect(&self, target: &Target) -> Result<SendRequest<Full<Bytes>>, RequestError> {
        let host = || target.host.clone();
        let name = ServerName::try_from(host()).map_err(|_| RequestError::Address(host()))?;
        let stream = dial::connect(&target.host, target.port).await?;
        let stream = match timeout(HANDSHAKE, self.0.tls.connect(name, stream)).await {
            Err(_) => return Err(RequestError::TlsSlow { host: host() }),
            Ok(Err(source)) => {
                return Err(RequestError::Tls { host: host(), own_roots: self.0.own_roots, source });
            }
            Ok(Ok(stream)) => stream,
        };
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(RequestError::Lost)?;
        // It ends when its sender is dropped; how it ends is told there.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        sender: SendRequest<Full<Bytes>>,
        target: Target,
        seen: &mut Seen,
    ) -> Result<Response<Bytes>, RequestError> {
        let (parts, body) = response.into_parts();
        *seen = Seen::of(parts.status, &parts.headers, crate::clock::wall());
        let body = Limited::new(body, LARGEST).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { RequestError::TooLarge } else { RequestError::CutShort }
        })?;
        *lock(&self.0.idle) = Some(Idle { target, sender, since: crate::clock::now() });
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_or_else(|never| match never {}, |body| body.to_bytes());
            let answer = client.send(Request::from_parts(parts, body)).await;
            match answer {
                Ok(response) => Ok(BytesResponse::from(response.map(Full::new))),
                Err(error) => Err(instant_acme::Error::Other(Box::new(error))),
            }
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("seen", &self.seen()).finish_non_exhaustive()
    }
}

impl Target {
    fn of(uri: &Uri) -> Result<Self, RequestError> {
        let wrong = || RequestError::Address(uri.to_string());
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(wrong)?;
        let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        Ok(Self { host: literal.unwrap_or(host).to_owned(), port: uri.port_u16().unwrap_or(443) })
    }
}

/// The same request with the path alone in its first line, and who is asked in `Host` (RFC 9112 section 3.2).
fn request_line_for(request: Request<Bytes>, target: &Target) -> Result<Request<Full<Bytes>>, RequestError> {
    let wrong = || RequestError::Address(target.host.clone());
    let (mut parts, body) = request.into_parts();
    let host = parts.uri.authority().ok_or_else(wrong)?;
    let host = HeaderValue::from_str(host.as_str()).map_err(|_| wrong())?;
    parts.headers.insert(HOST, host);
    parts.headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let path = parts.uri.path_and_query().cloned().ok_or_else(wrong)?;
    parts.uri = Uri::from(path);
    Ok(Request::from_parts(parts, Full::new(body)))
}

fn own_roots(file: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::chain(file).map_err(|error| error.to_string())? {
        roots
            .add(certificate)
            .map_err(|error| format!("holds a certificate that cannot be a root: {error}"))?;
    }
    Ok(roots)
}

fn settings(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::acme::fake::{Fake, Fault};
    use crate::acme::moment::Moment;

    fn client(fake: &Fake) -> Client {
        Client::new("fake", Some(fake.root.as_bytes())).unwrap()
    }

    async fn asked(client: &Client, fake: &Fake) -> Result<Response<Bytes>, RequestError> {
        client.send(Request::get(&*fake.authority.directory).body(Bytes::new()).unwrap()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_used_again_while_it_is_fresh() {
        let fake = Fake::start().await;
        let client = client(&fake);
        for _ in 0..3 {
            asked(&client, &fake).await.unwrap();
        }
        assert_eq!(fake.state().connections, 1);
        tokio::time::advance(REST).await;
        asked(&client, &fake).await.unwrap();
        assert_eq!(fake.state().connections, 2);
        fake.fault("directory", Fault::Last);
        asked(&client, &fake).await.unwrap();
        asked(&client, &fake).await.unwrap();
        assert_eq!(fake.state().connections, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_answer_says_is_seen_until_the_next_question() {
        let fake = Fake::start().await;
        let client = client(&fake);
        fake.fault("directory", Fault::Page(503, "Fri, 31 Dec 2100 23:59:59 GMT"));
        asked(&client, &fake).await.unwrap();
        let seen = client.seen();
        assert_eq!(seen.status, Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(seen.retry_after, Moment::parse("2100-12-31T23:59:59Z"));
        assert!(seen.is_page());
        fake.fault("directory", Fault::Reset);
        asked(&client, &fake).await.unwrap_err();
        assert_eq!(client.seen(), Seen::default());
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_question_is_answered_meanwhile_is_not_ones_own() {
        let fake = Fake::start().await;
        let client = client(&fake);
        fake.fault("directory", Fault::Hang);
        let unanswered = async {
            asked(&client, &fake).await.unwrap_err();
            client.seen()
        };
        let answered = async {
            while fake.state().faults.len() == 1 {
                tokio::task::yield_now().await;
            }
            fake.fault("directory", Fault::Page(503, "120"));
            asked(&client, &fake).await.unwrap();
            client.seen().status
        };
        let seen = tokio::join!(unanswered, answered);
        assert_eq!(seen, (Seen::default(), Some(StatusCode::SERVICE_UNAVAILABLE)));
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_and_waits_have_an_end() {
        let fake = Fake::start().await;
        let client = client(&fake);
        let begin = crate::clock::now();
        fake.fault("directory", Fault::Huge);
        let told = asked(&client, &fake).await.unwrap_err().to_string();
        assert_eq!(told, "the answer is larger than 1024 KiB");
        fake.fault("directory", Fault::Hang);
        assert_eq!(asked(&client, &fake).await.unwrap_err().to_string(), "no answer within 30 s");
        let spent = crate::clock::now().saturating_duration_since(begin);
        assert!(spent >= REQUEST && spent < REQUEST * 2, "{spent:?}");
    }
}
