//! The connections of one thread, counted from accept to their very end.
//!
//! A thread that drains ends when nobody is left. Membership goes with the connection's permit, so it
//! lasts as long as whatever serves it, tunnels included.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::listener::permits::Permit;

/// How many connections a thread holds.
#[derive(Debug, Clone, Default)]
pub struct OpenConnections(Rc<Inner>);

/// One connection's membership, with its permit if it has one yet.
#[derive(Debug)]
pub struct OpenConnection {
    open_connections: OpenConnections,
    permit: Option<Permit>,
}

#[derive(Debug, Default)]
struct Inner {
    size: Cell<usize>,
    empty: Notify,
}

impl OpenConnections {
    /// Takes one more in.
    pub fn add(&self) -> OpenConnection {
        self.0.size.set(self.0.size.get() + 1);
        OpenConnection { open_connections: self.clone(), permit: None }
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.0.size.get() == 0
    }

    /// Waits until nobody is left.
    pub async fn emptied(&self) {
        while !self.is_empty() {
            self.0.empty.notified().await;
        }
    }
}

impl OpenConnection {
    /// The same membership, now with a permit.
    pub fn with_permit(mut self, permit: Permit) -> Self {
        self.permit = Some(permit);
        self
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let inner = &self.open_connections.0;
        inner.size.set(inner.size.get() - 1);
        if inner.size.get() == 0 {
            inner.empty.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn empty_once_the_last_has_left() {
        let open_connections = OpenConnections::default();
        open_connections.emptied().await;
        let (first, second) = (open_connections.add(), open_connections.add());
        drop(first);
        assert!(!open_connections.is_empty());
        let ((), ()) = tokio::join!(biased; open_connections.emptied(), async { drop(second) });
        assert!(open_connections.is_empty());
    }
}
