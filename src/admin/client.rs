//! Asks the porchd that runs, from another process, and waits for its answer.
//!
//! It blocks: a command has nothing else to do.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::admin::protocol::{Answer, Heard, LONGEST_ANSWER, ProtocolError, Question};

/// How long porchd may say nothing at all before it is taken to hang. It says that it works every 10 s.
pub const SILENCE: Duration = Duration::from_secs(60);

/// A question that was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no socket, or nobody listens on it.
    #[error(
        "no porchd answers at {}: {source}; is porchd running? {START}; -s names another socket",
        path.display()
    )]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file system says no.
    #[error(
        "{} cannot be opened: {source}; be root, or in the group of the socket and its folder",
        path.display()
    )]
    Denied {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something else in its place.
    #[error("{} is not a socket; -s wants what `admin.socket` says in the configuration", .0.display())]
    NoSocket(PathBuf),
    /// It can't be the path of a socket, or the system has no sockets left.
    #[error("{} cannot be asked: {source}", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing was heard for too long.
    #[error(
        "porchd has not said a word for {} s. It may still do what it was asked; its log tells. If that \
         is silent too it hangs: restart it",
        .0.as_secs()
    )]
    Silent(Duration),
    /// The connection ended without an answer.
    #[error("porchd ended before it answered; its log tells why")]
    Ended,
    /// What answers is not understood.
    #[error(
        "the answer is not understood: {0}; use the `porchd` command that belongs to the porchd that runs"
    )]
    Answer(#[from] ProtocolError),
}

/// How the service is started here.
const START: &str = if cfg!(target_os = "openbsd") { "rcctl start porchd" } else { "systemctl start porchd" };

/// Asks `question` at `socket` and waits for the answer as long as there are signs of work; without any,
/// for `silence`.
pub fn ask(socket: &Path, question: &Question, silence: Duration) -> Result<Answer, AskError> {
    let stream = connect(socket, silence).map_err(|error| not_connected(socket, silence, error))?;
    // Who is turned away is told so before it is heard: the answer counts, not this failure.
    let asked = (&stream).write_all(question.to_line().as_bytes());
    match hear(&stream, silence) {
        Err(AskError::Ended) if asked.is_err_and(|error| timed_out(&error)) => Err(AskError::Silent(silence)),
        heard => heard,
    }
}

fn connect(path: &Path, silence: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // On Linux connect(2) to a full queue waits for as long as this says (unix(7)).
    socket.set_write_timeout(Some(silence))?;
    socket.set_read_timeout(Some(silence))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

fn not_connected(path: &Path, silence: Duration, source: io::Error) -> AskError {
    let is_socket = || std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::NotFound => AskError::Nobody { path, source },
        ErrorKind::PermissionDenied => AskError::Denied { path, source },
        ErrorKind::ConnectionRefused if is_socket() => AskError::Nobody { path, source },
        ErrorKind::ConnectionRefused => AskError::NoSocket(path),
        _ if timed_out(&source) => AskError::Silent(silence),
        _ => AskError::System { path, source },
    }
}

fn hear(stream: &UnixStream, silence: Duration) -> Result<Answer, AskError> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let read = reader.by_ref().take(LONGEST_ANSWER as u64).read_until(b'\n', &mut line);
        match read {
            Err(error) if timed_out(&error) => return Err(AskError::Silent(silence)),
            Err(_) => return Err(AskError::Ended),
            Ok(_) if !line.ends_with(b"\n") && line.len() < LONGEST_ANSWER => return Err(AskError::Ended),
            Ok(_) => {}
        }
        match Heard::of_line(&line)? {
            Heard::Working => {}
            Heard::Answer(answer) => return Ok(answer),
        }
    }
}

