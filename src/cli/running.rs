//! The porchd that runs, as the commands see it that ask it something.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::admin::client::{self, AskError};
use crate::admin::protocol::{Answer, Question};
use crate::cli::{DEFAULT_FILE, output};
use crate::config;
use crate::config::model::Config;
use crate::provision::Provision;
use crate::provision::in_process::InProcess;

/// How the running porchd is found.
#[derive(Debug, Args)]
pub struct Running {
    /// The configuration, which says where the control socket is; it may be wrong elsewhere.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE, global = true)]
    file: PathBuf,
    /// The control socket, whatever the configuration says.
    #[arg(short, long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
}

/// There is no socket to ask at.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSocket {
    /// The configuration is not there, and whether there is another one nobody knows.
    #[error("{} says where porchd can be asked, and cannot be read: {source}; -f names another \
             configuration, -s the control socket itself", file.display())]
    Unreadable {
        /// The configuration.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says so.
    #[error("porchd has no control socket: `admin.socket` is false in {}. SIGHUP reloads it", .0.display())]
    Off(PathBuf),
}

/// There is no answer, or it is a refusal.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// Where to ask is not known.
    #[error("{0}")]
    Nowhere(#[from] NoSocket),
    /// Nobody understood.
    #[error("{0}")]
    Asked(#[from] AskError),
    /// porchd says no.
    #[error("{}", .0.trim_end())]
    Refused(String),
}

impl Unanswered {
    /// Whether no porchd runs there, as far as that can be told.
    pub(super) fn nobody_runs(&self) -> bool {
        matches!(self, Self::Nowhere(_) | Self::Asked(AskError::Nobody { .. }))
    }

    /// Tells it; the status is that of a command that has failed.
    pub(super) fn complain(&self) -> ExitCode {
        // It may quote what was heard.
        output::complain(&format!("{}\n", printable(&self.to_string())));
        ExitCode::FAILURE
    }
}

impl Running {
    /// Asks, waits, and tells the answer by `tell`. When there is none, or it is a refusal, that is told
    /// and the status is 1.
    pub(super) fn ask(&self, question: &Question, tell: impl FnOnce(Answer) -> ExitCode) -> ExitCode {
        match self.answer(question) {
            Ok(answer) => tell(answer),
            Err(unanswered) => unanswered.complain(),
        }
    }

    /// Asks and waits.
    ///
    /// # Errors
    /// When there is no answer, or it is a refusal.
    pub(super) fn answer(&self, question: &Question) -> Result<Answer, Unanswered> {
        let socket = socket_path(&self.file, self.socket.as_deref())?;
        match client::ask(&socket, question, client::SILENCE)? {
            Answer::Refused(why) => Err(Unanswered::Refused(why)),
            answer => Ok(answer),
        }
    }

    /// The configuration as its file says it now, and the file's name.
    ///
    /// # Errors
    /// What is wrong with the file, as text with line breaks.
    pub(super) fn configuration(&self) -> Result<Config, String> {
        let name = self.file.display().to_string();
        let text = InProcess::new(self.file.clone()).configuration();
        let text = text.map_err(|error| format!("the configuration cannot be read: {error}\n"))?;
        config::load(&text, &name).map(|loaded| loaded.config).map_err(|report| report.render(false))
    }

    /// The name of the configuration's file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

/// Where porchd can be asked.
fn socket_path(file: &Path, socket: Option<&Path>) -> Result<PathBuf, NoSocket> {
    if let Some(socket) = socket {
        return Ok(socket.into());
    }
    let text = match std::fs::read(file) {
        Ok(text) => text,
        // Who may ask by the socket's group need not be allowed to read the configuration: an empty one has
        // the socket at its usual place.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Vec::new(),
        Err(source) => return Err(NoSocket::Unreadable { file: file.into(), source }),
    };
    config::control_socket(&String::from_utf8_lossy(&text)).ok_or_else(|| NoSocket::Off(file.into()))
}

/// Tells that it is done: warnings to standard error, what was done to standard output; `nothing` is said
/// when there is nothing to say.
pub(super) fn tell_done(answer: Answer, nothing: &str) -> ExitCode {
    let (lines, warnings) = match answer {
        Answer::Done { lines, warnings } => (lines, warnings),
        _ => return another_answer(),
    };
    for warning in warnings {
        output::complain(&format!("warning: {}\n", printable(&warning)));
    }
    let text: String = lines.iter().map(|line| printable(line) + "\n").collect();
    output::print(if text.is_empty() { nothing } else { &text })
}

/// The answer is to something that was not asked.
pub(super) fn another_answer() -> ExitCode {
    output::complain("porchd has answered another question than this one\n");
    ExitCode::FAILURE
}

/// `value` as JSON for a terminal.
pub(super) fn as_json(value: &impl serde::Serialize) -> String {
    // What is told holds nothing that JSON can't: no maps, no floats.
    printable_json(&serde_json::to_string_pretty(value).unwrap_or_default()) + "\n"
}

/// `text` without what a terminal would obey instead of showing it: some of it comes from a CA.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|char| if is_obeyed(char) { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

/// The same for JSON, where the places of control characters are known: outside of strings there are none but
/// those that lay it out, and inside anything may be written by its number (RFC 8259 section 7).
pub(super) fn printable_json(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for char in text.chars() {
        if is_obeyed(char) {
            plain += &format!("\\u{:04x}", u32::from(char));
        } else {
            plain.push(char);
        }
    }
    plain
}

/// Control characters, and those that turn the direction of writing (Unicode TR 9).
fn is_obeyed(char: char) -> bool {
    (char.is_control() && !matches!(char, '\n' | '\t'))
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_what_the_command_line_or_the_configuration_says() {
        let file = std::env::temp_dir().join(format!("porchd-running-{:x}", crate::clock::random()));
        let error = socket_path(&file, None).unwrap_err().to_string();
        for part in [file.to_str().unwrap(), "-f names", "-s the control socket"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert_eq!(socket_path(&file, Some(Path::new("s"))).unwrap(), Path::new("s"));
        // A file that no reload would take must not keep anybody from asking.
        std::fs::write(&file, b"admin: { socket: /x/y }\nsites: [ \xff\n").unwrap();
        assert_eq!(socket_path(&file, None).unwrap(), Path::new("/x/y"));
        std::fs::write(&file, "").unwrap();
        assert!(socket_path(&file, None).unwrap().ends_with("run/porchd/porchd.sock"));
        std::fs::write(&file, "admin: { socket: false }\n").unwrap();
        let error = socket_path(&file, None).unwrap_err().to_string();
        assert!(error.contains("`admin.socket` is false") && error.contains("SIGHUP"), "{error}");
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn terminals_are_not_steered() {
        assert_eq!(
            printable("a\u{1b}[2Jb\r\n\tc\u{202e}d \u{e4}"),
            "a\u{fffd}[2Jb\u{fffd}\n\tc\u{fffd}d \u{e4}"
        );
        let said = "a\u{1b}b\u{9b}2J\u{202e}\n\u{e4}\u{7f}";
        let json = printable_json(&serde_json::to_string_pretty(&[said]).unwrap());
        assert!(!json.chars().any(is_obeyed), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), [said]);
    }
}
