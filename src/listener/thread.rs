//! A thread with a runtime of its own, and how its end is noticed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};

/// A running thread that takes commands `C`.
#[derive(Debug)]
pub struct Thread<C> {
    commands: mpsc::UnboundedSender<C>,
    ended: oneshot::Receiver<()>,
}

impl<C: Send + 'static> Thread<C> {
    /// Starts a thread called `name` that runs `main`. The runtime is made first: an error is told here.
    pub fn start<F>(
        name: String,
        main: impl FnOnce(mpsc::UnboundedReceiver<C>) -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = ()>,
    {
        let (commands, received) = mpsc::unbounded_channel();
        let (alive, ended) = oneshot::channel::<()>();
        let (made, making) = std::sync::mpsc::channel();
        let body = move || {
            // Dropped at the end of this thread, whichever way it ends.
            let _alive = alive;
            let runtime =
                match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(made.send(Err(error))),
                };
            drop(made.send(Ok(())));
            runtime.block_on(main(received));
            // Files being read may hang on a dead disk; the process must end all the same.
            runtime.shutdown_timeout(LAST_READS);
        };
        std::thread::Builder::new().name(name).spawn(body)?;
        making.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended before it began")))?;
        Ok(Self { commands, ended })
    }
}

impl<C> Thread<C> {
    /// Sends a command. A thread that has ended has nothing left that it could apply to.
    pub fn send(&self, command: C) {
        let _ = self.commands.send(command);
    }

    /// A way to send commands from other threads.
    pub fn sender(&self) -> mpsc::UnboundedSender<C> {
        self.commands.clone()
    }

    /// Ready once the thread has ended, and from then on.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended.is_terminated() {
            return Poll::Ready(());
        }
        Pin::new(&mut self.ended).poll(cx).map(|_| ())
    }
}

const LAST_READS: Duration = Duration::from_secs(1);
