//! What makes a request mean different things to different readers; each is a 400.
//!
//! A reader behind the edge may choose another meaning than the edge did: that is how requests are
//! smuggled. Nothing of this is repaired.

/// Why a request is refused before anything is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguity {
    /// HTTP/1.1 and later need one (RFC 9112 3.2).
    #[error("no host: the request has neither Host nor :authority")]
    NoHost,
    /// More than one Host line (RFC 9112 3.2).
    #[error("several Host headers")]
    SeveralHosts,
    /// Host beside another :authority (RFC 9113 8.3.1) or another absolute-form target (RFC 9112 3.2.2).
    #[error("the Host header and the request target name different hosts")]
    HostDiffers,
    /// Credentials in an authority (RFC 9110 4.2.4).
    #[error("user information in the authority")]
    Userinfo,
    /// A host that is no name, IPv4 address or bracketed IPv6 address, or a port that is none.
    #[error("malformed host or port")]
    BadHost,
    /// A target that is neither a path nor, for OPTIONS, `*`.
    #[error("the request target is no path")]
    BadTarget,
    /// Several Content-Length lines, or one that is no number (RFC 9112 6.3).
    #[error("more than one Content-Length, or one that is no number")]
    BadLength,
    /// Transfer-Encoding that is not exactly `chunked` (RFC 9112 6.1).
    #[error("a Transfer-Encoding other than chunked")]
    BadEncoding,
    /// Both framings at once (RFC 9112 6.3, rule 3).
    #[error("Content-Length beside Transfer-Encoding")]
    LengthWithEncoding,
    /// A connection's own header in HTTP/2 (RFC 9113 8.2.2).
    #[error("a connection-specific header in HTTP/2")]
    ConnectionSpecific,
    /// A name such as `x_forwarded_for`, that gateways read as one that the edge sets.
    #[error("a header name that can be taken for one that porchd sets")]
    Twin,
}
