//! What porchd says about itself: tracing events as lines to standard error, syslog or a file.
//!
//! Level, format and output change on reload without a restart, files are opened again on SIGUSR1. Spans are
//! not shown: an event carries the fields that it needs. An output that can't be written never stops anything.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use crate::clock;
use crate::config::model::log::{Log, LogFormat, LogLevel, LogTo};
use crate::os::syslog;
use crate::telemetry::output::Output;
use crate::telemetry::{line, timestamp};

/// The handle by which diagnostics are steered.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    current: Arc<ArcSwap<Current>>,
}

#[derive(Debug)]
struct Current {
    log: Log,
    out: Arc<Out>,
}

#[derive(Debug)]
enum Out {
    Syslog,
    /// `None`: there was no descriptor left for standard error.
    Output(Option<Output>),
}

impl Diagnostics {
    /// Lines as `log` says; nothing is written before `install`.
    ///
    /// # Errors
    /// Those of `open`, which opens a file for appending.
    pub fn new<E>(log: &Log, open: &mut dyn FnMut(&Path) -> Result<File, E>) -> Result<Self, E> {
        let out = Out::to(&log.to, open)?;
        Ok(Self { current: Arc::new(ArcSwap::from_pointee(Current { log: log.clone(), out })) })
    }

    /// Makes them those of the whole process.
    pub fn install(&self) {
        // It fails only when there are some already: those of an embedding program, which shall stay.
        let _ = tracing::subscriber::set_global_default(self.subscriber());
    }

    fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        Registry::default().with(Lines { current: Arc::clone(&self.current) })
    }

    /// Follows a new configuration.
    ///
    /// # Errors
    /// Those of `open`; then nothing has changed. A file that is written already is not opened again.
    pub fn apply<E>(&self, log: &Log, open: &mut dyn FnMut(&Path) -> Result<File, E>) -> Result<(), E> {
        let now = self.current.load();
        let out = if now.log.to == log.to { Arc::clone(&now.out) } else { Out::to(&log.to, open)? };
        self.current.store(Arc::new(Current { log: log.clone(), out }));
        // The level is remembered at each call site.
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    /// Opens the file again, if it is one, after a rotation has moved it away.
    ///
    /// # Errors
    /// Those of `open`; then the old file is written further.
    pub fn reopen<E>(&self, open: &mut dyn FnMut(&Path) -> Result<File, E>) -> Result<(), E> {
        let log = self.current.load().log.clone();
        if !matches!(log.to, LogTo::File(_)) {
            return Ok(());
        }
        let out = Out::to(&log.to, open)?;
        self.current.store(Arc::new(Current { log, out }));
        Ok(())
    }
}

impl Out {
    fn to<E>(to: &LogTo, open: &mut dyn FnMut(&Path) -> Result<File, E>) -> Result<Arc<Self>, E> {
        Ok(Arc::new(match to {
            LogTo::Stderr => Self::Output(Output::stderr().ok()),
            LogTo::Syslog => {
                syslog::open();
                Self::Syslog
            }
            LogTo::File(path) => Self::Output(Some(Output::of(open(path)?))),
        }))
    }
}

/// The layer that writes.
struct Lines {
    current: Arc<ArcSwap<Current>>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.is_event() && *metadata.level() <= ceiling(self.current.load().log.level, metadata.target())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let current = self.current.load();
        // Taken out while it is used: an event that a field's own formatting makes finds an empty one.
        thread_local!(static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) });
        let mut text = BUFFER.try_with(Cell::take).unwrap_or_default();
        text.clear();
        match (&*current.out, current.log.format) {
            (Out::Syslog, format) => to_syslog(&mut text, event, format),
            (_, LogFormat::Text) => line_text(&mut text, event, clock::wall()),
            (_, LogFormat::Json) => line_json(&mut text, event, clock::wall()),
        }
        if let Out::Output(Some(output)) = &*current.out {
            // When it fails there is nobody left to tell.
            let _ = output.write(&text);
        }
        let _ = BUFFER.try_with(|buffer| buffer.set(text));
    }
}

