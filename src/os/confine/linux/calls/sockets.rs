//! What is refused of sockets: ways past the walls around TCP ports, and what would spoil a descriptor for others.
//!
//! landlock knows connect(2) of TCP and nothing else. The sockets that listen are the warden's, too, and outlive the
//! edge: what is set on them stays.

use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::{Calls, masked, none_of};

/// The bits of a socket's type that are not flags.
const KIND: u64 = 0xf;

/// Kinds of sockets. Those for messages in order would be SCTP, whatever the protocol is.
const KINDS: [libc::c_int; 2] = [libc::SOCK_STREAM, libc::SOCK_DGRAM];

/// 0 is what belongs to the kind. Over MPTCP, SMC and SCTP a connection can be made that landlock does not see.
const PROTOCOLS: [libc::c_int; 3] = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP];

/// Connects in sending, without connect(2).
const FAST_OPEN: u64 = libc::MSG_FASTOPEN as u64;

/// What porchd, tokio and resolvers set, by level. Of the rest some would make a socket deaf for good (filters, a
/// device, MD5), and TCP_ULP, TCP_FASTOPEN_CONNECT are two more ways to connect.
const OPTIONS: [(libc::c_int, &[libc::c_int]); 4] = [
    (libc::SOL_SOCKET, &[libc::SO_REUSEADDR, libc::SO_KEEPALIVE, libc::SO_RCVTIMEO, libc::SO_SNDTIMEO]),
    (libc::IPPROTO_TCP, &[libc::TCP_NODELAY, libc::TCP_KEEPIDLE, libc::TCP_KEEPINTVL, libc::TCP_KEEPCNT]),
    (libc::IPPROTO_IP, &[libc::IP_RECVERR]),
    (libc::IPPROTO_IPV6, &[libc::IPV6_RECVERR, libc::IPV6_V6ONLY]),
];

/// The calls that are refused; `unix`: not those for unix sockets.
pub(super) fn refused(unix: bool) -> Result<Calls, BackendError> {
    let mut calls = Calls::new();
    let mut families = vec![libc::AF_INET, libc::AF_INET6];
    if unix {
        families.push(libc::AF_UNIX);
    }
    let mut sockets = vec![none_of(0, &families)?, none_of(2, &PROTOCOLS)?];
    let known = KINDS.map(|kind| u64::from(kind.cast_unsigned()));
    for kind in (0..=KIND).filter(|kind| !known.contains(kind)) {
        sockets.push(masked(1, KIND, kind)?);
    }
    calls.insert(libc::SYS_socket, sockets);
    calls.insert(libc::SYS_socketpair, vec![none_of(0, &[libc::AF_UNIX])?]);
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        calls.insert(call, vec![masked(flags, FAST_OPEN, FAST_OPEN)?]);
    }
    // A socket that listens is shut for everybody who has it; a stream's end is told by SHUT_WR.
    calls.insert(libc::SYS_shutdown, vec![none_of(1, &[libc::SHUT_WR])?]);
    calls.insert(libc::SYS_setsockopt, options()?);
    Ok(calls)
}

fn options() -> Result<Vec<SeccompRule>, BackendError> {
    let is = |argument, operator, value: libc::c_int| {
        let value = u64::from(value.cast_unsigned());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
    };
    let mut rules = vec![none_of(1, &OPTIONS.map(|(level, _)| level))?];
    for (level, options) in OPTIONS {
        let mut conditions = vec![is(1, SeccompCmpOp::Eq, level)?];
        for option in options {
            conditions.push(is(2, SeccompCmpOp::Ne, *option)?);
        }
        rules.push(SeccompRule::new(conditions)?);
    }
    Ok(rules)
}
