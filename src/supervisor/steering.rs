//! Who steers this porchd: the program that it is a part of, the signals of its process, or a warden.

use std::io::{self, Write};
use std::os::unix::net::UnixStream as SystemStream;

use tokio::net::UnixStream;

use crate::os::notify;
use crate::provision::calls::{self, LONGEST_LINE, Note, Order};
use crate::supervisor::signals::Signals;

/// What is asked from above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Take the new configuration.
    Reload,
    /// Drain and end; once more: end now.
    Stop,
    /// Open the logs again, they were rotated.
    Reopen,
    /// Take what only one edge may have.
    Lead,
    /// Give that up and end when everybody has gone.
    Yield,
    /// An upgrade is over.
    Upgraded {
        /// Why nothing came of it.
        failed: Option<String>,
    },
}

/// How porchd stands, for those above it.
#[derive(Debug, Clone, Copy)]
pub enum Standing<'a> {
    /// It serves; one line for people.
    Ready(&'a str),
    /// A reload has begun.
    Reloading,
    /// A stop has begun.
    Stopping,
}

/// Who steers.
#[derive(Debug)]
pub enum Steering {
    /// The program that porchd is a part of, by `Running` alone.
    Program,
    /// The process' own signals; a service manager is told.
    Process(Signals),
    /// The warden.
    Warden(Warden),
}

impl Steering {
    /// What is asked next. Nothing is lost when this is dropped before it is ready.
    pub async fn next(&mut self) -> Asked {
        match self {
            Self::Program => std::future::pending().await,
            Self::Process(signals) => signals.next().await,
            Self::Warden(warden) => warden.next().await,
        }
    }

    /// Tells how porchd stands. Nobody who can't be told hinders serving.
    pub fn tell(&self, standing: Standing<'_>) {
        let told = match (self, standing) {
            (Self::Program, _) => Ok(()),
            (Self::Process(_), Standing::Ready(status)) => notify::ready(status),
            (Self::Process(_), Standing::Reloading) => notify::reloading(),
            (Self::Process(_), Standing::Stopping) => notify::stopping(),
            (Self::Warden(warden), Standing::Ready(status)) => warden.note(&Note::Ready(status.to_owned())),
            (Self::Warden(warden), Standing::Reloading) => warden.note(&Note::Reloading),
            (Self::Warden(warden), Standing::Stopping) => warden.note(&Note::Stopping),
        };
        if let Err(error) = told {
            tracing::debug!(%error, "whoever started porchd was not told");
        }
    }

    /// Whether the warden is gone: another one may be starting already.
    pub fn is_left_alone(&self) -> bool {
        self.warden().is_some_and(|warden| warden.ended)
    }

    /// The warden, if there is one.
    pub fn warden(&self) -> Option<&Warden> {
        match self {
            Self::Warden(warden) => Some(warden),
            Self::Program | Self::Process(_) => None,
        }
    }
}

/// The warden, as the edge's control thread hears it.
#[derive(Debug)]
pub struct Warden {
    socket: UnixStream,
    // The same one for writing: the runtime does not know yet whether it can be written to when it is told at once.
    notes: SystemStream,
    heard: Vec<u8>,
    ended: bool,
}

impl Warden {
    /// At the other end of `socket`; to be called in a runtime.
    ///
    /// # Errors
    /// Those of the runtime.
    pub fn hear(socket: SystemStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let notes = socket.try_clone()?;
        Ok(Self { socket: UnixStream::from_std(socket)?, notes, heard: Vec::new(), ended: false })
    }

    /// Tells it something.
    ///
    /// # Errors
    /// When it is gone, or does not read.
    pub fn note(&self, note: &Note) -> io::Result<()> {
        // Notes are short and few: there is room for a line, or the warden is stuck.
        (&self.notes).write_all(&calls::line(note)?)
    }

    async fn next(&mut self) -> Asked {
        loop {
            if self.ended {
                return std::future::pending().await;
            }
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                match serde_json::from_slice::<Order>(&line) {
                    Ok(order) => return Asked::from(order),
                    Err(error) => tracing::error!(%error, "an order of the warden is not understood"),
                }
                continue;
            }
            if !self.read().await {
                self.ended = true;
                tracing::error!("the warden is gone: the edge drains and ends, so that a new one can begin");
                return Asked::Stop;
            }
        }
    }

    /// Reads more; false: there is an end.
    async fn read(&mut self) -> bool {
        if self.socket.readable().await.is_err() || self.heard.len() > LONGEST_LINE {
            return false;
        }
        match self.socket.try_read_buf(&mut self.heard) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

impl From<Order> for Asked {
    fn from(order: Order) -> Self {
        match order {
            Order::Reload => Self::Reload,
            Order::Reopen => Self::Reopen,
            Order::Stop => Self::Stop,
            Order::Lead => Self::Lead,
            Order::Yield => Self::Yield,
            Order::Upgraded { failed } => Self::Upgraded { failed },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn orders_come_in_turn_and_the_end_is_a_stop() {
        let (mut warden, edge) = SystemStream::pair().unwrap();
        let mut steering = Steering::Warden(Warden::hear(edge).unwrap());
        warden.write_all(b"\"Reload\"\n\"Nonsense\"\n{\"Upgraded\":{\"failed\":\"why\"}}\n\"Le").unwrap();
        assert_eq!(steering.next().await, Asked::Reload);
        assert_eq!(steering.next().await, Asked::Upgraded { failed: Some("why".to_owned()) });
        warden.write_all(b"ad\"\n").unwrap();
        assert_eq!(steering.next().await, Asked::Lead);
        assert!(!steering.is_left_alone());
        drop(warden);
        assert_eq!(steering.next().await, Asked::Stop);
        assert!(steering.is_left_alone());
    }

    #[tokio::test]
    async fn warden_is_told() {
        let (mut warden, edge) = SystemStream::pair().unwrap();
        let steering = Steering::Warden(Warden::hear(edge).unwrap());
        steering.tell(Standing::Ready("all is well"));
        steering.tell(Standing::Stopping);
        let told = b"{\"Ready\":\"all is well\"}\n\"Stopping\"\n";
        let mut heard = vec![0; told.len()];
        warden.read_exact(&mut heard).unwrap();
        assert_eq!(heard, told);
    }
}
