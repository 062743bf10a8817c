//! What would become of a request: the life of one, without the request.
//!
//! It asks the same tables as `serve::request` does, in the same order. It is given how the upstreams stand, and
//! the time.

mod url;
mod wording;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

use crate::acme::moment::Moment;
use crate::admin::explain::url::Url;
use crate::admin::explain::wording::{action, reason, shown_line, with};
use crate::admin::explanation::{Answered, Explanation, Forwarded, Heard, Rate};
use crate::admin::forecast::{self, Standing};
use crate::config::model::route::{Action, Forward, Route};
use crate::config::model::{Backend, Config, Listener, Site, Upstream};
use crate::http::authority::Authority;
use crate::http::fault::{Fault, Setting};
use crate::http::headers::{self, FramingLines, ToHome};
use crate::matrix::class::Endpoint;
use crate::matrix::secrets;
use crate::route::site::{Matched, SiteTable};
use crate::route::{Host, Table};

/// The client when nobody says who: an address for examples (RFC 5737).
pub const SOMEBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The URL; without a scheme it is https.
    pub url: &'a str,
    /// The method.
    pub method: &'a str,
    /// The client's address.
    pub from: IpAddr,
}

/// What decides.
pub struct World<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Its routes.
    pub routes: &'a Table,
    /// The addresses of each listener.
    pub addresses: &'a [(String, Vec<SocketAddr>)],
    /// How an upstream stands; `None`: that is not known here.
    pub standing: &'a dyn Fn(&str) -> Option<Standing>,
    /// When.
    pub now: Moment,
}

/// A question that can't be answered.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// It is no URL.
    #[error("{0:?} is no URL that porchd can be asked: write https://HOST/PATH")]
    Url(String),
    /// It has a part that is never sent.
    #[error("what follows the # of a URL is never sent: leave it out, or write %23")]
    Fragment,
    /// It is no method.
    #[error("\"{0}\" is no method")]
    Method(String),
}

/// Explains.
///
/// # Errors
/// When it is not a request that is asked about.
pub fn explain(world: &World<'_>, asked: &Asked<'_>) -> Result<Explanation, ExplainError> {
    let method = Method::from_bytes(asked.method.to_ascii_uppercase().as_bytes())
        .map_err(|_| ExplainError::Method(asked.method.to_owned()))?;
    let url = Url::parse(asked.url)?;
    let endpoint = Endpoint::of(&method, url.target());
    let mut told = Explanation {
        method: method.to_string(),
        url: url.shown(),
        from: asked.from.to_canonical(),
        listener: None,
        site: None,
        route: None,
        action: None,
        class: endpoint.class.name().to_owned(),
        matrix: endpoint.matrix,
        rate: rate(world.config, &method, endpoint),
        forward: None,
        answer: Answered { by: "edge".into(), status: None, why: None, waits_ms: None, text: String::new() },
    };
    let request = Request { method: &method, url: &url, endpoint, client: told.from };
    told.answer = match request.life(world, &mut told) {
        Ok(answer) => answer,
        Err((fault, unavailable)) => request.refused(fault, unavailable),
    };
    Ok(told)
}

/// The request that is asked about.
struct Request<'a> {
    method: &'a Method,
    url: &'a Url,
    endpoint: Endpoint,
    client: IpAddr,
}

type Refused = (Fault, StatusCode);

fn plainly(fault: Fault) -> Refused {
    (fault, StatusCode::SERVICE_UNAVAILABLE)
}

