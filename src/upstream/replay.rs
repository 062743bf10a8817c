//! The memory that requests are kept in, so that they can be sent again.
//!
//! At most 256 KiB a request and 64 MiB in all: a body beyond that is sent once. What goes again and
//! when is `retry`'s.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Most bytes of one request's body.
pub const MOST_A_REQUEST: usize = 256 * 1024;
/// Most bytes of all requests' bodies.
pub const MOST_IN_ALL: usize = 64 * 1024 * 1024;

static HELD: AtomicUsize = AtomicUsize::new(0);

/// The pieces of one request's body that went out so far.
#[derive(Debug)]
pub struct Kept {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    whole: bool,
}

impl Kept {
    /// Keeps what comes if `wanted`, else nothing.
    pub fn new(wanted: bool) -> Self {
        Self { pieces: VecDeque::new(), bytes: 0, whole: wanted }
    }

    /// Keeps a piece; a piece too many lets go of all.
    pub fn push(&mut self, piece: &Bytes) {
        if !self.whole {
            return;
        }
        if self.bytes + piece.len() > MOST_A_REQUEST || !reserve(piece.len()) {
            self.release();
            return;
        }
        self.bytes += piece.len();
        self.pieces.push_back(piece.clone());
    }

    /// Whether all that went out is here.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// How many bytes are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives the next piece back to be sent again.
    pub fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.len();
        HELD.fetch_sub(piece.len(), Ordering::Relaxed);
        Some(piece)
    }

    /// Stops keeping: pieces that come from now on are not kept.
    pub fn stop(&mut self) {
        self.whole = false;
    }

    /// Lets go of all and stops keeping.
    pub fn release(&mut self) {
        self.whole = false;
        self.pieces = VecDeque::new();
        HELD.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.release();
        }
    }
}

fn reserve(bytes: usize) -> bool {
    let before = HELD.fetch_add(bytes, Ordering::Relaxed);
    let fits = before + bytes <= MOST_IN_ALL;
    if !fits {
        HELD.fetch_sub(bytes, Ordering::Relaxed);
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_too_large_is_not_kept_at_all() {
        let piece = Bytes::from(vec![0; MOST_A_REQUEST / 2]);
        let mut kept = Kept::new(true);
        kept.push(&piece);
        kept.push(&piece);
        assert!(kept.is_whole());
        kept.push(&Bytes::from_static(b"x"));
        assert!(!kept.is_whole());
        assert_eq!(kept.pop(), None);
    }

    #[test]
    fn pieces_come_back_in_order() {
        let mut kept = Kept::new(true);
        kept.push(&Bytes::from_static(b"a"));
        kept.push(&Bytes::from_static(b"b"));
        kept.stop();
        kept.push(&Bytes::from_static(b"c"));
        assert_eq!([kept.pop(), kept.pop(), kept.pop()], [Some("a".into()), Some("b".into()), None]);
    }

    #[test]
    fn all_requests_together_are_bounded_and_memory_comes_back() {
        let piece = Bytes::from(vec![0; MOST_A_REQUEST]);
        let fill = || {
            let mut all: Vec<Kept> = (0..=MOST_IN_ALL / MOST_A_REQUEST).map(|_| Kept::new(true)).collect();
            all.iter_mut().for_each(|kept| kept.push(&piece));
            all.iter().filter(|kept| !kept.is_whole()).count()
        };
        // Other tests hold a little of it at the same time.
        assert!((1..4).contains(&fill()));
        assert!((1..4).contains(&fill()));
    }
}
