//! Where log lines go, and how they are written.

use std::path::PathBuf;

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Where diagnostics go.
    pub to: LogTo,
    /// The least severe level written.
    pub level: LogLevel,
    /// How diagnostics are written.
    pub format: LogFormat,
    /// The access log, if any.
    pub access: Option<AccessLog>,
}

/// Where diagnostics go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTo {
    /// Standard error.
    Stderr,
    /// syslog(3), facility daemon.
    Syslog,
    /// A file, appended to.
    File(PathBuf),
}

/// Severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed and needs a person.
    Error,
    /// Something is wrong or soon will be.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

/// How diagnostics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// The access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// The file, appended to and opened again on SIGUSR1; `None`: standard output.
    pub file: Option<PathBuf>,
    /// How lines are written.
    pub format: AccessFormat,
}

/// How access lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessFormat {
    /// NCSA combined, with porchd's fields after it.
    Combined,
    /// One object a line.
    Json,
}
