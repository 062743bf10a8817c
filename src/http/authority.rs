//! Which host a request is for, from its target and its Host header.
//!
//! It knows no sites and no certificates: whether that host is served here, on this connection, is for
//! the caller to decide.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::ambiguity::Ambiguity;

/// The longest name that DNS allows, and room for nothing else.
const LONGEST: usize = 253;

/// A host and perhaps a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority<'a> {
    /// As it was written, with its port: what `Host` is at home.
    pub text: &'a str,
    /// As the configuration writes hosts: lower case, without port and trailing dot, IPv6 in brackets.
    pub host: Cow<'a, str>,
    /// The port, if one was written.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
    pub fn parse(text: &'a str) -> Result<Self, Ambiguity> {
        if memchr::memchr(b'@', text.as_bytes()).is_some() {
            return Err(Ambiguity::Userinfo);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (literal, rest) = rest.split_once(']').ok_or(Ambiguity::BadHost)?;
            let address: Ipv6Addr = literal.parse().map_err(|_| Ambiguity::BadHost)?;
            return Ok(Self { text, host: Cow::Owned(format!("[{address}]")), port: read_port(rest)? });
        }
        let (host, port) = text.split_at(memchr::memchr(b':', text.as_bytes()).unwrap_or(text.len()));
        Ok(Self { text, host: normalised(host)?, port: read_port(port)? })
    }

    fn of_header(value: &'a HeaderValue) -> Result<Self, Ambiguity> {
        Self::parse(value.to_str().map_err(|_| Ambiguity::BadHost)?)
    }
}

/// The authority of a request; `None` only for HTTP/1.0 without Host, where the TLS name may stand in.
///
/// A target's own authority (HTTP/2, absolute-form) and a Host header must name the same host and port.
pub fn of_request<'a>(
    version: Version,
    uri: &'a Uri,
    headers: &'a HeaderMap,
) -> Result<Option<Authority<'a>>, Ambiguity> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().map(Authority::of_header);
    if hosts.next().is_some() {
        return Err(Ambiguity::SeveralHosts);
    }
    let host = host.transpose()?;
    let Some(target) = uri.authority() else {
        return match host {
            Some(host) => Ok(Some(host)),
            None if version <= Version::HTTP_10 => Ok(None),
            None => Err(Ambiguity::NoHost),
        };
    };
    let target = Authority::parse(target.as_str())?;
    if let Some(host) = host {
        let usual = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        let port = |named: &Authority<'_>| named.port.unwrap_or(usual);
        if host.host != target.host || port(&host) != port(&target) {
            return Err(Ambiguity::HostDiffers);
        }
    }
    Ok(Some(target))
}

/// The target to route and to forward, byte for byte: path and query, or `*` for OPTIONS.
pub fn target<'a>(method: &Method, uri: &'a Uri) -> Result<&'a str, Ambiguity> {
    match uri.path_and_query().map(|target| target.as_str()) {
        Some(target) if target.starts_with('/') => Ok(target),
        Some("*") if *method == Method::OPTIONS => Ok("*"),
        _ => Err(Ambiguity::BadTarget),
    }
}

/// A name in lower case without its trailing dot, when it has only letters, digits, `-`, `_` and dots.
fn normalised(host: &str) -> Result<Cow<'_, str>, Ambiguity> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let (mut upper, mut label) = (false, 0);
    for byte in host.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            b'A'..=b'Z' => (upper, label) = (true, label + 1),
            b'.' if label > 0 => label = 0,
            _ => return Err(Ambiguity::BadHost),
        }
    }
    if label == 0 || host.len() > LONGEST {
        return Err(Ambiguity::BadHost);
    }
    Ok(if upper { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) })
}

