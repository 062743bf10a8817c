//! The documents of http-01 (RFC 8555 section 8.3), answered by the edge itself for every host.
//!
//! What is offered is decided by the orders; a token that nobody offers is left to the routes.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response};

use crate::handler::body::Body;
use crate::http::reply;
use crate::tls::challenges::Challenges;

/// Where a CA looks.
const PLACE: &str = "/.well-known/acme-challenge/";

/// The answer to a CA that looks for a document which is offered now; `None`: it is any other request.
pub fn answer(challenges: &Challenges, parts: &Parts) -> Option<Response<Body>> {
    let token = parts.uri.path().strip_prefix(PLACE)?;
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return None;
    }
    let document = challenges.document(token)?;
    let mut response = Response::new(Bytes::copy_from_slice(document.as_bytes()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let response = if parts.method == Method::HEAD { reply::without_body(response) } else { response };
    Some(response.map(Body::from))
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};
    use http_body::Body as _;

    use super::*;

    fn parts(method: Method, target: &str) -> Parts {
        Request::builder().method(method).uri(target).body(()).unwrap().into_parts().0
    }

    #[test]
    fn document_is_given_as_it_is_and_never_kept() {
        let challenges = Challenges::default();
        let _offer = challenges.offer_document("to_k-en", "to_k-en.thumb");
        for target in
            ["/.well-known/acme-challenge/to_k-en", "http://any.test/.well-known/acme-challenge/to_k-en?x"]
        {
            let response = answer(&challenges, &parts(Method::GET, target)).unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()[CONTENT_TYPE], "application/octet-stream");
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
            let Body::Bytes(Some(body)) = response.into_body() else { panic!("it has a body") };
            assert_eq!(body, "to_k-en.thumb");
            let response = answer(&challenges, &parts(Method::HEAD, target)).unwrap();
            assert_eq!(response.headers()["content-length"], "13");
            assert!(response.body().is_end_stream());
        }
    }

    #[test]
    fn anything_else_is_left_to_the_routes() {
        let challenges = Challenges::default();
        let offer = challenges.offer_document("token", "token.thumb");
        for (method, target) in [
            (Method::GET, "/.well-known/acme-challenge/"),
            (Method::GET, "/.well-known/acme-challenge/other"),
            (Method::GET, "/.well-known/acme-challenge/token/"),
            (Method::GET, "/.well-known/acme-challenge/x/../token"),
            (Method::GET, "/.well-known/acme-challenge/%74oken"),
            (Method::GET, "/.well-known/acme-challenge/Token"),
            (Method::GET, "/.well-known/ACME-challenge/token"),
            (Method::GET, "/.well-known/acme%2dchallenge/token"),
            (Method::GET, "//.well-known/acme-challenge/token"),
            (Method::GET, "/x/.well-known/acme-challenge/token"),
            (Method::GET, "/"),
            (Method::OPTIONS, "*"),
            (Method::POST, "/.well-known/acme-challenge/token"),
        ] {
            assert!(answer(&challenges, &parts(method.clone(), target)).is_none(), "{method} {target}");
        }
        drop(offer);
        assert!(answer(&challenges, &parts(Method::GET, "/.well-known/acme-challenge/token")).is_none());
    }
}
