//! The kernel's own WireGuard: netlink on Linux, ioctl(2) on OpenBSD, none elsewhere.

use std::net::SocketAddr;
use std::time::Instant;

use super::peer::{Fault, KEY, Peer};

/// The peers of `interface`; `Ok(None)`: this kernel has no WireGuard.
pub(super) fn peers(interface: &str, until: Instant) -> Result<Option<Vec<Peer>>, Fault> {
    #[cfg(target_os = "linux")]
    return super::netlink::peers(interface, until);
    #[cfg(target_os = "openbsd")]
    {
        // ioctl(2) answers at once: there is nothing to wait for.
        let _ = until;
        let bytes = crate::os::wireguard::get(interface, super::ROOM)?;
        super::wg_io::peers(&bytes).map(Some)
    }
    #[cfg(not(any(target_os = "linux", target_os = "openbsd")))]
    {
        let _ = (interface, until);
        Ok(None)
    }
}

/// Gives a peer another endpoint; `Ok(None)`: this kernel has no WireGuard.
pub(super) fn set_endpoint(
    interface: &str,
    key: &[u8; KEY],
    endpoint: SocketAddr,
    until: Instant,
) -> Result<Option<()>, Fault> {
    #[cfg(target_os = "linux")]
    return super::netlink::set_endpoint(interface, key, endpoint, until);
    #[cfg(target_os = "openbsd")]
    {
        let _ = until;
        crate::os::wireguard::set(interface, &super::wg_io::with_endpoint(key, endpoint))?;
        Ok(Some(()))
    }
    #[cfg(not(any(target_os = "linux", target_os = "openbsd")))]
    {
        let _ = (interface, key, endpoint, until);
        Ok(None)
    }
}