/// `:port`, `:` or nothing (RFC 3986 3.2.3).
fn read_port(text: &str) -> Result<Option<u16>, Ambiguity> {
    let digits = match text.as_bytes() {
        [] | [b':'] => return Ok(None),
        [b':', digits @ ..] => digits,
        _ => return Err(Ambiguity::BadHost),
    };
    let number = digits.iter().try_fold(0_u16, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.map(Some).ok_or(Ambiguity::BadHost)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(
        version: Version,
        uri: &str,
        hosts: &[&str],
    ) -> Result<Option<(String, Option<u16>)>, Ambiguity> {
        let uri: Uri = uri.parse().expect("a target");
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_bytes(host.as_bytes()).expect("a value"));
        }
        of_request(version, &uri, &headers)
            .map(|named| named.map(|named| (named.host.into_owned(), named.port)))
    }

    fn named(host: &str, port: Option<u16>) -> Result<Option<(String, Option<u16>)>, Ambiguity> {
        Ok(Some((host.to_owned(), port)))
    }

    #[test]
    fn names_are_compared_without_port_case_and_dot() {
        let table = [
            ("example.com", "example.com", None),
            ("Example.COM.:8448", "example.com", Some(8448)),
            ("example.com:", "example.com", None),
            ("192.0.2.1:80", "192.0.2.1", Some(80)),
            ("[2001:DB8::0:1]:443", "[2001:db8::1]", Some(443)),
            ("[::1]", "[::1]", None),
            ("a_b.example", "a_b.example", None),
        ];
        for (text, host, port) in table {
            let authority = Authority::parse(text).expect(text);
            assert_eq!((&*authority.host, authority.port, authority.text), (host, port, text));
        }
    }

    #[test]
    fn malformed_hosts_are_refused() {
        let long = "a.".repeat(127) + "a";
        let bad = [
            "",
            ".",
            "a..b",
            ".a",
            "a..",
            "a b",
            "a/b",
            "a,b",
            "a:b",
            "a:80:80",
            "a:99999",
            "a:-1",
            "a:+1",
            "[::1",
            "[::1]x",
            "[fe80::1%25eth0]",
            "::1",
            "h%41",
            "h\u{e9}",
            "a\\b",
            "a#b",
            "*",
            &long,
        ];
        for text in bad {
            assert_eq!(Authority::parse(text), Err(Ambiguity::BadHost), "{text}");
        }
        assert_eq!(Authority::parse("user@host"), Err(Ambiguity::Userinfo));
    }

    #[test]
    fn http11_needs_exactly_one_host() {
        let v11 = Version::HTTP_11;
        assert_eq!(asked(v11, "/", &["a.example:8448"]), named("a.example", Some(8448)));
        assert_eq!(asked(v11, "/", &[]), Err(Ambiguity::NoHost));
        assert_eq!(asked(v11, "/", &[""]), Err(Ambiguity::BadHost));
        assert_eq!(asked(v11, "/", &["a", "a"]), Err(Ambiguity::SeveralHosts));
        assert_eq!(asked(v11, "/", &["a, b"]), Err(Ambiguity::BadHost));
        assert_eq!(asked(v11, "/", &["a\u{e9}"]), Err(Ambiguity::BadHost));
    }

    #[test]
    fn http10_may_leave_it_to_the_tls_name() {
        assert_eq!(asked(Version::HTTP_10, "/", &[]), Ok(None));
        assert_eq!(asked(Version::HTTP_10, "/", &["a"]), named("a", None));
        assert_eq!(asked(Version::HTTP_10, "/", &["a", "b"]), Err(Ambiguity::SeveralHosts));
    }

    #[test]
    fn absolute_form_must_agree_with_host() {
        let v11 = Version::HTTP_11;
        assert_eq!(asked(v11, "http://a/x", &["a"]), named("a", None));
        assert_eq!(asked(v11, "http://A.:80/x", &["a"]), named("a", Some(80)));
        assert_eq!(asked(v11, "https://a/x", &["a:443"]), named("a", None));
        assert_eq!(asked(v11, "http://a/x", &["a:443"]), Err(Ambiguity::HostDiffers));
        assert_eq!(asked(v11, "http://a/x", &["b"]), Err(Ambiguity::HostDiffers));
        assert_eq!(asked(v11, "http://a/x", &[""]), Err(Ambiguity::BadHost));
        assert_eq!(asked(v11, "http://u@a/x", &["a"]), Err(Ambiguity::Userinfo));
    }

    #[test]
    fn http2_host_must_agree_with_authority() {
        let v2 = Version::HTTP_2;
        assert_eq!(asked(v2, "https://a:8448/x", &[]), named("a", Some(8448)));
        assert_eq!(asked(v2, "https://a/x", &["a"]), named("a", None));
        assert_eq!(asked(v2, "https://a/x", &["b"]), Err(Ambiguity::HostDiffers));
        assert_eq!(asked(v2, "https://a/x", &["a", "a"]), Err(Ambiguity::SeveralHosts));
        assert_eq!(asked(v2, "/x", &["a"]), named("a", None));
        assert_eq!(asked(v2, "/x", &[]), Err(Ambiguity::NoHost));
    }

    #[test]
    fn targets_are_paths() {
        let of = |method: Method, uri: &str| {
            let uri: Uri = uri.parse().expect("a target");
            target(&method, &uri).map(str::to_owned)
        };
        assert_eq!(of(Method::GET, "/a//%2F/../b?c=%23").as_deref(), Ok("/a//%2F/../b?c=%23"));
        assert_eq!(of(Method::GET, "http://a/x?y").as_deref(), Ok("/x?y"));
        assert_eq!(of(Method::GET, "http://a").as_deref(), Ok("/"));
        assert_eq!(of(Method::OPTIONS, "*").as_deref(), Ok("*"));
        assert_eq!(of(Method::GET, "*"), Err(Ambiguity::BadTarget));
        assert_eq!(of(Method::GET, "a.example:80"), Err(Ambiguity::BadTarget));
        assert_eq!(of(Method::GET, "http://a?x"), Err(Ambiguity::BadTarget));
    }

    proptest! {
        #[test]
        fn a_parsed_host_is_normal(text in "\\PC{0,40}|[a-zA-Z.:\\[\\]0-9]{0,20}") {
            if let Ok(authority) = Authority::parse(&text) {
                let host = &*authority.host;
                prop_assert!(!host.is_empty() && !host.ends_with('.') && *host == host.to_ascii_lowercase());
                prop_assert_eq!(&*Authority::parse(host).expect("normal").host, host);
            }
        }
    }
}
