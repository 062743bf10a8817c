//! The requests of one HTTP/2 connection, run by the connection's own task.
//!
//! A task of the runtime for each would be an aligned allocation and an entry in its books, and the
//! connection has to be woken for each answer anyway. Here a wake-up sets a bit, and one poll of the task
//! goes round until there is nothing left to do. In each round the connection comes first: what requests
//! said in the round before is out before they say more, such as that an answer broke off.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::coop;

/// Requests that run here at a time, and the connection; what is beyond gets a task of its own.
const PLACES: usize = 64 * WORDS;
const WORDS: usize = 4;
/// The connection's place: the first one.
const CONNECTION: usize = 0;
/// As many places are kept; what a crowd needed goes when it has left.
const KEPT: usize = 16;
/// After so many rounds it is the others' turn.
const MOST_ROUNDS: usize = 32;

/// The requests of one connection.
pub(super) struct Streams {
    places: Rc<RefCell<Places>>,
    woken: Arc<Woken>,
    connection: Waker,
}

/// What hyper starts requests with.
#[derive(Clone)]
pub(super) struct Starter {
    // Weak: requests hold it, and the places hold them.
    places: Weak<RefCell<Places>>,
    woken: Arc<Woken>,
}

type Request = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
struct Places {
    /// Place 1 and so on.
    all: Vec<Place>,
    free: Vec<usize>,
    /// The task's waker, to see whether it is still the same.
    task: Option<Waker>,
}

struct Place {
    /// `None`: nobody is there, or it is being polled.
    request: Option<Request>,
    waker: Waker,
}

/// What other threads may touch.
#[derive(Default)]
struct Woken {
    bits: [AtomicU64; WORDS],
    /// Whether the task knows that there is something to do: it runs, or was woken.
    busy: AtomicBool,
    task: Mutex<Option<Waker>>,
}

struct PlaceWaker {
    woken: Arc<Woken>,
    place: usize,
}

impl Streams {
    pub(super) fn new() -> Self {
        let woken = Arc::new(Woken::default());
        let connection = waker(&woken, CONNECTION);
        connection.wake_by_ref();
        Self { places: Rc::default(), woken, connection }
    }

    /// What starts requests here.
    pub(super) fn starter(&self) -> Starter {
        Starter { places: Rc::downgrade(&self.places), woken: self.woken.clone() }
    }

    /// Has the connection polled, whatever it waits for.
    pub(super) fn rouse_connection(&self) {
        self.connection.wake_by_ref();
    }

    /// Polls who was woken, until nobody is any more or the connection (polled by `connection`) is ready.
    pub(super) fn poll(
        &self,
        cx: &mut Context<'_>,
        mut connection: impl FnMut(&mut Context<'_>) -> Poll<()>,
    ) -> Poll<()> {
        self.keep(cx.waker());
        for _ in 0..MOST_ROUNDS {
            self.woken.busy.store(true, Ordering::SeqCst);
            for place in self.woken.places() {
                if !coop::has_budget_remaining() {
                    self.woken.wake(place);
                } else if place != CONNECTION {
                    self.run(place);
                } else if connection(&mut Context::from_waker(&self.connection)).is_ready() {
                    return Poll::Ready(());
                }
            }
            if !coop::has_budget_remaining() {
                break;
            }
            self.woken.busy.store(false, Ordering::SeqCst);
            // Who was woken just before saw a busy task and did not wake it.
            if !self.woken.anybody() {
                return Poll::Pending;
            }
        }
        // The others' turn: what is left to do is done when the task comes back, which is soon.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn keep(&self, task: &Waker) {
        let mut places = self.places.borrow_mut();
        if places.task.as_ref().is_none_or(|kept| !kept.will_wake(task)) {
            places.task = Some(task.clone());
            *self.woken.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.clone());
        }
    }

    /// Polls a request. A panic in it ends it and nothing else.
    fn run(&self, place: usize) {
        let Some((mut request, waker)) = self.places.borrow_mut().take(place) else { return };
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let over = request.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
            (!over).then_some(request)
        }));
        if polled.is_err() {
            tracing::error!("a request was lost to a panic");
        }
        self.places.borrow_mut().put_back(place, polled.ok().flatten(), waker);
    }
}

