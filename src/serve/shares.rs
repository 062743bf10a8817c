//! What one HTTP/2 connection holds of answers that its client has not taken, and who may add to it.
//!
//! A piece of an answer counts until HTTP/2 has written all of it, or has dropped it with its stream: until
//! then its memory is held, whether the client shut the stream's window, reads nothing at all, or is slow. A
//! stream that holds nothing may always have a piece, so that one which is read gets on beside a hundred that
//! are not; another one it may have while the connection holds little. So what a connection holds does not
//! grow with what is asked on it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::{Buf, Bytes};
use slab::Slab;

/// Where all streams of a connection together hold so much, a new piece is of the smallest size.
const BOUND: usize = 512 * 1024;
/// Up to so much a stream may hold several pieces. One that is read needs three of the largest: one is being
/// written, one waits behind it, and hyper has the next one at hand.
const PLENTY: usize = BOUND / 2;
/// A new piece is at most so large a part of what is left up to the bound.
const PART: usize = 4;
/// The largest pieces are the ones that pay best.
const LARGEST: usize = 64 * 1024;
/// What a stream may have in any case. Smaller ones would cost more than they save.
const SMALLEST: usize = 8 * 1024;

/// What the streams of one connection hold.
#[derive(Debug, Default)]
pub(super) struct Shares {
    held: Cell<usize>,
    streams: RefCell<Slab<Share>>,
    /// Whether any stream waits until the connection holds little.
    waits: Cell<bool>,
}

/// What one stream holds.
#[derive(Debug, Default)]
struct Share {
    pieces: u32,
    /// Its answer is over or was dropped: the place goes with the last piece.
    over: bool,
    waits: Option<Waker>,
}

/// A stream's place among the shares. An answer of one piece never needs any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    /// None.
    pub(super) const NONE: Self = Self(u32::MAX);

    fn key(self) -> Option<usize> {
        (self != Self::NONE).then_some(self.0 as usize)
    }
}

impl Shares {
    /// How large the first piece may be of an answer to one of `in_flight` requests: it is asked for long
    /// before it comes, so that what the others hold by then nobody knows.
    pub(super) fn first(&self, in_flight: u32) -> usize {
        self.size().min((BOUND / in_flight.max(1) as usize).max(SMALLEST))
    }

    /// How large the next piece may be.
    pub(super) fn size(&self) -> usize {
        (BOUND.saturating_sub(self.held.get()) / PART).clamp(SMALLEST, LARGEST)
    }

    /// Whether a stream may have another piece now; if not, it is woken when it may.
    pub(super) fn permits(&self, place: Place, cx: &Context<'_>) -> bool {
        let Some(key) = place.key().filter(|_| self.held.get() >= PLENTY) else { return true };
        let mut streams = self.streams.borrow_mut();
        let Some(share) = streams.get_mut(key).filter(|share| share.pieces > 0) else { return true };
        match &mut share.waits {
            Some(waker) => waker.clone_from(cx.waker()),
            None => share.waits = Some(cx.waker().clone()),
        }
        self.waits.set(true);
        false
    }

    /// A place for a stream whose answer goes on after its first piece.
    pub(super) fn enter(&self) -> Place {
        let key = self.streams.borrow_mut().insert(Share::default());
        // A stream beyond all numbers has no place, and waits for nobody.
        u32::try_from(key).map_or(Place::NONE, Place)
    }

    /// A stream's answer is over, or nobody wants it any more.
    pub(super) fn leave(&self, place: Place) {
        let Some(key) = place.key() else { return };
        let mut streams = self.streams.borrow_mut();
        let Some(share) = streams.get_mut(key) else { return };
        share.over = true;
        if share.pieces == 0 {
            streams.remove(key);
        }
    }

    /// A piece that counts as long as it is there.
    pub(super) fn piece(self: &Rc<Self>, bytes: Bytes, place: Place) -> Piece {
        self.hold(bytes.len());
        if let Some(key) = place.key()
            && let Some(share) = self.streams.borrow_mut().get_mut(key)
        {
            share.pieces += 1;
        }
        Piece { counted: bytes.len(), bytes, place, shares: Some(self.clone()) }
    }

    /// So many bytes more are held.
    pub(super) fn hold(&self, bytes: usize) {
        self.held.set(self.held.get() + bytes);
    }

