//! The limit on open descriptors: every connection holds one, and its forward another.

#![expect(unsafe_code, reason = "getrlimit and setrlimit have no safe form in std")]

use std::io;

/// Raises the soft limit to the hard one, which needs no privileges; returns the limit that is in force then,
/// `u64::MAX` where there is none.
///
/// Where raising is refused (macOS does not take a limit without end) the soft one stays in force.
pub fn raise_descriptors() -> io::Result<u64> {
    let limit = descriptors()?;
    // Not asked for in vain: a process that has pledged would be ended for it.
    if limit.rlim_cur == limit.rlim_max {
        return Ok(limit.rlim_cur);
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: `raised` is a valid rlimit that lives through the call, which only reads it.
    let refused = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } != 0;
    Ok(if refused { limit.rlim_cur } else { descriptors()?.rlim_cur })
}

fn descriptors() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit that lives through the call, which only writes to it.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_limit_becomes_the_hard_one() {
        let raised = raise_descriptors().unwrap();
        let limit = descriptors().unwrap();
        assert_eq!((limit.rlim_cur, limit.rlim_max), (raised, raised));
    }
}
