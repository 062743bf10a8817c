//! The Matrix discovery documents, answered by the edge itself, also while home is down.

use http::request::Parts;
use http::{Method, Response};

use crate::config::model::route::WellKnown;
use crate::handler::body::Body;
use crate::http::fault::Fault;
use crate::http::reply::{self, Asked};

/// The answer of a `well_known` route.
///
/// # Errors
/// For another method than GET, HEAD and OPTIONS, and for a name that is no document.
pub fn answer(asked: Asked, documents: &WellKnown, parts: &Parts) -> Result<Response<Body>, Fault> {
    let document = match parts.uri.path().strip_prefix("/.well-known/matrix/") {
        Some("server") => &documents.server,
        Some("client") => &documents.client,
        Some("support") => &documents.support,
        _ => return Err(Fault::NoRoute),
    };
    match parts.method {
        Method::GET | Method::HEAD => Ok(reply::document(asked, document.as_ref()).map(Body::from)),
        Method::OPTIONS => Ok(reply::preflight().map(Body::from)),
        _ => Err(Fault::MethodRefused),
    }
}
