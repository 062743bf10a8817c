//! Lines to and from `run.py`: results on standard output, orders on standard input.

use std::io::{self, BufRead, Write};

use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Prints one result, at once: the reader waits for it.
pub(crate) fn tell(result: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{result}")?;
    out.flush()
}

/// Lines of standard input as they come; `None` at its end, which also comes when the reader dies.
pub(crate) struct Orders(UnboundedReceiver<String>);

impl Orders {
    /// Begins to read, on a thread of its own: a pipe has no readiness that all systems tell.
    pub(crate) fn read() -> Self {
        let (sender, receiver) = unbounded_channel();
        std::thread::spawn(move || {
            let lines = io::stdin().lock().lines();
            lines.map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self(receiver)
    }

    /// The next line.
    pub(crate) async fn next(&mut self) -> Option<String> {
        self.0.recv().await
    }

    /// Waits for the end of standard input.
    pub(crate) async fn ended(mut self) {
        while self.next().await.is_some() {}
    }
}