/// How a timeout of the socket's shows differs between systems.
fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread::JoinHandle;

    use super::*;

    /// A folder of the test's own.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("porchd-client-{:x}", crate::clock::random()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("s")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Asks a porchd that hears one question, says `lines`, and then goes, or stays until the client goes.
    fn asked(lines: &'static str, stays: bool, silence: Duration) -> (Result<Answer, AskError>, String) {
        let folder = Folder::new();
        let listener = UnixListener::bind(folder.socket()).unwrap();
        let porchd: JoinHandle<String> = std::thread::spawn(move || {
            let mut client = BufReader::new(listener.accept().unwrap().0);
            let mut question = String::new();
            client.read_line(&mut question).unwrap();
            client.get_mut().write_all(lines.as_bytes()).unwrap();
            if stays {
                client.read_to_end(&mut Vec::new()).unwrap();
            }
            question
        });
        let answer = ask(&folder.socket(), &Question::Reload, silence);
        (answer, porchd.join().unwrap())
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn the_answer_comes_after_signs_of_work() {
        let lines = "{\"version\":1,\"working\":true}\n{\"version\":1,\"working\":true}\n\
                     {\"version\":1,\"ok\":true,\"lines\":[\"a\"]}\n";
        let (answer, question) = asked(lines, true, LONG);
        assert_eq!(answer.unwrap(), Answer::Done { lines: vec!["a".into()], warnings: Vec::new() });
        assert_eq!(question, "{\"version\":1,\"do\":\"reload\"}\n");
    }

    #[test]
    fn a_refusal_is_an_answer() {
        let (answer, _) = asked("{\"version\":1,\"ok\":false,\"error\":\"x\\ny\"}\n", false, LONG);
        assert_eq!(answer.unwrap(), Answer::Refused("x\ny".into()));
    }

    #[test]
    fn silence_ends_the_wait() {
        for lines in ["", "{\"version\":1,\"working\":true}\n", "{\"version\":1,"] {
            let (answer, _) = asked(lines, true, Duration::from_millis(20));
            let error = answer.unwrap_err();
            assert!(matches!(error, AskError::Silent(_)), "{error}");
        }
        let text = AskError::Silent(SILENCE).to_string();
        assert!(
            text.starts_with("porchd has not said a word for 60 s") && text.contains("restart"),
            "{text}"
        );
    }

    #[test]
    fn an_end_without_an_answer_is_told() {
        for lines in ["", "{\"version\":1,\"ok\":tr", "{\"version\":1,\"working\":true}\n"] {
            let error = asked(lines, false, LONG).0.unwrap_err();
            assert!(matches!(error, AskError::Ended), "{error}");
        }
    }

    #[test]
    fn what_is_no_porchd_is_told() {
        for lines in ["HTTP/1.1 400 Bad Request\n", "{\"version\":9,\"ok\":true}\n"] {
            let error = asked(lines, false, LONG).0.unwrap_err();
            assert!(matches!(error, AskError::Answer(_)), "{error}");
        }
    }

    #[test]
    fn without_a_porchd_the_cure_is_told() {
        let folder = Folder::new();
        // What a porchd leaves that was killed.
        drop(UnixListener::bind(folder.socket()).unwrap());
        for path in [folder.socket(), folder.0.join("nothing")] {
            let text = ask(&path, &Question::Certs, LONG).unwrap_err().to_string();
            for part in [path.to_str().unwrap(), "is porchd running?", START] {
                assert!(text.contains(part), "{part} in {text}");
            }
        }
        let file = folder.0.join("file");
        std::fs::write(&file, "").unwrap();
        let text = ask(&file, &Question::Certs, LONG).unwrap_err().to_string();
        assert!(text.contains("is not a socket"), "{text}");
        let text = ask(&folder.0.join("x".repeat(200)), &Question::Certs, LONG).unwrap_err().to_string();
        assert!(text.contains("cannot be asked"), "{text}");
    }

    #[test]
    fn who_may_not_ask_is_told_who_may() {
        // Root may do everything, so the errors are made, not met.
        let path = Path::new("/run/porchd/porchd.sock");
        let error = not_connected(path, LONG, ErrorKind::PermissionDenied.into());
        assert!(matches!(error, AskError::Denied { .. }));
        assert!(error.to_string().contains("be root, or in the group"), "{error}");
        let error = not_connected(path, LONG, ErrorKind::WouldBlock.into());
        assert!(matches!(error, AskError::Silent(LONG)), "{error}");
    }
}
