//! Before the binary on disk takes the warden's place it has to say, in a process of its own, that it is a porchd
//! which understands what is left to it, and takes the configuration.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::config;
use crate::os::waiting;
use crate::provision::calls;
use crate::warden::succession::{LONGEST, VERSION};

/// How a binary is called that is to say whether it understands.
pub const TRIAL: &str = "porchd: trial";
/// A binary that is one of ours answers at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer of a binary that is read: a file with many errors makes a long one.
const LONGEST_SAID: usize = 1 << 20;

/// What a binary is asked on its standard input.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Question {
    /// The configuration in force.
    in_force: String,
    /// The file of now, with which a new edge would begin.
    next: Option<String>,
}

/// What a binary says of itself.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Understood {
    /// Its version.
    pub porchd: String,
    /// The versions of what is left that it understands.
    pub succeeds: Vec<u32>,
    /// The versions of what edges speak that it understands.
    #[serde(default)]
    pub hears: Vec<u32>,
    /// Why no edge of it could serve, as far as that is known by the configuration alone.
    #[serde(default)]
    pub refuses: Option<String>,
}

impl Understood {
    /// What this binary says to whoever asks on `question`.
    pub fn own(question: impl Read) -> Self {
        let mut asked = Vec::new();
        let read = question.take(LONGEST).read_to_end(&mut asked);
        let asked =
            read.ok().and_then(|_| serde_json::from_slice::<Question>(&asked).ok()).unwrap_or_default();
        let refused = |text: &str| config::load(text, "porchd.yaml").err();
        // Edges of the text in force can be answered; or else they are replaced at once by one of the text of now.
        let refuses = refused(&asked.in_force)
            .and_then(|report| asked.next.as_deref().map_or(Some(report), refused))
            .map(|report| report.render(false));
        Self {
            porchd: env!("CARGO_PKG_VERSION").to_owned(),
            succeeds: vec![VERSION],
            hears: vec![calls::VERSION],
            refuses,
        }
    }
}

/// Has `program` say whether it is a porchd that understands what is left to it: the configuration that is
/// `in_force`, or else the `next` one, and what edges speak.
///
/// # Errors
/// Why it can't take over, for people.
pub fn try_binary(program: &Path, in_force: &str, next: Option<String>) -> Result<Understood, String> {
    let named = |error: io::Error| format!("{} cannot be run: {error}", program.display());
    let question = Question { in_force: in_force.to_owned(), next };
    let question = serde_json::to_vec(&question).map_err(|error| error.to_string())?;
    let question = nameless(&question).map_err(named)?;
    let mut command = Command::new(program);
    command.arg0(TRIAL).env_clear().stdin(question).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(named)?;
    let deadline = clock::now() + PATIENCE;
    let said = match child.stdout.take() {
        Some(mut out) => hear(&mut out, deadline),
        None => Ok(Vec::new()),
    };
    // One that is over already is not met by it.
    let _ = child.kill();
    let _ = child.wait();
    let understood = said.ok().and_then(|said| serde_json::from_slice::<Understood>(&said).ok());
    match understood {
        Some(Understood { porchd, refuses: Some(why), .. }) => Err(format!(
            "{} is porchd {porchd}, which does not take the configuration:\n{}",
            program.display(),
            why.trim_end()
        )),
        Some(understood)
            if understood.succeeds.contains(&VERSION) && understood.hears.contains(&calls::VERSION) =>
        {
            Ok(understood)
        }
        Some(Understood { porchd, .. }) => Err(format!(
            "{} is porchd {porchd}, which does not understand this one; restart it",
            program.display()
        )),
        None => Err(format!("{} is no porchd, or one that does not run here", program.display())),
    }
}

/// All that is said until the end, or the deadline.
fn hear(out: &mut (impl Read + AsFd), deadline: Instant) -> io::Result<Vec<u8>> {
    let mut said = Vec::new();
    let mut bytes = [0; 4096];
    while said.len() < LONGEST_SAID {
        let left = deadline.saturating_duration_since(clock::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        if waiting::wait(&[out.as_fd()], Some(left))? == [true] {
            match out.read(&mut bytes)? {
                0 => break,
                count => said.extend_from_slice(&bytes[..count]),
            }
        }
    }
    Ok(said)
}

/// A file that has no name any more, to read `text` from.
///
/// # Errors
/// Those of a disk that has no room for it.
pub fn nameless(text: &[u8]) -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("porchd-{:016x}", clock::random()));
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    file.write_all(text)?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(in_force: &str, next: Option<&str>) -> Understood {
        let next = next.map(str::to_owned);
        let question = serde_json::to_vec(&Question { in_force: in_force.to_owned(), next }).unwrap();
        Understood::own(&question[..])
    }

    #[test]
    fn configuration_in_force_is_taken_or_the_next_one() {
        let good = "sites: [ { hosts: [ a.example ], routes: [ { path: /, deny: true } ] } ]";
        let from_the_future = "brighter: true";
        assert_eq!(asked(good, None).refuses, None);
        assert_eq!(asked(good, Some(from_the_future)).refuses, None, "the new edge will tell");
        assert_eq!(asked(from_the_future, Some(good)).refuses, None, "the new edge comes at once");
        for next in [None, Some(from_the_future)] {
            let understood = asked(from_the_future, next);
            assert!(understood.refuses.is_some_and(|why| why.contains("brighter")));
            assert_eq!((understood.succeeds, understood.hears), (vec![VERSION], vec![calls::VERSION]));
        }
        // Whoever asks nothing is told the versions.
        assert_eq!(Understood::own(&b""[..]).succeeds, [VERSION]);
    }

    #[test]
    fn program_that_is_no_porchd_is_told_by_name() {
        for program in ["/bin/true", "/bin/cat", "/nowhere/porchd"] {
            let why = try_binary(Path::new(program), "", None).unwrap_err();
            assert!(why.starts_with(program), "{why}");
        }
    }
}
