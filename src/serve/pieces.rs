//! How large the pieces are in which a thread's answers go out.
//!
//! A client that does not read holds one piece, and with HTTP/2 what `shares` lets the streams of a
//! connection hold. Large pieces are what makes downloads cheap, so they are large until many wait at once;
//! then the memory of all of them together is what is bounded.

use std::cell::Cell;

/// The size that pays best.
const LARGEST: usize = 64 * 1024;
/// Smaller ones would cost more than they save.
const SMALLEST: usize = 8 * 1024;
/// A new piece gets its share of so much.
const SHARED: usize = 1024 * 1024;

/// The pieces of one thread that were given to its connections and not taken by their clients.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    waiting: Cell<usize>,
}

impl Pieces {
    /// A piece was given to a connection.
    pub(super) fn offered(&self) {
        self.waiting.set(self.waiting.get() + 1);
    }

    /// The client took it, or will never do.
    pub(super) fn taken(&self) {
        self.waiting.set(self.waiting.get().saturating_sub(1));
    }

    /// How large the next one may be.
    pub(super) fn size(&self) -> usize {
        (SHARED / (self.waiting.get() + 1)).clamp(SMALLEST, LARGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_large_until_many_wait() {
        let pieces = Pieces::default();
        let mut sizes = Vec::new();
        for _ in 0..10_000 {
            sizes.push(pieces.size());
            pieces.offered();
        }
        assert!(sizes[..16].iter().all(|&size| size == LARGEST));
        assert_eq!(sizes.last(), Some(&SMALLEST));
        // 300 clients that do not read hold less than 16 KiB each.
        assert!(sizes[..300].iter().sum::<usize>() < 300 * 16 * 1024);
        (0..10_000).for_each(|_| pieces.taken());
        assert_eq!(pieces.size(), LARGEST);
    }
}