impl Request<'_> {
    /// Its life, as far as it gets; `told` takes up what it meets.
    fn life(&self, world: &World<'_>, told: &mut Explanation) -> Result<Answered, Refused> {
        let Some(listener) = self.listener(world) else {
            let kind = if self.url.tls { "TLS" } else { "plain HTTP" };
            return Ok(edge(None, format!("nobody: no listener speaks {kind}")));
        };
        let name = listener.name.clone();
        told.listener = Some(listener);
        let text = self.url.uri.authority().map_or("", |authority| authority.as_str());
        let authority = Authority::parse(text).map_err(|_| plainly(Fault::BadRequest))?;
        let site = match world.routes.host(&name, &authority.host) {
            Some(Host::Site(site)) => site,
            Some(Host::ToHttps { port }) => {
                let port = if port == 443 { String::new() } else { format!(":{port}") };
                let to = format!("https://{}{port}{}", authority.host, secrets::redact(self.url.target()));
                return Ok(edge(Some(301), format!("a redirect to {to}")));
            }
            None => return Err(plainly(Fault::UnknownHost)),
        };
        told.site = Some(site.site.name.to_string());
        if matches!(*self.method, Method::CONNECT | Method::TRACE) {
            return Err(plainly(Fault::MethodRefused));
        }
        let route = self.route(site, told)?;
        if !route.access.as_ref().unwrap_or(&site.site.access).permits(self.client) {
            return Err(plainly(Fault::AddressDenied));
        }
        self.acted(world, &site.site, route, &authority, told)
    }

    /// The listener on the URL's port, else the first that speaks as the URL says.
    fn listener(&self, world: &World<'_>) -> Option<Heard> {
        let speaks = |name: &str| {
            let its = |listener: &&Listener| *listener.name == *name;
            world.config.listeners.iter().find(its).is_some_and(|listener| listener.tls == self.url.tls)
        };
        let mut all = world.addresses.iter().filter(|(name, _)| speaks(name));
        let on_port = |bound: &[SocketAddr]| bound.iter().any(|address| address.port() == self.url.port());
        let found = all.clone().find(|(_, bound)| on_port(bound)).or_else(|| all.next());
        found.map(|(name, bound)| Heard {
            name: name.clone(),
            addresses: bound.iter().map(SocketAddr::to_string).collect(),
            tls: self.url.tls,
            port_matches: on_port(bound),
        })
    }

    fn route<'s>(&self, site: &'s SiteTable, told: &mut Explanation) -> Result<&'s Arc<Route>, Refused> {
        match site.route(self.url.uri.path()) {
            Matched::Route(route) => {
                told.route = Some(route.path.to_string());
                told.action = Some(action(&route.action));
                Ok(route)
            }
            Matched::Denied(route) => {
                told.route = Some(route.path.to_string());
                told.action = Some(action(&Action::Deny));
                Err(plainly(Fault::Denied))
            }
            Matched::Nothing => Err(plainly(Fault::NoRoute)),
        }
    }

    fn acted(
        &self,
        world: &World<'_>,
        site: &Site,
        route: &Route,
        authority: &Authority<'_>,
        told: &mut Explanation,
    ) -> Result<Answered, Refused> {
        match &route.action {
            Action::Deny => Err(plainly(Fault::Denied)),
            Action::Redirect(to) => {
                Ok(edge(Some(to.status.as_u16()), format!("a redirect to {}", with(&route.action))))
            }
            Action::Respond(fixed) => {
                Ok(edge(Some(fixed.status.as_u16()), String::from("the fixed answer of the route")))
            }
            Action::WellKnown(documents) => {
                let document = match self.url.uri.path().strip_prefix("/.well-known/matrix/") {
                    Some("server") => &documents.server,
                    Some("client") => &documents.client,
                    Some("support") => &documents.support,
                    _ => return Err(plainly(Fault::NoRoute)),
                };
                Ok(match document {
                    Some(document) => {
                        let document = String::from_utf8_lossy(document);
                        edge(Some(200), format!("the document {}", document.trim_end()))
                    }
                    None => edge(Some(404), String::from("the configuration has no such document")),
                })
            }
            Action::Files(folder) => Ok(edge(None, format!("a file of {}, or 404", folder.root.display()))),
            Action::Forward(forward) => self.forwarded(world, site, route, (forward, authority), told),
        }
    }

    fn forwarded(
        &self,
        world: &World<'_>,
        site: &Site,
        route: &Route,
        (forward, authority): (&Forward, &Authority<'_>),
        told: &mut Explanation,
    ) -> Result<Answered, Refused> {
        let its = |upstream: &&Upstream| upstream.name == forward.upstream;
        let unavailable = forward.unavailable_status;
        let upstream = world.config.upstreams.iter().find(its).ok_or((Fault::Internal, unavailable))?;
        let budget = upstream.budget(forward, self.endpoint.class);
        let to_home = ToHome {
            host: upstream.host.as_ref().map_or(authority.text.as_bytes(), |host| host.as_bytes()),
            client: self.client,
            proto: if self.url.tls { "https" } else { "http" },
            original_host: authority.text,
            request_id: "a new one, or the client's own",
            edits: [&site.headers.request, &route.headers.request],
            framing: FramingLines::None,
            upgrade: None,
            nominates: false,
        };
        let mut head = Vec::new();
        let target = forward.stripped(self.url.target());
        headers::write_request_head(&mut head, self.method, target.as_bytes(), &HeaderMap::new(), &to_home);
        let head = String::from_utf8_lossy(&head);
        let address = |backend: &Backend| backend.address.to_string();
        told.forward = Some(Forwarded {
            upstream: upstream.name.to_string(),
            backends: upstream.backends.iter().map(address).collect(),
            head: head.lines().filter(|line| !line.is_empty()).map(shown_line).collect(),
            sent_again: self.endpoint.replayable,
            park_ms: millis(budget),
            head_timeout_ms: millis(upstream.head_timeout(self.endpoint)),
        });
        let down = Fault::HomeDown.verdict(self.setting(unavailable)).status;
        Ok(forecast::of(&forecast::Case {
            upstream: &upstream.name,
            standing: (world.standing)(&upstream.name),
            preflight: *self.method == Method::OPTIONS && self.endpoint.matrix,
            budget,
            outage: upstream.park.outage,
            most: u64::from(upstream.park.most),
            refused: (down.as_u16(), Fault::HomeDown.why()),
            now: world.now,
        }))
    }

    fn setting(&self, unavailable: StatusCode) -> Setting {
        Setting { matrix: self.endpoint.matrix, tls: self.url.tls, unavailable }
    }

    fn refused(&self, fault: Fault, unavailable: StatusCode) -> Answered {
        let verdict = fault.verdict(self.setting(unavailable));
        Answered {
            by: "edge".into(),
            status: Some(verdict.status.as_u16()),
            why: Some(fault.why().to_owned()),
            waits_ms: None,
            text: format!("{}: {}", reason(fault), verdict.text),
        }
    }
}

