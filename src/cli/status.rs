//! `porchd status`: how all stands, for a person who was woken, and for programs.

mod page;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::admin::protocol::{Answer, Question};
use crate::admin::status::Status;
use crate::cli::columns::Ink;
use crate::cli::output;
use crate::cli::running::{self, Running, Unanswered};

/// What is wanted.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    /// Look again every 2 seconds, until Ctrl-C.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

/// Between two looks: a person reads no faster.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The cursor goes up to the left, without a flicker; what was there is written over.
const TO_TOP: &str = "\u{1b}[H";
/// Nothing stays behind a line.
const LINE_END: &str = "\u{1b}[K\n";
/// Nothing stays below the last one.
const TO_BOTTOM: &str = "\u{1b}[J";

/// Shows it.
pub fn run(running: &Running, arguments: &Arguments) -> ExitCode {
    if arguments.watch {
        return watch(running);
    }
    match ask(running) {
        Ok(Some(status)) if arguments.json => output::print(&running::as_json(&status)),
        Ok(Some(status)) => output::print(&page::of(&status, Ink::of_terminal())),
        Ok(None) => running::another_answer(),
        Err(unanswered) => unanswered.complain(),
    }
}

/// `None`: something else was answered.
fn ask(running: &Running) -> Result<Option<Status>, Unanswered> {
    match running.answer(&Question::Status)? {
        Answer::Status(status) => Ok(Some(*status)),
        _ => Ok(None),
    }
}

/// Looks again and again. A porchd that is restarted meanwhile is waited for, one that was never there is not.
fn watch(running: &Running) -> ExitCode {
    let ink = Ink::of_terminal();
    let mut first = true;
    loop {
        let text = match ask(running) {
            Ok(Some(status)) => page::of(&status, ink),
            Ok(None) => return running::another_answer(),
            Err(unanswered) if first => return unanswered.complain(),
            Err(unanswered) => running::printable(&format!("{unanswered}\n")),
        };
        first = false;
        let shown = if ink == Ink::PLAIN { format!("{text}\n") } else { redrawn(&text) };
        if output::print(&shown) != ExitCode::SUCCESS {
            return ExitCode::FAILURE;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// `text` in place of what the screen shows.
fn redrawn(text: &str) -> String {
    let lines: String = text.lines().flat_map(|line| [line, LINE_END]).collect();
    format!("{TO_TOP}{lines}{TO_BOTTOM}")
}