/// The most verbose level that is written of `target`: libraries speak only of what is wrong.
fn ceiling(level: LogLevel, target: &str) -> Level {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    if target.starts_with("porchd") { level } else { level.min(Level::WARN) }
}

/// `2026-11-23T09:05:07.042Z WARN  message key=value`.
fn line_text(out: &mut Vec<u8>, event: &Event<'_>, time: SystemTime) {
    timestamp::rfc3339(out, time);
    // Writing to a Vec can't fail.
    let _ = write!(out, " {:<5} ", event.metadata().level().as_str());
    message_and_fields(out, event);
    out.push(b'\n');
}

fn message_and_fields(out: &mut Vec<u8>, event: &Event<'_>) {
    let mut seen = Seen::of(event);
    if seen.message.contains('\n') {
        // A block of several lines comes last, or its fields would look like its last line's words.
        let fields = std::mem::take(&mut seen.fields);
        let (first, rest) = seen.message.split_once('\n').unwrap_or_default();
        line::block(out, first);
        write_fields(out, &fields);
        out.extend_from_slice(b"\n    ");
        return line::block(out, rest);
    }
    line::block(out, &seen.message);
    write_fields(out, &seen.fields);
}

fn write_fields(out: &mut Vec<u8>, fields: &[(&'static str, Value)]) {
    for (name, value) in fields {
        let _ = write!(out, " {name}=");
        line::value(out, value.text());
    }
}

/// One object: `time`, `level`, `message`, then the fields.
fn line_json(out: &mut Vec<u8>, event: &Event<'_>, time: SystemTime) {
    out.extend_from_slice(b"{\"time\":\"");
    timestamp::rfc3339(out, time);
    let level = event.metadata().level().as_str().to_ascii_lowercase();
    let seen = Seen::of(event);
    let _ = write!(out, "\",\"level\":\"{level}\",\"message\":");
    line::json(out, &seen.message);
    for (name, value) in &seen.fields {
        out.push(b',');
        line::json(out, name);
        out.push(b':');
        match value {
            Value::Bare(text) => out.extend_from_slice(text.as_bytes()),
            Value::Text(text) => line::json(out, text),
        }
    }
    out.extend_from_slice(b"}\n");
}

/// syslog has its own time and a line at most; a block is several messages.
fn to_syslog(text: &mut Vec<u8>, event: &Event<'_>, format: LogFormat) {
    match format {
        LogFormat::Text => message_and_fields(text, event),
        LogFormat::Json => line_json(text, event, clock::wall()),
    }
    let priority = match *event.metadata().level() {
        Level::ERROR => syslog::Priority::Error,
        Level::WARN => syslog::Priority::Warning,
        Level::INFO => syslog::Priority::Info,
        _ => syslog::Priority::Debug,
    };
    for part in String::from_utf8_lossy(text).lines() {
        syslog::send(priority, part);
    }
}

/// An event's message and fields.
#[derive(Default)]
struct Seen {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

/// A field's value; `Bare` may stand in JSON without quotes.
enum Value {
    Bare(String),
    Text(String),
}

impl Value {
    fn text(&self) -> &str {
        match self {
            Self::Bare(text) | Self::Text(text) => text,
        }
    }
}

impl Seen {
    fn of(event: &Event<'_>) -> Self {
        let mut seen = Self::default();
        event.record(&mut seen);
        seen
    }

    fn take(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Bare(text) | Value::Text(text)) => self.message = text,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, Value::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, Value::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, Value::Bare(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, Value::Bare(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, Value::Bare(value.to_string()));
    }

    /// An error is told with its causes: what failed, then why.
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        self.take(field, Value::Text(text));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;

    fn open(path: &Path) -> io::Result<File> {
        File::options().append(true).create(true).open(path)
    }

    fn log(path: &Path, level: LogLevel, format: LogFormat) -> Log {
        Log { to: LogTo::File(path.to_owned()), level, format, access: None }
    }

    fn scratch() -> PathBuf {
        std::env::temp_dir().join(format!("porchd-diagnostics-{:x}", clock::random()))
    }

    /// What is written of `act`, without the time of each line.
    fn written(level: LogLevel, format: LogFormat, act: impl FnOnce(&Diagnostics, &Path)) -> String {
        let path = scratch();
        let diagnostics = Diagnostics::new(&log(&path, level, format), &mut open).unwrap();
        tracing::subscriber::with_default(diagnostics.subscriber(), || act(&diagnostics, &path));
        std::fs::read_to_string(path).unwrap()
    }

    /// Lines of the log without the 25 bytes of their stamp.
    fn unstamped(text: &str) -> String {
        text.lines()
            .map(|line| if line.starts_with(' ') { line } else { &line[25..] }.to_owned() + "\n")
            .collect()
    }

    #[test]
    fn an_event_is_one_line_of_text() {
        let text = written(LogLevel::Info, LogFormat::Text, |_, _| {
            let error = io::Error::other("no route");
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(upstream = "home", backend = %"10.0.0.1:8008", failures = 2, error, "backend is \x1bDown");
            tracing::debug!("not told");
            tracing::info!(path = "a \"b\"\n", "ready");
        });
        assert!(text.starts_with("20") && text.as_bytes()[23] == b'Z', "{text}");
        assert_eq!(
            unstamped(&text),
            "WARN  backend is \\u{1b}Down upstream=home backend=10.0.0.1:8008 failures=2 error=\"no route\"\n\
             INFO  ready path=\"a \\\"b\\\"\\n\"\n"
        );
    }

    #[test]
    fn a_block_keeps_its_lines_in_text_and_is_escaped_in_json() {
        let act =
            |_: &Diagnostics, _: &Path| tracing::error!(errors = 2, "reload refused\n\nline 3: x\nline 9: y");
        assert_eq!(
            unstamped(&written(LogLevel::Error, LogFormat::Text, act)),
            "ERROR reload refused errors=2\n    \n    line 3: x\n    line 9: y\n"
        );
        let json: serde_json::Value =
            serde_json::from_str(&written(LogLevel::Error, LogFormat::Json, act)).unwrap();
        assert_eq!(json["message"], "reload refused\n\nline 3: x\nline 9: y");
        assert_eq!((&json["level"], &json["errors"]), (&"error".into(), &2.into()));
    }

    #[test]
    fn level_and_format_follow_a_reload() {
        let text = written(LogLevel::Warn, LogFormat::Text, |diagnostics, path| {
            let say = || tracing::info!("hello");
            say();
            diagnostics.apply(&log(path, LogLevel::Info, LogFormat::Json), &mut open).unwrap();
            say();
            diagnostics.apply(&log(path, LogLevel::Error, LogFormat::Json), &mut open).unwrap();
            say();
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("\"message\":\"hello\""), "{text}");
    }

    #[test]
    fn a_rotated_file_is_left_on_reopen_and_a_refused_place_changes_nothing() {
        let text = written(LogLevel::Info, LogFormat::Text, |diagnostics, path| {
            tracing::info!("one");
            std::fs::rename(path, path.with_extension("0")).unwrap();
            diagnostics.reopen(&mut open).unwrap();
            tracing::info!("two");
            let mut refuse = |_: &Path| Err(io::Error::from(io::ErrorKind::PermissionDenied));
            diagnostics.reopen(&mut refuse).unwrap_err();
            let elsewhere = log(Path::new("/nowhere"), LogLevel::Error, LogFormat::Json);
            diagnostics.apply(&elsewhere, &mut refuse).unwrap_err();
            tracing::info!("three");
        });
        assert_eq!(unstamped(&text), "INFO  two\nINFO  three\n");
    }

    #[test]
    fn libraries_are_heard_from_warnings_on() {
        assert_eq!(ceiling(LogLevel::Trace, "h2::proto"), Level::WARN);
        assert_eq!(ceiling(LogLevel::Error, "h2::proto"), Level::ERROR);
        assert_eq!(ceiling(LogLevel::Debug, "porchd::serve"), Level::DEBUG);
    }
}
