//! One client of the control socket: its questions, one after the other, and their answers.
//!
//! Whatever a client does (garbage, half a line, silence, going away) ends its own conversation alone.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::admin::protocol::{Answer, Heard, LONGEST_QUESTION, ProtocolError, Question, VERSION};
use crate::admin::server::Ask;

/// Answers `client` until it goes or is of no use.
pub(super) async fn hold(mut client: UnixStream, asks: &UnboundedSender<Ask>) -> io::Result<()> {
    let (read, mut write) = client.split();
    let mut read = BufReader::new(read);
    loop {
        let question = match next_line(&mut read).await? {
            Line::End => return Ok(()),
            Line::Whole(line) => Question::of_line(&line).map_err(|error| refusal(&error)),
            Line::Useless(why) => Err(why),
        };
        match question {
            Ok(question) => answer(question, asks, &mut write).await?,
            // What follows would be understood no better.
            Err(why) => return say(&mut write, &Heard::Answer(Answer::Refused(why))).await,
        }
    }
}

/// What a client says.
enum Line {
    /// A line with its end.
    Whole(Vec<u8>),
    /// Nothing more.
    End,
    /// No line will come of it: why.
    Useless(String),
}

async fn next_line(read: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Line> {
    let mut line = Vec::new();
    let mut bounded = read.take(LONGEST_QUESTION as u64);
    let Ok(ended) = timeout(PATIENCE, bounded.read_until(b'\n', &mut line)).await else {
        return Ok(Line::Useless(format!("no whole line came within {} s", PATIENCE.as_secs())));
    };
    ended?;
    Ok(match line.last() {
        None => Line::End,
        Some(b'\n') => Line::Whole(line),
        Some(_) if line.len() == LONGEST_QUESTION => {
            Line::Useless(format!("a line of more than {LONGEST_QUESTION} bytes"))
        }
        Some(_) => Line::Useless(String::from("half a line: it does not end with a line feed")),
    })
}

fn refusal(error: &ProtocolError) -> String {
    match error {
        ProtocolError::Version { theirs } if *theirs > VERSION => format!(
            "{error}: the `porchd` command is newer than the porchd that runs; restart it, so that it is the \
             one that is installed"
        ),
        ProtocolError::Version { .. } => {
            format!("{error}: use the `porchd` command that belongs to the porchd that runs")
        }
        error => error.to_string(),
    }
}

/// Asks the supervisor and tells its answer, however long that takes.
async fn answer(
    question: Question,
    asks: &UnboundedSender<Ask>,
    write: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let (reply, mut answer) = oneshot::channel();
    // When nobody receives, `reply` is dropped with what could not be sent.
    let _ = asks.send(Ask { question, reply });
    loop {
        tokio::select! {
            answer = &mut answer => {
                let answer = answer.unwrap_or_else(|_| Answer::Refused(String::from("porchd is stopping")));
                return say(write, &Heard::Answer(answer)).await;
            }
            // A client that is gone is found out by this too.
            () = sleep(SIGN_OF_WORK) => say(write, &Heard::Working).await?,
        }
    }
}

async fn say(write: &mut (impl AsyncWrite + Unpin), heard: &Heard) -> io::Result<()> {
    let line = heard.to_line();
    timeout(PATIENCE, write.write_all(line.as_bytes())).await?
}

/// How long a client may take for a line, to say or to hear it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two signs that a question is being worked on; far below the silence that the client bears.
const SIGN_OF_WORK: Duration = Duration::from_secs(10);
