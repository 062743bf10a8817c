//! The answers that the edge makes by itself, as whole responses.
//!
//! Which one is right is decided elsewhere (`fault` for failures). No hop-by-hop headers, no `Date`: the
//! connection adds those. An answer to HEAD has the length of what GET would get, and no body.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCESS_CONTROL_MAX_AGE, AGE, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Response, StatusCode};

use super::fault::{Blame, Fault, Setting};
use super::page;
use crate::config::model::route::{Redirect, Respond};
use crate::matrix;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// An hour: peers keep a document for a day when nothing is said, which is long when it was wrong.
const AN_HOUR: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// What of a request decides the form of the edge's own answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// HEAD: the answer has no body.
    pub head: bool,
    /// A path of Matrix: JSON with CORS.
    pub matrix: bool,
    /// The client came by TLS.
    pub tls: bool,
}

/// The answer to a failure; `unavailable` is what the route turns 503 into, `retry` what the fault's own
/// Retry-After is turned into.
///
/// `headers` are the request's: a visitor's browser, which accepts HTML, gets a page; on paths of Matrix only
/// while home is away, and only where it navigates there.
pub fn fault(
    asked: Asked,
    headers: &HeaderMap,
    fault: Fault,
    unavailable: StatusCode,
    retry: Option<Duration>,
) -> Response<Bytes> {
    let mut verdict = fault.verdict(Setting { matrix: asked.matrix, tls: asked.tls, unavailable });
    verdict.retry_after = verdict.retry_after.map(|usual| retry.unwrap_or(usual));
    let away = fault.blame() == Blame::Home;
    let html = accepts_html(headers) && (!asked.matrix || (away && navigates(headers)));
    let mut headers = HeaderMap::with_capacity(8);
    let body = if asked.matrix && !html {
        matrix::cors::apply(&mut headers);
        headers.insert(CONTENT_TYPE, JSON);
        // `retry_after_ms` belongs to M_LIMIT_EXCEEDED (client-server API, "Rate limiting").
        let limited = verdict.status == StatusCode::TOO_MANY_REQUESTS;
        let retry = verdict.retry_after.filter(|_| limited);
        matrix::error::body(verdict.errcode, verdict.text, retry)
    } else if html {
        headers.insert(CONTENT_TYPE, HTML);
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        Bytes::from(page::html(verdict.status, verdict.text, away))
    } else {
        headers.insert(CONTENT_TYPE, TEXT);
        Bytes::from(page::text(verdict.status, verdict.text))
    };
    headers.insert(CACHE_CONTROL, NO_STORE);
    if let Some(wait) = verdict.retry_after {
        // Whole seconds, and never too soon.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if verdict.status == StatusCode::METHOD_NOT_ALLOWED {
        let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        headers.insert(ALLOW, HeaderValue::from_static(methods));
    }
    finish(asked, verdict.status, headers, body)
}

/// The same answer to a failure with the operator's own page: it may load and run what it likes.
pub fn own_page(asked: Asked, answer: Response<Bytes>, page: Bytes) -> Response<Bytes> {
    let (mut parts, _) = answer.into_parts();
    parts.headers.remove(CONTENT_SECURITY_POLICY);
    // The built-in page's, told to HEAD.
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HTML);
    finish(asked, parts.status, parts.headers, page)
}

/// A document of home's that the edge has kept, for so long already (RFC 9111 5.1).
pub fn kept(head: bool, document: Bytes, age: Duration) -> Response<Bytes> {
    let mut headers = HeaderMap::with_capacity(8);
    matrix::cors::apply(&mut headers);
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(AGE, HeaderValue::from(age.as_secs()));
    finish(Asked { head, matrix: true, tls: false }, StatusCode::OK, headers, document)
}

/// The answer to a browser's preflight on a Matrix path (Fetch standard, "CORS-preflight fetch").
pub fn preflight() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    matrix::cors::apply(headers);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

/// A discovery document; `None` is the 404 that the specification wants for one that is not offered.
pub fn document(asked: Asked, document: Option<&Bytes>) -> Response<Bytes> {
    let mut headers = HeaderMap::with_capacity(8);
    matrix::cors::apply(&mut headers);
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CACHE_CONTROL, AN_HOUR);
    match document {
        Some(document) => finish(asked, StatusCode::OK, headers, document.clone()),
        None => {
            let body = matrix::error::body("M_NOT_FOUND", "This document is not offered here.", None);
            finish(asked, StatusCode::NOT_FOUND, headers, body)
        }
    }
}

/// Whether a person's browser goes there, as to a page of single sign-on, and no program asks (Fetch metadata).
fn navigates(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate")
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| memchr::memmem::find(value.as_bytes(), b"text/html").is_some())
}

/// A fixed answer of the configuration.
pub fn respond(asked: Asked, fixed: &Respond) -> Response<Bytes> {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, fixed.content_type.clone());
    if asked.matrix {
        matrix::cors::apply(&mut headers);
    }
    finish(asked, fixed.status, headers, fixed.body.clone())
}

