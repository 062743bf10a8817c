//! What HTTP/1.1 looks like on the wire between porchd and a backend, as pure functions.
//!
//! Reading is strict: a backend's answer that two readers could understand differently is refused (RFC
//! 9112 section 11.2), since its bytes go on to clients over connections that others share.

pub mod chunked;
pub mod fields;
pub mod framing;
pub mod head;
pub mod trailers;