    /// So many bytes are held no more.
    pub(super) fn release(&self, bytes: usize) {
        self.held.set(self.held.get().saturating_sub(bytes));
        if self.waits.get() && self.held.get() < PLENTY {
            self.waits.set(false);
            let mut streams = self.streams.borrow_mut();
            let wakers: Vec<Waker> = streams.iter_mut().filter_map(|(_, share)| share.waits.take()).collect();
            drop(streams);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// A piece of this stream is gone; with its last one the stream may go on, whatever others hold.
    fn gone(&self, place: Place) {
        let Some(key) = place.key() else { return };
        let mut streams = self.streams.borrow_mut();
        let Some(share) = streams.get_mut(key) else { return };
        share.pieces = share.pieces.saturating_sub(1);
        if share.pieces > 0 {
            return;
        }
        let waker = share.waits.take();
        if share.over {
            streams.remove(key);
        }
        drop(streams);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Bytes of an answer on their way through hyper.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    counted: usize,
    place: Place,
    /// `None` on HTTP/1, where a connection has one answer at a time and `Progress` holds it back.
    shares: Option<Rc<Shares>>,
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, counted: 0, place: Place::NONE, shares: None }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.bytes.copy_to_bytes(count)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(shares) = &self.shares {
            shares.release(self.counted);
            shares.gone(self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn bytes(count: usize) -> Bytes {
        Bytes::from(vec![0; count])
    }

    /// The next piece of a stream, if it may have one.
    fn next(shares: &Rc<Shares>, place: Place) -> Option<Piece> {
        let cx = Context::from_waker(Waker::noop());
        shares.permits(place, &cx).then(|| shares.piece(bytes(shares.size()), place))
    }

    #[test]
    fn what_a_connection_holds_does_not_grow_with_what_is_asked() {
        let shares = Rc::new(Shares::default());
        let places: Vec<Place> = (0..128).map(|_| shares.enter()).collect();
        let mut pieces = Vec::new();
        for _ in 0..10 {
            for &place in &places {
                pieces.extend(next(&shares, place));
            }
        }
        assert!(pieces.len() >= 128, "each has one");
        assert!(shares.held.get() <= BOUND + 128 * SMALLEST, "{}", shares.held.get());
        drop(pieces);
        assert_eq!((shares.held.get(), shares.size()), (0, LARGEST));
    }

    #[test]
    fn first_pieces_that_come_all_at_once_are_bounded_too() {
        let shares = Shares::default();
        let sizes: Vec<usize> = (1..=128).map(|in_flight| shares.first(in_flight)).collect();
        assert!(sizes[..8].iter().all(|&size| size == LARGEST));
        assert!(sizes.iter().sum::<usize>() < 5 * BOUND);
        assert_eq!(sizes.last(), Some(&SMALLEST));
    }

    #[test]
    fn who_is_read_alone_has_the_largest_pieces() {
        let shares = Rc::new(Shares::default());
        let place = shares.enter();
        let pieces: Vec<Piece> = (0..4).map_while(|_| next(&shares, place)).collect();
        assert!(pieces.len() == 4 && pieces.iter().all(|piece| piece.remaining() == LARGEST));
        assert!(next(&shares, place).is_none());
    }

    #[test]
    fn who_has_none_goes_on_beside_those_who_are_not_read() {
        let shares = Rc::new(Shares::default());
        let mut held = Vec::new();
        while shares.held.get() < BOUND {
            held.push(shares.piece(bytes(LARGEST), shares.enter()));
        }
        let (place, woken) = (shares.enter(), Arc::new(Woken::default()));
        let waker = Waker::from(woken.clone());
        let cx = Context::from_waker(&waker);
        for round in 1..=10 {
            assert!(shares.permits(place, &cx));
            let piece = shares.piece(bytes(shares.size()), place);
            assert_eq!(piece.remaining(), SMALLEST);
            assert!(!shares.permits(place, &cx), "one at a time");
            drop(piece);
            assert_eq!(woken.0.load(Ordering::SeqCst), round, "woken by its own");
        }
    }

    #[test]
    fn who_waits_is_woken_once_little_is_held() {
        let shares = Rc::new(Shares::default());
        let (woken, places) = (Arc::new(Woken::default()), [(); 3].map(|()| shares.enter()));
        let mine: Vec<Piece> = places.iter().map(|&place| shares.piece(bytes(1), place)).collect();
        let rest = shares.piece(bytes(BOUND), Place::NONE);
        let waker = Waker::from(woken.clone());
        for place in places {
            assert!(!shares.permits(place, &Context::from_waker(&waker)));
        }
        drop(rest);
        assert_eq!(woken.0.load(Ordering::SeqCst), 3);
        drop(mine);
        assert_eq!(woken.0.load(Ordering::SeqCst), 3, "once");
    }

    #[test]
    fn places_go_with_the_stream_and_its_last_piece() {
        let shares = Rc::new(Shares::default());
        let (early, late) = (shares.enter(), shares.enter());
        let (first, second) = (shares.piece(bytes(1), early), shares.piece(bytes(1), late));
        shares.leave(early);
        drop((first, second));
        shares.leave(late);
        assert!(shares.streams.borrow().is_empty());
        assert_eq!(shares.held.get(), 0);
    }
}
