//! What is said over the control socket: one JSON object a line, each with the protocol's version.
//!
//! Asked: `{"version":1,"do":"reload"}`, `{"version":1,"do":"upgrade"}`, `{"version":1,"do":"certs"}`,
//! `{"version":1,"do":"renew","name":"example.com","wait":true}` or `"all":true` in place of the name,
//! `{"version":1,"do":"revoke","name":"example.com","reason":"superseded"}`, `{"version":1,"do":"status"}`,
//! `{"version":1,"do":"incidents","since":"2026-11-28T00:00:00Z"}` (`since` may be left out),
//! `{"version":1,"do":"explain","url":"https://example.com/","method":"GET","from":"192.0.2.1"}`.
//!
//! Answered: any number of `{"version":1,"working":true}` while it lasts, then one line
//! `{"version":1,"ok":true,"lines":[...],"warnings":[...]}`, `{"version":1,"ok":true,"certificates":[...]}`,
//! the same with `"status":{...}`, `"incidents":[...]` or `"explanation":{...}`,
//! or `{"version":1,"ok":false,"error":"..."}`. Text may hold line breaks.

use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::acme::moment::Moment;
use crate::acme::status::{CertificateStatus, Reason};
use crate::admin::explanation::Explanation;
use crate::admin::status::Status;
use crate::incidents::record::Incident;

/// The version that this porchd speaks. One is added when an old reader would misunderstand.
pub const VERSION: u64 = 1;
/// Bytes of a question's line at the most, its end included.
pub const LONGEST_QUESTION: usize = 64 * 1024;
/// Bytes of an answer's line at the most: some ten thousand certificates.
pub const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// What the running porchd is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Asked", into = "Asked")]
pub enum Question {
    /// To put the configuration of now in force. Answered by [`Answer::Done`] with what changed.
    Reload,
    /// To have a new edge take over from the binary on disk. Answered by [`Answer::Done`] when it serves.
    Upgrade,
    /// How its certificates stand. Answered by [`Answer::Certificates`].
    Certs,
    /// To order certificates now, whatever their age. Answered by [`Answer::Done`].
    Renew {
        /// Which.
        which: Which,
        /// True: the answer comes when the outcome is known. False: when the orders are queued.
        wait: bool,
    },
    /// To revoke a certificate at its CA. Answered by [`Answer::Done`].
    Revoke {
        /// The site that it is for (its first host), or one of its names.
        name: String,
        /// Why.
        reason: Reason,
    },
    /// How all stands. Answered by [`Answer::Status`].
    Status,
    /// When upstreams were away. Answered by [`Answer::Incidents`].
    Incidents {
        /// Those that were over before are left out.
        since: Option<Moment>,
    },
    /// What would become of a request. Answered by [`Answer::Explanation`].
    Explain {
        /// Its URL.
        url: String,
        /// Its method.
        method: String,
        /// The client's address.
        from: IpAddr,
    },
}

/// The certificates that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// That of the site with this name, or with this name among its hosts.
    Name(String),
    /// All that porchd orders.
    All,
}

/// What the running porchd answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done {
        /// What was done, in the order in which it is told; each may be several lines of text.
        lines: Vec<String>,
        /// What a person should know about it.
        warnings: Vec<String>,
    },
    /// How the certificates stand.
    Certificates(Vec<CertificateStatus>),
    /// How all stands.
    Status(Box<Status>),
    /// The incidents, oldest first.
    Incidents(Vec<Incident>),
    /// What would become of the request.
    Explanation(Box<Explanation>),
    /// It is not done, and nothing has changed: what is wrong and what to do about it.
    Refused(String),
}

/// What comes back while a question waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It is being worked on.
    Working,
    /// It is answered.
    Answer(Answer),
}

/// A line that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// It is not one JSON object with a version.
    #[error("not a line of porchd's control protocol, such as {{\"version\":1,\"do\":\"certs\"}}: {0}")]
    Foreign(String),
    /// It is of another version.
    #[error("version {theirs} of the control protocol is not known, only version {VERSION}")]
    Version {
        /// The version that was spoken.
        theirs: u64,
    },
    /// The version is right, and what it says is not known.
    #[error("not understood: {0}")]
    Unknown(String),
}