impl Places {
    /// A place for `request`; it comes back if there is none.
    fn enter(&mut self, request: Request, woken: &Arc<Woken>) -> Result<usize, Request> {
        if let Some(place) = self.free.pop() {
            self.all[place - 1].request = Some(request);
            return Ok(place);
        }
        let place = self.all.len() + 1;
        if place == PLACES {
            return Err(request);
        }
        self.all.push(Place { request: Some(request), waker: waker(woken, place) });
        Ok(place)
    }

    /// Takes a request and its waker out, to be polled.
    fn take(&mut self, place: usize) -> Option<(Request, Waker)> {
        let taken = self.all.get_mut(place - 1)?;
        let request = taken.request.take()?;
        Some((request, std::mem::replace(&mut taken.waker, Waker::noop().clone())))
    }

    /// Puts a request back that is not over, and the waker in any case.
    fn put_back(&mut self, place: usize, request: Option<Request>, waker: Waker) {
        let left = request.is_none();
        self.all[place - 1] = Place { request, waker };
        if left {
            self.free.push(place);
        }
        if self.free.len() == self.all.len() && self.all.len() > KEPT {
            *self = Self { task: self.task.take(), ..Self::default() };
        }
    }
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Starter {
    fn execute(&self, request: F) {
        // Without its connection a request has nobody to answer.
        let Some(places) = self.places.upgrade() else { return };
        let entered = places.borrow_mut().enter(Box::pin(request), &self.woken);
        match entered {
            Ok(place) => self.woken.wake(place),
            Err(request) => drop(tokio::task::spawn_local(request)),
        }
    }
}

impl Woken {
    /// Says that a place has something to do; the task is woken unless it knows.
    fn wake(&self, place: usize) {
        self.bits[place / 64].fetch_or(1 << (place % 64), Ordering::SeqCst);
        if !self.busy.load(Ordering::SeqCst) && !self.busy.swap(true, Ordering::SeqCst) {
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(task) = task {
                task.wake();
            }
        }
    }

    /// Takes who was woken, the least place first.
    fn places(&self) -> impl Iterator<Item = usize> {
        let words = self.bits.each_ref().map(|bits| match bits.load(Ordering::SeqCst) {
            0 => 0,
            _ => bits.swap(0, Ordering::SeqCst),
        });
        words.into_iter().enumerate().flat_map(|(at, mut word)| {
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(at * 64 + bit)
            })
        })
    }

    fn anybody(&self) -> bool {
        self.bits.iter().any(|bits| bits.load(Ordering::SeqCst) != 0)
    }
}

impl Wake for PlaceWaker {
    fn wake(self: Arc<Self>) {
        self.woken.wake(self.place);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.wake(self.place);
    }
}

