//! Whether anything can go through the tunnel, judged by its last handshake. Pure.

use std::time::{Duration, SystemTime};

/// Keys of an older handshake are refused by both ends: while anything is sent there is a new one every two minutes
/// (REJECT_AFTER_TIME and REKEY_AFTER_TIME of the protocol).
pub const STALE: Duration = Duration::from_secs(180);

/// How a tunnel stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its last handshake was so long ago, and holds.
    Fresh(Duration),
    /// Its last handshake was so long ago, and holds no more.
    Stale(Duration),
    /// There was no handshake.
    Never,
}

impl Standing {
    /// Whether nothing goes through.
    pub fn is_stale(self) -> bool {
        !matches!(self, Self::Fresh(_))
    }
}

/// How a tunnel stands whose last handshake was at `handshake`, now that the clock on the wall shows `now`.
///
/// A handshake that is to come is of now: the clock was set back.
pub fn standing(handshake: Option<SystemTime>, now: SystemTime) -> Standing {
    let Some(handshake) = handshake else { return Standing::Never };
    let age = now.duration_since(handshake).unwrap_or_default();
    if age > STALE { Standing::Stale(age) } else { Standing::Fresh(age) }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_tunnel_is_stale_three_minutes_after_its_last_handshake() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let age = Duration::from_secs;
        for (handshake, now, wanted) in [
            (None, 1_000, Standing::Never),
            (Some(1_000), 1_000, Standing::Fresh(age(0))),
            (Some(1_000), 1_180, Standing::Fresh(age(180))),
            (Some(1_000), 1_181, Standing::Stale(age(181))),
            (Some(2_000), 1_000, Standing::Fresh(age(0))),
        ] {
            let found = standing(handshake.map(at), at(now));
            assert_eq!(found, wanted, "{handshake:?} {now}");
            assert_eq!(found.is_stale(), !matches!(wanted, Standing::Fresh(_)));
        }
    }
}