/// A question as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
enum Asked {
    Reload {},
    Upgrade {},
    Certs {},
    Renew {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(default, skip_serializing_if = "is_false")]
        all: bool,
        #[serde(default, skip_serializing_if = "is_false")]
        wait: bool,
    },
    Revoke {
        name: String,
        reason: Reason,
    },
    Status {},
    Incidents {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Moment>,
    },
    Explain {
        url: String,
        method: String,
        from: IpAddr,
    },
}

fn is_false(bool: &bool) -> bool {
    !bool
}

impl From<Question> for Asked {
    fn from(question: Question) -> Self {
        match question {
            Question::Reload => Self::Reload {},
            Question::Upgrade => Self::Upgrade {},
            Question::Certs => Self::Certs {},
            Question::Renew { which: Which::All, wait } => Self::Renew { name: None, all: true, wait },
            Question::Renew { which: Which::Name(name), wait } => {
                Self::Renew { name: Some(name), all: false, wait }
            }
            Question::Revoke { name, reason } => Self::Revoke { name, reason },
            Question::Status => Self::Status {},
            Question::Incidents { since } => Self::Incidents { since },
            Question::Explain { url, method, from } => Self::Explain { url, method, from },
        }
    }
}

impl TryFrom<Asked> for Question {
    type Error = &'static str;

    fn try_from(asked: Asked) -> Result<Self, Self::Error> {
        let which = |name, all| match (name, all) {
            (Some(name), false) => Ok(Which::Name(name)),
            (None, true) => Ok(Which::All),
            _ => Err("`renew` wants either a `name` or `\"all\":true`"),
        };
        Ok(match asked {
            Asked::Reload {} => Self::Reload,
            Asked::Upgrade {} => Self::Upgrade,
            Asked::Certs {} => Self::Certs,
            Asked::Renew { name, all, wait } => Self::Renew { which: which(name, all)?, wait },
            Asked::Revoke { name, reason } => Self::Revoke { name, reason },
            Asked::Status {} => Self::Status,
            Asked::Incidents { since } => Self::Incidents { since },
            Asked::Explain { url, method, from } => Self::Explain { url, method, from },
        })
    }
}

/// What comes back, as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Said {
    #[serde(default, skip_serializing_if = "is_false")]
    working: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificates: Option<Vec<CertificateStatus>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<Box<Status>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    incidents: Option<Vec<Incident>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    explanation: Option<Box<Explanation>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<&Heard> for Said {
    fn from(heard: &Heard) -> Self {
        let ok = Some(true);
        match heard.clone() {
            Heard::Working => Self { working: true, ..Self::default() },
            Heard::Answer(Answer::Done { lines, warnings }) => {
                Self { ok, lines, warnings, ..Self::default() }
            }
            Heard::Answer(Answer::Certificates(list)) => {
                Self { ok, certificates: Some(list), ..Self::default() }
            }
            Heard::Answer(Answer::Status(status)) => Self { ok, status: Some(status), ..Self::default() },
            Heard::Answer(Answer::Incidents(list)) => Self { ok, incidents: Some(list), ..Self::default() },
            Heard::Answer(Answer::Explanation(told)) => {
                Self { ok, explanation: Some(told), ..Self::default() }
            }
            Heard::Answer(Answer::Refused(error)) => {
                Self { ok: Some(false), error: Some(error), ..Self::default() }
            }
        }
    }
}

impl TryFrom<Said> for Heard {
    type Error = ProtocolError;