fn edge(status: Option<u16>, text: String) -> Answered {
    Answered { by: "edge".into(), status, why: None, waits_ms: None, text }
}

/// What `limits.rate` says of the class. Preflights are not counted.
fn rate(config: &Config, method: &Method, endpoint: Endpoint) -> Option<Rate> {
    let rate = config.limits.rates.of(endpoint.class).filter(|_| *method != Method::OPTIONS)?;
    Some(Rate { burst: rate.burst, every_ms: millis(rate.every) })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::{Presence, Why};

    const CONFIG: &str = r#"
matrix: { server_name: example.com, host: matrix.example.com, home: "10.77.0.2:8008" }
tls: { internal_ca: true }
limits: { rate: [ { class: login, burst: 10, every: 6s } ] }
upstreams: { jwt: { backends: [ "127.0.0.1:8070" ], response_timeout: 20s } }
sites:
  - hosts: [ example.com ]
    routes:
      - { path: /, files: { root: /var/www/example } }
      - { path: /livekit/jwt/, forward: jwt, strip: /livekit/jwt }
      - { path: /old/, redirect: { to: "https://example.com/new/", status: 301 } }
      - { path: /lan/, respond: { status: 204 }, access: { allow: [ 10.0.0.0/8 ] } }
"#;

    fn ask(method: &str, url: &str, from: &str, standing: Option<Standing>) -> Explanation {
        let config = crate::config::load(CONFIG, "t").unwrap().config;
        let addresses: Vec<_> = config
            .listeners
            .iter()
            .map(|listener| {
                let bound = listener.binds.iter().map(|bind| bind.addr).collect();
                (listener.name.to_string(), bound)
            })
            .collect();
        let world = World {
            config: &config,
            routes: &Table::new(&config),
            addresses: &addresses,
            standing: &|_| standing.clone(),
            now: Moment::parse("2026-11-28T14:04:00Z").unwrap(),
        };
        explain(&world, &Asked { url, method, from: from.parse().unwrap() }).unwrap()
    }

    fn get(url: &str) -> Explanation {
        ask("GET", url, "192.0.2.1", None)
    }

    fn away(since: &str, waiting: u64) -> Option<Standing> {
        let cause = Why { token: "refused".into(), text: "connection refused".into() };
        let (presence, since) = (Presence::Away, Moment::parse(since));
        Some(Standing { presence, since, cause: Some(cause), waiting })
    }

    #[test]
    fn a_request_to_home_is_told_in_full() {
        let told =
            get("https://matrix.example.com/_matrix/client/v3/sync?timeout=30000&since=s1&access_token=x");
        assert_eq!(
            told.url,
            "https://matrix.example.com/_matrix/client/v3/sync?timeout=30000&since=s1&access_token=[redacted]"
        );
        assert_eq!(told.listener.as_ref().unwrap().name, "https");
        assert_eq!(
            (told.site.as_deref(), told.route.as_deref()),
            (Some("matrix.example.com"), Some("/_matrix/"))
        );
        assert_eq!((&*told.class, told.matrix), ("sync", true));
        let forward = told.forward.unwrap();
        assert_eq!((&*forward.upstream, &*forward.backends), ("home", &["10.77.0.2:8008".to_owned()][..]));
        assert_eq!((forward.sent_again, forward.park_ms, forward.head_timeout_ms), (true, 90_000, 90_000));
        assert_eq!(
            forward.head,
            [
                "GET /_matrix/client/v3/sync?timeout=30000&since=s1&access_token=[redacted] HTTP/1.1",
                "Host: matrix.example.com",
                "X-Forwarded-For: 192.0.2.1",
                "X-Forwarded-Proto: https",
                "X-Forwarded-Host: matrix.example.com",
                "X-Request-ID: a new one, or the client's own",
            ]
        );
        assert_eq!(told.answer.by, "unknown");
    }

    #[test]
    fn a_rate_is_told_for_its_class_alone() {
        let rate =
            |method, path| ask(method, &format!("https://matrix.example.com{path}"), "192.0.2.1", None).rate;
        let login = "/_matrix/client/v3/login";
        assert_eq!(rate("POST", login), Some(Rate { burst: 10, every_ms: 6000 }));
        assert_eq!((rate("OPTIONS", login), rate("GET", "/_matrix/client/v3/sync")), (None, None));
    }

    #[test]
    fn what_is_answered_right_now_follows_homes_health() {
        let url = "https://matrix.example.com/_matrix/client/v3/rooms/x/send/y/1";
        let up = Standing { presence: Presence::Up, cause: None, ..away("2026-11-27T14:02:00Z", 0).unwrap() };
        let table = [
            ("PUT", url, Some(up), "home is up since 2026-11-27 14:02 UTC: it is asked at once", None),
            (
                "PUT",
                url,
                away("2026-11-28T14:02:00Z", 0),
                "home is away since 14:02 UTC (connection refused): this request would wait up to 90 s, then be \
                 answered 503",
                Some(90_000),
            ),
            (
                "GET",
                url,
                away("2026-11-28T13:02:00Z", 0),
                "home is away since 13:02 UTC (connection refused): this request would wait up to 3 s, since the \
                 outage is long, then be answered 503",
                Some(3_000),
            ),
            (
                "GET",
                url,
                away("2026-11-28T14:02:00Z", 1024),
                "home is away since 14:02 UTC (connection refused), and all 1024 places to wait in are taken: 503 \
                 at once",
                None,
            ),
            (
                "OPTIONS",
                url,
                away("2026-11-28T14:02:00Z", 0),
                "home is away since 14:02 UTC (connection refused): porchd answers this question of CORS itself",
                None,
            ),
            (
                "GET",
                "https://example.com/livekit/jwt/x",
                away("2026-11-28T14:02:00Z", 0),
                "jwt is away since 14:02 UTC (connection refused): this request would be answered 503 at once",
                None,
            ),
        ];
        for (method, url, standing, text, waits) in table {
            let told = ask(method, url, "192.0.2.1", standing);
            assert_eq!((&*told.answer.text, told.answer.waits_ms), (text, waits), "{method} {url}");
        }
    }

    #[test]
    fn what_does_not_go_home_says_who_answers() {
        for (url, does, status, why, text) in [
            ("https://example.com/", "files", None, None, "a file of /var/www/example, or 404"),
            ("example.com/old/x", "redirect", Some(301), None, "a redirect to https://example.com/new/"),
            ("https://example.com/lan/", "respond", Some(403), Some("address-denied"), "access list"),
            (
                "https://matrix.example.com/_synapse/admin/v1/users",
                "deny",
                Some(404),
                Some("denied"),
                "denies",
            ),
            (
                "https://example.com/.well-known/matrix/server",
                "well-known",
                Some(200),
                None,
                "matrix.example.com:443",
            ),
            ("https://evil.test/", "", Some(421), Some("unknown-host"), "no site of this listener"),
            ("http://example.com/x?code=y", "", Some(301), None, "to https://example.com/x?code=[redacted]"),
        ] {
            let told = get(url);
            let done = told.action.map_or(String::new(), |action| action.does);
            assert_eq!(
                (&*done, told.answer.status, told.answer.why.as_deref()),
                (does, status, why),
                "{url}"
            );
            assert!(told.answer.text.contains(text), "{url}: {}", told.answer.text);
            assert_eq!(told.answer.by, "edge");
        }
        let inside = ask("GET", "https://example.com/lan/", "10.1.2.3", None);
        assert_eq!(inside.answer.status, Some(204));
    }

    #[test]
    fn a_prefix_is_stripped_and_the_operators_time_is_taken() {
        let forward = get("https://example.com/livekit/jwt/sfu/get").forward.unwrap();
        assert_eq!(forward.head[0], "GET /sfu/get HTTP/1.1");
        assert_eq!((forward.head_timeout_ms, forward.park_ms), (20_000, 0));
    }

    #[test]
    fn the_port_leads_to_the_listener() {
        let heard = |url| get(url).listener.map(|listener| (listener.name, listener.port_matches)).unwrap();
        assert_eq!(heard("https://matrix.example.com:8448/"), ("federation".into(), true));
        assert_eq!(heard("https://matrix.example.com:9/"), ("https".into(), false));
        assert_eq!(heard("http://matrix.example.com/"), ("http".into(), true));
    }

    #[test]
    fn what_is_no_request_is_told() {
        let config = crate::config::load(CONFIG, "t").unwrap().config;
        let world = World {
            config: &config,
            routes: &Table::new(&config),
            addresses: &[],
            standing: &|_| None,
            now: Moment::parse("2026-11-28T14:04:00Z").unwrap(),
        };
        let told = |method, url| match explain(&world, &Asked { url, method, from: SOMEBODY }) {
            Ok(told) => told.answer.text,
            Err(error) => error.to_string(),
        };
        assert!(told("GET", "/_matrix/x").contains("is no URL"));
        assert!(told("GET", "ftp://example.com/").contains("is no URL"));
        // Nothing that a terminal would obey.
        assert!(told("GET", "example.com/\u{9e}").starts_with("\"example.com/\\u{9e}\" is no URL"));
        assert!(told("GET", "https://example.com/#a").contains("never sent"));
        assert!(told("G T", "https://example.com/").contains("is no method"));
        assert_eq!(told("get", "https://example.com/"), "nobody: no listener speaks TLS");
    }
}