/// A redirect of the configuration; `target` is the request's raw path and query.
pub fn redirect(asked: Asked, redirect: &Redirect, target: &str) -> Response<Bytes> {
    if redirect.keep_path {
        let to = redirect.to.trim_end_matches('/');
        moved(asked, redirect.status, &[to, rooted(target)])
    } else {
        moved(asked, redirect.status, &[&redirect.to])
    }
}

/// The way from a plain listener to `host` (which the configuration names) on TLS port `port`.
pub fn to_https(asked: Asked, method: &Method, host: &str, port: u16, target: &str) -> Response<Bytes> {
    // 301 lets old clients turn POST into GET; peers of Matrix do not follow 308 (matrix-spec, discovery).
    let status = match *method {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    let number = if port == 443 { String::new() } else { format!(":{port}") };
    moved(asked, status, &["https://", host, &number, rooted(target)])
}

fn rooted(target: &str) -> &str {
    if target.starts_with('/') { target } else { "/" }
}

fn moved(asked: Asked, status: StatusCode, to: &[&str]) -> Response<Bytes> {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(LOCATION, location(to));
    if asked.matrix {
        matrix::cors::apply(&mut headers);
    }
    finish(asked, status, headers, Bytes::new())
}

/// One URI reference out of `parts`, with what no header may hold percent-encoded.
fn location(parts: &[&str]) -> HeaderValue {
    let mut text = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for byte in parts.iter().flat_map(|part| part.bytes()) {
        match byte {
            // `//host` and `/\host` name another host: a kept path must not become one.
            b'/' | b'\\' if text == b"/" => text.extend_from_slice(if byte == b'/' { b"" } else { b"%5C" }),
            b'!'..=b'~' => text.push(byte),
            _ => {
                let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble)];
                text.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    // Only visible ASCII is left.
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("/"))
}

fn finish(asked: Asked, status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    if asked.head { without_body(response) } else { response }
}

/// The same answer as HEAD gets it (RFC 9110 9.3.2): its length told, its body left out.
pub fn without_body(response: Response<Bytes>) -> Response<Bytes> {
    let (mut parts, body) = response.into_parts();
    // RFC 9110 8.6: none in 204; in 304 it would be that of the 200.
    let bodiless = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !bodiless && !parts.headers.contains_key(CONTENT_LENGTH) {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    Response::from_parts(parts, Bytes::new())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::header::ACCESS_CONTROL_ALLOW_ORIGIN;
    use proptest::prelude::*;

    use super::*;

    const MATRIX: Asked = Asked { head: false, matrix: true, tls: true };
    const SITE: Asked = Asked { head: false, matrix: false, tls: true };

    fn browser() -> HeaderMap {
        let accepts = HeaderValue::from_static("application/json, text/html;q=0.9");
        HeaderMap::from_iter([(ACCEPT, accepts)])
    }

    const AWAY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

    fn header<'a>(response: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
        response.headers().get(name).map(|value| value.to_str().expect("ASCII"))
    }

    #[test]
    fn every_fault_on_a_matrix_path_is_json_with_cors() {
        for which in Fault::ALL {
            let response = fault(MATRIX, &browser(), which, AWAY, None);
            assert_eq!(header(&response, "content-type"), Some("application/json"), "{which:?}");
            assert_eq!(header(&response, "access-control-allow-origin"), Some("*"), "{which:?}");
            assert_eq!(header(&response, "cache-control"), Some("no-store"), "{which:?}");
            let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
            assert!(body["errcode"].as_str().expect("an errcode").starts_with("M_"), "{which:?}");
            assert_eq!(body.get("retry_after_ms").is_some(), which == Fault::RateLimited, "{which:?}");
        }
    }

    #[test]
    fn a_limit_says_when_to_ask_again_in_both_ways() {
        let response = fault(MATRIX, &browser(), Fault::HomeDown, StatusCode::TOO_MANY_REQUESTS, None);
        assert_eq!(response.status(), 429);
        assert_eq!(header(&response, "retry-after"), Some("5"));
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!((&body["errcode"], &body["retry_after_ms"]), (&"M_LIMIT_EXCEEDED".into(), &5000.into()));
    }

    #[test]
    fn visitors_get_a_page_and_programs_a_line() {
        let response = fault(SITE, &browser(), Fault::HomeDown, AWAY, None);
        assert_eq!(header(&response, "content-type"), Some("text/html; charset=utf-8"));
        assert!(response.body().starts_with(b"<!doctype html>"));
        assert!(response.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN).is_none());
        let response = fault(SITE, &HeaderMap::new(), Fault::NoRoute, AWAY, None);
        assert_eq!(response.body(), "404 Not Found: There is nothing at this address.\n");
        let response = fault(SITE, &HeaderMap::new(), Fault::MethodRefused, AWAY, None);
        assert!(header(&response, "allow").expect("RFC 9110 15.5.6").contains("GET"));
    }

    #[test]
    fn who_goes_to_a_page_of_home_that_is_away_gets_one_that_asks_again() {
        let mut headers = browser();
        headers.insert("sec-fetch-mode", HeaderValue::from_static("navigate"));
        for asked in [SITE, MATRIX] {
            let response = fault(asked, &headers, Fault::HomeDown, AWAY, None);
            let page = std::str::from_utf8(response.body()).expect("text");
            assert!(page.contains("http-equiv=\"refresh\""), "{page}");
        }
        let response = fault(MATRIX, &headers, Fault::Denied, AWAY, None);
        assert_eq!(header(&response, "content-type"), Some("application/json"));
        let response = fault(SITE, &headers, Fault::NoRoute, AWAY, None);
        assert!(!response.body().windows(7).any(|part| part == b"refresh"));
    }

    #[test]
    fn what_was_kept_tells_its_age() {
        let response = kept(false, Bytes::from_static(b"{}"), Duration::from_secs(75));
        assert_eq!((header(&response, "age"), response.status().as_u16()), (Some("75"), 200));
        assert_eq!(header(&response, "access-control-allow-origin"), Some("*"));
    }

    #[test]
    fn head_gets_the_length_and_no_body() {
        let get = fault(MATRIX, &browser(), Fault::HomeDown, AWAY, None);
        let asked = Asked { head: true, ..MATRIX };
        let head = fault(asked, &browser(), Fault::HomeDown, AWAY, None);
        assert!(head.body().is_empty());
        assert_eq!(header(&head, "content-length"), Some(&*get.body().len().to_string()));
        assert_eq!(header(&get, "content-length"), None);
        assert_eq!(header(&without_body(preflight()), "content-length"), None);
    }

    #[test]
    fn preflights_allow_what_clients_send() {
        let response = preflight();
        assert_eq!(response.status(), 204);
        assert_eq!(header(&response, "access-control-allow-origin"), Some("*"));
        assert_eq!(header(&response, "access-control-max-age"), Some("86400"));
    }

    #[test]
    fn documents_are_json_that_may_be_kept() {
        let bytes = Bytes::from_static(b"{}");
        let response = document(MATRIX, Some(&bytes));
        assert_eq!((response.status(), response.body()), (StatusCode::OK, &bytes));
        assert_eq!(header(&response, "cache-control"), Some("public, max-age=3600"));
        assert_eq!(header(&response, "access-control-allow-origin"), Some("*"));
        let response = document(MATRIX, None);
        assert_eq!(response.status(), 404);
        assert_eq!(header(&response, "access-control-allow-origin"), Some("*"));
    }

    fn to(text: &str, keep_path: bool) -> Redirect {
        Redirect { to: Arc::from(text), keep_path, status: StatusCode::FOUND }
    }

    #[test]
    fn redirects_keep_path_and_query_when_told() {
        let table = [
            (to("https://a/new/", false), "/old?x", "https://a/new/"),
            (to("https://a", true), "/old?x=%20", "https://a/old?x=%20"),
            (to("https://a/", true), "/old", "https://a/old"),
            (to("https://a", true), "*", "https://a/"),
            (to("/", true), "//evil.example/", "/evil.example/"),
            (to("/", true), "/\\evil.example/", "/%5Cevil.example/"),
            (to("https://a", true), "/caf\u{e9}", "https://a/caf%C3%A9"),
        ];
        for (redirect_to, target, location) in table {
            let response = redirect(SITE, &redirect_to, target);
            assert_eq!(header(&response, "location"), Some(location));
            assert_eq!(header(&response, "access-control-allow-origin"), None);
        }
        let response = redirect(MATRIX, &to("https://a", false), "/.well-known/matrix/client");
        assert_eq!(header(&response, "access-control-allow-origin"), Some("*"));
    }

    #[test]
    fn plain_requests_are_sent_to_the_tls_port() {
        let table = [
            (Method::GET, "a.example", 443, 301, "https://a.example/x?y"),
            (Method::POST, "a.example", 8443, 308, "https://a.example:8443/x?y"),
            (Method::GET, "[::1]", 8443, 301, "https://[::1]:8443/x?y"),
        ];
        for (method, host, port, status, location) in table {
            let response = to_https(SITE, &method, host, port, "/x?y");
            assert_eq!((response.status().as_u16(), header(&response, "location")), (status, Some(location)));
        }
    }

    #[test]
    fn fixed_answers_are_as_configured() {
        let fixed = Respond {
            status: StatusCode::OK,
            body: Bytes::from_static(b"User-agent: *\n"),
            content_type: HeaderValue::from_static("text/plain"),
        };
        let response = respond(SITE, &fixed);
        assert_eq!((response.status(), response.body()), (StatusCode::OK, &fixed.body));
        assert_eq!(header(&response, "content-type"), Some("text/plain"));
    }

    proptest! {
        #[test]
        fn a_kept_path_never_names_another_host(target in "[/\\\\]{0,4}\\PC{0,20}") {
            let response = redirect(SITE, &to("/", true), &target);
            let location = header(&response, "location").expect("a location");
            prop_assert!(location.starts_with('/'));
            prop_assert!(!location[1..].starts_with(['/', '\\']));
        }
    }
}