    fn try_from(said: Said) -> Result<Self, Self::Error> {
        match said {
            Said { ok: Some(true), certificates: Some(list), .. } => {
                Ok(Self::Answer(Answer::Certificates(list)))
            }
            Said { ok: Some(true), status: Some(status), .. } => Ok(Self::Answer(Answer::Status(status))),
            Said { ok: Some(true), incidents: Some(list), .. } => Ok(Self::Answer(Answer::Incidents(list))),
            Said { ok: Some(true), explanation: Some(told), .. } => {
                Ok(Self::Answer(Answer::Explanation(told)))
            }
            Said { ok: Some(true), lines, warnings, .. } => {
                Ok(Self::Answer(Answer::Done { lines, warnings }))
            }
            Said { ok: Some(false), error, .. } => {
                let text = error.unwrap_or_else(|| String::from("refused, and not said why"));
                Ok(Self::Answer(Answer::Refused(text)))
            }
            Said { ok: None, working: true, .. } => Ok(Self::Working),
            Said { ok: None, working: false, .. } => {
                Err(ProtocolError::Unknown(String::from("neither an answer nor a sign of work")))
            }
        }
    }
}

impl Question {
    /// The line that asks it, its end included.
    pub fn to_line(&self) -> String {
        line(self)
    }

    /// The question that `line` asks.
    pub fn of_line(line: &[u8]) -> Result<Self, ProtocolError> {
        read(line)
    }
}

impl Heard {
    /// The line that says it, its end included.
    pub fn to_line(&self) -> String {
        line(Said::from(self))
    }

    /// What `line` says.
    pub fn of_line(line: &[u8]) -> Result<Self, ProtocolError> {
        read::<Said>(line)?.try_into()
    }
}

fn line(said: impl Serialize) -> String {
    #[derive(Serialize)]
    struct Line<T> {
        version: u64,
        #[serde(flatten)]
        said: T,
    }
    // These types hold nothing that JSON can't: no maps, no floats.
    let mut text = serde_json::to_string(&Line { version: VERSION, said }).unwrap_or_default();
    text.push('\n');
    text
}

fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, ProtocolError> {
    let foreign = |why: String| ProtocolError::Foreign(why);
    let Value::Object(mut said) = serde_json::from_slice(line).map_err(|error| foreign(error.to_string()))?
    else {
        return Err(foreign(String::from("it is no object")));
    };
    // The version decides how the rest is read, so it is looked at alone first.
    let version = said.remove("version").and_then(|version| version.as_u64());
    match version.ok_or_else(|| foreign(String::from("it has no `version`")))? {
        VERSION => {}
        theirs => return Err(ProtocolError::Version { theirs }),
    }
    serde_json::from_value(Value::Object(said)).map_err(|error| ProtocolError::Unknown(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::status::{Next, Source, State};

    fn name(name: &str) -> Which {
        Which::Name(name.into())
    }

    #[test]
    fn questions_are_written_as_documented_and_read_back() {
        let revoke = |reason| Question::Revoke { name: "a.test".into(), reason };
        for (question, line) in [
            (Question::Reload, r#"{"version":1,"do":"reload"}"#),
            (Question::Certs, r#"{"version":1,"do":"certs"}"#),
            (
                Question::Renew { which: name("a.test"), wait: false },
                r#"{"version":1,"do":"renew","name":"a.test"}"#,
            ),
            (
                Question::Renew { which: Which::All, wait: true },
                r#"{"version":1,"do":"renew","all":true,"wait":true}"#,
            ),
            (
                revoke(Reason::KeyCompromise),
                r#"{"version":1,"do":"revoke","name":"a.test","reason":"key-compromise"}"#,
            ),
            (Question::Status, r#"{"version":1,"do":"status"}"#),
            (Question::Incidents { since: None }, r#"{"version":1,"do":"incidents"}"#),
            (
                Question::Incidents { since: Moment::parse("2026-11-23T12:00:00Z") },
                r#"{"version":1,"do":"incidents","since":"2026-11-23T12:00:00Z"}"#,
            ),
            (
                Question::Explain {
                    url: "https://a.test/".into(),
                    method: "GET".into(),
                    from: [192, 0, 2, 1].into(),
                },
                r#"{"version":1,"do":"explain","url":"https://a.test/","method":"GET","from":"192.0.2.1"}"#,
            ),
        ] {
            assert_eq!(question.to_line(), format!("{line}\n"));
            assert_eq!(Question::of_line(line.as_bytes()), Ok(question));
        }
        for reason in Reason::ALL {
            let line = revoke(reason).to_line();
            assert!(line.contains(&format!("\"{}\"", reason.word())), "{line}");
            assert_eq!(Question::of_line(line.as_bytes()), Ok(revoke(reason)));
        }
    }

    #[test]
    fn answers_are_written_as_documented_and_read_back() {
        let done = |lines: &[&str], warnings: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            Heard::Answer(Answer::Done { lines: owned(lines), warnings: owned(warnings) })
        };
        let status = CertificateStatus {
            name: "a.test".into(),
            state: State::Missing,
            source: Source::Acme,
            names: vec!["a.test".into()],
            left_out: Vec::new(),
            issuer: None,
            from: None,
            to: None,
            next: Moment::parse("2026-11-23T12:00:00Z").map(|at| Next { at, why: "new".into() }),
            last_error: None,
        };
        for (heard, line) in [
            (Heard::Working, r#"{"version":1,"working":true}"#),
            (done(&[], &[]), r#"{"version":1,"ok":true}"#),
            (
                done(&["site a.test added"], &["b\nc"]),
                r#"{"version":1,"ok":true,"lines":["site a.test added"],"warnings":["b\nc"]}"#,
            ),
            (
                Heard::Answer(Answer::Refused("line 1\nline 2".into())),
                r#"{"version":1,"ok":false,"error":"line 1\nline 2"}"#,
            ),
            (Heard::Answer(Answer::Certificates(Vec::new())), r#"{"version":1,"ok":true,"certificates":[]}"#),
            (
                Heard::Answer(Answer::Certificates(vec![status])),
                r#"{"version":1,"ok":true,"certificates":[{"name":"a.test","state":"missing","source":"acme","names":["a.test"],"next":{"at":"2026-11-23T12:00:00Z","why":"new"}}]}"#,
            ),
        ] {
            assert_eq!(heard.to_line(), format!("{line}\n"));
            assert_eq!(Heard::of_line(line.as_bytes()), Ok(heard));
        }
    }

    #[test]
    fn other_versions_are_told_apart_before_anything_else_is_read() {
        let line = br#"{"version":2,"do":{"quite":"other"},"ok":7}"#;
        assert_eq!(Question::of_line(line), Err(ProtocolError::Version { theirs: 2 }));
        assert_eq!(Heard::of_line(line), Err(ProtocolError::Version { theirs: 2 }));
        let error = ProtocolError::Version { theirs: 2 }.to_string();
        assert_eq!(error, "version 2 of the control protocol is not known, only version 1");
    }

    #[test]
    fn what_is_no_question_is_told_apart() {
        for line in ["", "reload", "[1]", "{}", "{\"do\":\"reload\"}", "{\"version\":\"1\"}", "\u{0}\u{1}"] {
            let error = Question::of_line(line.as_bytes()).unwrap_err();
            assert!(matches!(error, ProtocolError::Foreign(_)), "{line}: {error}");
            assert!(error.to_string().contains(r#"{"version":1,"do":"certs"}"#), "{error}");
        }
        for (line, part) in [
            (r#"{"version":1}"#, "do"),
            (r#"{"version":1,"do":"dance"}"#, "`dance`"),
            (r#"{"version":1,"do":"reload","soon":true}"#, "`soon`"),
            (r#"{"version":1,"do":"renew"}"#, "either a `name`"),
            (r#"{"version":1,"do":"renew","name":"a","all":true}"#, "either a `name`"),
            (r#"{"version":1,"do":"revoke","name":"a","reason":"mood"}"#, "`mood`"),
            (r#"{"version":1,"do":"revoke","name":"a"}"#, "`reason`"),
        ] {
            let error = Question::of_line(line.as_bytes()).unwrap_err();
            assert!(matches!(error, ProtocolError::Unknown(_)), "{line}: {error}");
            assert!(error.to_string().contains(part), "{line}: {error}");
        }
    }
}
