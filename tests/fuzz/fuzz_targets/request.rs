//! Any bytes as what a client sends: no panic, the pieces in which they come make no difference, what is not flagged
//! is understood by the front's parser in the same way, and what goes home says one thing alone.

#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;

use house::config::model::Edits;
use house::http::authority::{self, Authority};
use house::http::forwarded;
use house::http::headers::{self, FramingLines, ToHome};
use house::http::scan::{Body, HeadScanner, Scan};
use house::http::survey::Survey;
use house::http::watch::Watch;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

static TRUSTED: LazyLock<Vec<IpNet>> =
    LazyLock::new(|| ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network")).to_vec());

fuzz_target!(|input: &[u8]| {
    let Some((step, bytes)) = input.split_first() else { return };
    let step = usize::from(*step).max(1);
    let whole = scan(bytes, bytes.len().max(1));
    assert_eq!(scan(bytes, step), whole);
    assert_eq!(watch(bytes, step), watch(bytes, bytes.len().max(1)));
    if let Some(head) = Head::parsed(bytes) {
        head.agrees_with(whole);
        head.is_forwarded_as_one_thing();
        believes_no_stranger(&head.headers);
    }
});

fn scan(bytes: &[u8], step: usize) -> Option<(usize, String, Body)> {
    let (mut scanner, mut before) = (HeadScanner::new(), 0);
    for piece in bytes.chunks(step) {
        if let Scan::Complete { used, flags, body } = scanner.feed(piece) {
            return Some((before + used, flags.to_string(), body));
        }
        before += piece.len();
    }
    None
}

fn watch(bytes: &[u8], step: usize) -> (u64, String, String) {
    let mut watch = Watch::new();
    bytes.chunks(step).for_each(|piece| watch.feed(piece));
    (watch.heads(), watch.flags(u64::MAX).to_string(), format!("{:?}", watch.phase()))
}

/// A head as the front's parser understands it.
struct Head {
    used: usize,
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

impl Head {
    fn parsed(bytes: &[u8]) -> Option<Self> {
        let mut lines = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut lines);
        let Ok(httparse::Status::Complete(used)) = request.parse(bytes) else { return None };
        let mut headers = HeaderMap::new();
        for line in request.headers.iter() {
            let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_bytes(line.value).ok()?);
        }
        let version = if request.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
        let (method, uri) = (request.method?.parse().ok()?, request.path?.parse().ok()?);
        Some(Self { used, method, uri, version, headers })
    }

    fn agrees_with(&self, scanned: Option<(usize, String, Body)>) {
        let (used, flags, body) = scanned.expect("the scanner misses the end of a head");
        if !flags.is_empty() {
            return;
        }
        assert_eq!(used, self.used);
        let Ok(survey) = Survey::of(self.version, &self.headers) else { return };
        let length = self.headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
        assert_eq!(survey.content_length, length.is_some());
        assert_eq!(survey.host, self.headers.contains_key("host"));
        match body {
            Body::Chunked => assert!(length.is_none() && self.headers.contains_key("transfer-encoding")),
            Body::Length(measured) => {
                assert!(!self.headers.contains_key("transfer-encoding"));
                assert_eq!(measured, length.unwrap_or(0));
            }
        }
    }

    fn is_forwarded_as_one_thing(&self) {
        let Ok(survey) = Survey::of(self.version, &self.headers) else { return };
        let Ok(Some(host)) = authority::of_request(self.version, &self.uri, &self.headers) else { return };
        let Ok(target) = authority::target(&self.method, &self.uri) else { return };
        assert_eq!(Authority::parse(&host.host).expect("a normal host").host, host.host);
        let upgrade = headers::upgrade(self.version, &self.headers);
        let none = Edits::default();
        let to_home = ToHome {
            host: host.text.as_bytes(),
            client: CLIENT,
            proto: "https",
            original_host: host.text,
            request_id: headers::request_id(&self.headers).and_then(|id| id.to_str().ok()).unwrap_or("new"),
            edits: [&none, &none],
            framing: FramingLines::Length(7),
            upgrade,
            nominates: survey.connection,
        };
        let mut out = Vec::new();
        headers::write_request_head(&mut out, &self.method, target.as_bytes(), &self.headers, &to_home);
        let (used, flags, body) = scan(&out, out.len()).expect("a whole head");
        assert_eq!((used, flags.as_str(), body), (out.len(), "", Body::Length(7)));
        let home = Self::parsed(&[&out[..], b"GET"].concat()).expect("what home understands");
        assert_eq!((home.used, &home.method, home.version), (out.len(), &self.method, Version::HTTP_11));
        assert_eq!(home.uri.path_and_query().map(|target| target.as_str()), Some(target));
        let count = |name: &str| home.headers.get_all(name).iter().count();
        for name in ["host", "content-length", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"] {
            assert_eq!(count(name), 1, "{name}");
        }
        assert_eq!(home.headers["x-forwarded-for"], "203.0.113.9");
        for name in ["transfer-encoding", "te", "keep-alive", "proxy-connection", "proxy-authorization"] {
            assert_eq!(count(name), 0, "{name}");
        }
        let tunnel = usize::from(upgrade.is_some());
        assert_eq!((count("connection"), count("upgrade")), (tunnel, tunnel));
    }
}

/// What stands before the word of the last proxy that is not listed changes nothing.
fn believes_no_stranger(headers: &HeaderMap) {
    let stranger: IpAddr = [198, 51, 100, 1].into();
    assert_eq!(forwarded::client(stranger, headers, &TRUSTED), stranger);
    assert_eq!(forwarded::https(stranger, headers, &TRUSTED), None);
    let proxy: IpAddr = [10, 0, 0, 1].into();
    let client = forwarded::client(proxy, headers, &TRUSTED);
    assert_eq!(client, client.to_canonical());
    if forwarded::is_trusted(client, &TRUSTED) {
        return;
    }
    let mut longer = HeaderMap::new();
    longer.append("x-forwarded-for", HeaderValue::from_static("192.0.2.66"));
    for value in headers.get_all("x-forwarded-for") {
        longer.append("x-forwarded-for", value.clone());
    }
    assert_eq!(forwarded::client(proxy, &longer, &TRUSTED), client);
}
