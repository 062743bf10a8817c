//! A URL, taken apart as far as porchd looks at it.

use http::Uri;

use crate::admin::explain::ExplainError;
use crate::http::authority::Authority;
use crate::matrix::secrets;

/// A URL, taken apart.
pub(super) struct Url {
    pub(super) uri: Uri,
    pub(super) tls: bool,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, ExplainError> {
        let bad = || ExplainError::Url(text.to_owned());
        if text.contains('#') {
            return Err(ExplainError::Fragment);
        }
        // Beyond ASCII a `Uri` takes all, and this one is shown on terminals.
        if text.chars().any(char::is_control) {
            return Err(bad());
        }
        let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let uri: Uri = whole.parse().map_err(|_| bad())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad()),
        };
        let host = uri.authority().and_then(|authority| Authority::parse(authority.as_str()).ok());
        if host.is_none() { Err(bad()) } else { Ok(Self { uri, tls }) }
    }

    pub(super) fn target(&self) -> &str {
        self.uri.path_and_query().map_or("/", |target| target.as_str())
    }

    pub(super) fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.tls { 443 } else { 80 })
    }

    pub(super) fn shown(&self) -> String {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{authority}{}", secrets::redact(self.target()))
    }
}