fn waker(woken: &Arc<Woken>, place: usize) -> Waker {
    Waker::from(Arc::new(PlaceWaker { woken: woken.clone(), place }))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;

    use hyper::rt::Executor as _;
    use tokio::sync::oneshot;

    use super::*;

    /// Polls the streams once with a connection that is never ready; how often it was polled.
    async fn once(streams: &Streams) -> usize {
        let polled = Cell::new(0);
        poll_fn(|cx| {
            let connection = |_: &mut Context<'_>| {
                polled.set(polled.get() + 1);
                Poll::Pending
            };
            assert!(streams.poll(cx, connection).is_pending());
            Poll::Ready(())
        })
        .await;
        polled.get()
    }

    fn counting(count: &Rc<Cell<usize>>, told: oneshot::Receiver<()>) -> impl Future<Output = ()> + 'static {
        let (count, mut told) = (count.clone(), told);
        poll_fn(move |cx| {
            count.set(count.get() + 1);
            Pin::new(&mut told).poll(cx).map(drop)
        })
    }

    #[tokio::test]
    async fn only_who_was_woken_is_polled() {
        let (streams, count) = (Streams::new(), Rc::new(Cell::new(0)));
        let (tell, told) = oneshot::channel();
        let (_never, not_told) = oneshot::channel();
        streams.starter().execute(counting(&count, told));
        streams.starter().execute(counting(&count, not_told));
        assert_eq!((once(&streams).await, count.get()), (1, 2), "all are polled at first");
        assert_eq!((once(&streams).await, count.get()), (0, 2));
        tell.send(()).unwrap();
        assert_eq!((once(&streams).await, count.get()), (0, 3));
        streams.rouse_connection();
        assert_eq!((once(&streams).await, count.get()), (1, 3));
        assert_eq!(streams.places.borrow().free, [1], "one has left");
    }

    #[tokio::test]
    async fn wake_from_another_thread_wakes_the_task() {
        let (streams, over) = (Streams::new(), Rc::new(Cell::new(false)));
        let (tell, told) = oneshot::channel::<()>();
        let ends = over.clone();
        streams.starter().execute(async move {
            let _ = told.await;
            ends.set(true);
        });
        once(&streams).await;
        let telling = std::thread::spawn(move || drop(tell));
        poll_fn(|cx| {
            let _ = streams.poll(cx, |_| Poll::Pending);
            if over.get() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        telling.join().unwrap();
    }

    #[tokio::test]
    async fn panic_ends_one_request_alone() {
        let (streams, count) = (Streams::new(), Rc::new(Cell::new(0)));
        let (_never, not_told) = oneshot::channel();
        streams.starter().execute(async { panic!("on purpose") });
        streams.starter().execute(counting(&count, not_told));
        once(&streams).await;
        assert_eq!((count.get(), &streams.places.borrow().free[..]), (1, &[1][..]));
    }

    #[tokio::test]
    async fn connection_is_polled_after_the_requests_that_it_started() {
        let (streams, seen) = (Streams::new(), Rc::new(RefCell::new(Vec::new())));
        let over = poll_fn(|cx| {
            streams.poll(cx, |_| {
                seen.borrow_mut().push("connection");
                let (starter, rouse) = (streams.starter(), streams.connection.clone());
                let told = seen.clone();
                starter.execute(async move {
                    told.borrow_mut().push("request");
                    rouse.wake();
                });
                if seen.borrow().len() > 3 { Poll::Ready(()) } else { Poll::Pending }
            })
        });
        over.await;
        assert_eq!(*seen.borrow(), ["connection", "request", "connection", "request", "connection"]);
    }

    #[test]
    fn crowd_gets_tasks_of_its_own_and_leaves_no_places_behind() {
        let runtime = tokio::runtime::Builder::new_current_thread().build_local(Default::default()).unwrap();
        runtime.block_on(async {
            let (streams, count) = (Streams::new(), Rc::new(Cell::new(0)));
            let crowd: Vec<_> = (0..PLACES + 10)
                .map(|_| {
                    let (tell, told) = oneshot::channel();
                    streams.starter().execute(counting(&count, told));
                    tell
                })
                .collect();
            while count.get() < crowd.len() {
                once(&streams).await;
                tokio::task::yield_now().await;
            }
            assert_eq!(streams.places.borrow().all.len(), PLACES - 1);
            drop(crowd);
            while count.get() < 2 * (PLACES + 10) {
                once(&streams).await;
                tokio::task::yield_now().await;
            }
            assert_eq!(streams.places.borrow().all.len(), 0);
            streams.starter().execute(counting(&count, oneshot::channel().1));
            assert_eq!(once(&streams).await, 0);
            assert_eq!(streams.places.borrow().free, [1]);
        });
    }

    #[tokio::test]
    async fn requests_go_with_their_connection() {
        let (streams, alive) = (Streams::new(), Rc::new(()));
        let held = alive.clone();
        let starter = streams.starter();
        starter.execute(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        once(&streams).await;
        drop(streams);
        assert_eq!(Rc::strong_count(&alive), 1);
        starter.execute(async { unreachable!("its connection is gone") });
    }
}
