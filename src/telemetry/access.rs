//! Access lines: one for each request, saying who answered and why.
//!
//! Combined is the NCSA format to the byte, so that every reader of it works, with porchd's fields after it;
//! JSON is one object a line. Secrets in target and referer are redacted by the caller.

use std::cell::RefCell;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::config::model::log::AccessFormat;
use crate::telemetry::sink::Sink;
use crate::telemetry::{line, timestamp};

/// A thread's lines are written when there are so many bytes of them, or when a second has passed.
const BUFFER: usize = 8 * 1024;

/// Who answered a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// A backend.
    Home,
    /// porchd itself.
    Edge,
}

impl Answered {
    fn as_str(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Edge => "edge",
        }
    }
}

/// What is told of one request; it only borrows.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When it came.
    pub at: SystemTime,
    /// From whom: the client behind trusted proxies.
    pub client: IpAddr,
    /// Its method.
    pub method: &'a str,
    /// Its target as sent, secrets already redacted.
    pub target: &'a str,
    /// Its version.
    pub version: http::Version,
    /// The host that it is for; empty if it had none.
    pub host: &'a str,
    /// What it was answered; 0: the client left before.
    pub status: u16,
    /// Bytes of the answer's body that were handed to the connection.
    pub bytes: u64,
    /// `Referer`, secrets already redacted.
    pub referer: Option<&'a [u8]>,
    /// `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// Until the answer's last byte.
    pub duration: Duration,
    /// Who answered.
    pub answered: Answered,
    /// Why the edge answered (or cut the answer short), as a token of the fault table.
    pub why: Option<&'static str>,
    /// How often the request was sent to a backend.
    pub attempts: u32,
    /// Until the backend's answer began.
    pub upstream: Option<Duration>,
    /// How long it waited for home to come back; zero: it did not.
    pub parked: Duration,
    /// What home's absence was put down to, as a token, if it waited or failed for it.
    pub cause: Option<&'static str>,
    /// `X-Request-ID`.
    pub id: &'a str,
    /// Name of the listener.
    pub listener: &'a str,
    /// Endpoint class.
    pub class: &'a str,
}

impl Record<'_> {
    /// How long it waited, if it did.
    fn waited(&self) -> Option<Duration> {
        (!self.parked.is_zero()).then_some(self.parked)
    }
}

/// One thread's access log: lines are gathered here and handed to the sink together.
#[derive(Debug)]
pub struct Log {
    sink: Arc<Sink>,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    lines: Vec<u8>,
    /// The second that `stamp` names, and in which format.
    second: Option<(u64, AccessFormat)>,
    stamp: Vec<u8>,
}

impl Log {
    /// A log of this thread that ends in `sink`.
    pub fn new(sink: Arc<Sink>) -> Self {
        // A line is put whole into the buffer before its length is looked at.
        let lines = Vec::with_capacity(2 * BUFFER);
        Self { sink, state: RefCell::new(State { lines, second: None, stamp: Vec::new() }) }
    }

    /// Whether lines are kept at all.
    pub fn is_on(&self) -> bool {
        self.sink.format().is_some()
    }

    /// Adds a line; hands them on when the buffer is full.
    pub fn write(&self, record: &Record<'_>) {
        let Some(format) = self.sink.format() else { return };
        let state = &mut *self.state.borrow_mut();
        state.restamp(record.at, format);
        match format {
            AccessFormat::Combined => combined(&mut state.lines, &state.stamp, record),
            AccessFormat::Json => json(&mut state.lines, &state.stamp, record),
        }
        if state.lines.len() >= BUFFER {
            state.hand_on(&self.sink);
        }
    }

    /// Hands on what is there; to be called each second (a log that is dropped does it too).
    pub fn flush(&self, now: Instant) {
        let state = &mut *self.state.borrow_mut();
        if !state.lines.is_empty() {
            state.hand_on(&self.sink);
        }
        self.sink.tell_dropped(now);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.state.get_mut().hand_on(&self.sink);
    }
}

impl State {
    fn hand_on(&mut self, sink: &Sink) {
        sink.write(&self.lines);
        self.lines.clear();
    }

    /// The calendar is consulted once a second, not once a line.
    fn restamp(&mut self, at: SystemTime, format: AccessFormat) {
        let second = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.second == Some((second, format)) {
            return;
        }
        self.second = Some((second, format));
        self.stamp.clear();
        let at = UNIX_EPOCH + Duration::from_secs(second);
        match format {
            AccessFormat::Combined => timestamp::ncsa(&mut self.stamp, at),
            AccessFormat::Json => timestamp::rfc3339_second(&mut self.stamp, at),
        }
    }
}

/// `CLIENT - - [TIME] "REQUEST" STATUS BYTES "REFERER" "USER-AGENT"` and porchd's fields.
fn combined(out: &mut Vec<u8>, stamp: &[u8], r: &Record<'_>) {
    // Writing to a Vec can't fail.
    let _ = write!(out, "{} - - [", r.client);
    out.extend_from_slice(stamp);
    out.extend_from_slice(b"] \"");
    line::escaped(out, r.method.as_bytes());
    out.push(b' ');
    line::escaped(out, r.target.as_bytes());
    let _ = write!(out, " {:?}\" {} ", r.version, Status(r.status));
    match r.bytes {
        // NCSA writes "-" where no body was sent.
        0 => out.push(b'-'),
        bytes => {
            let _ = write!(out, "{bytes}");
        }
    }
    for value in [r.referer, r.user_agent] {
        out.extend_from_slice(b" \"");
        line::escaped(out, value.unwrap_or(b"-"));
        out.push(b'"');
    }
    own_fields(out, r);
    out.push(b'\n');
}

fn own_fields(out: &mut Vec<u8>, r: &Record<'_>) {
    out.extend_from_slice(b" host=");
    line::token(out, r.host.as_bytes());
    let (answered, why, class) = (r.answered.as_str(), r.why.unwrap_or("-"), r.class);
    let _ = write!(out, " answered={answered} why={why} class={class} attempts={}", r.attempts);
    for (key, time) in [("upstream", r.upstream), ("parked", r.waited())] {
        let _ = match time {
            Some(time) => write!(out, " {key}={}s", Seconds(time)),
            None => write!(out, " {key}=-"),
        };
    }
    let _ = write!(out, " cause={} time={}s id=", r.cause.unwrap_or("-"), Seconds(r.duration));
    line::token(out, r.id.as_bytes());
    out.extend_from_slice(b" listener=");
    line::token(out, r.listener.as_bytes());
}

/// One object; a key whose value is unknown is left out.
fn json(out: &mut Vec<u8>, stamp: &[u8], r: &Record<'_>) {
    let millis = r.at.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_millis();
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(stamp);
    let _ = write!(out, ".{millis:03}Z\",\"client\":\"{}\"", r.client);
    for (key, text) in [("method", r.method), ("target", r.target), ("host", r.host)] {
        let _ = write!(out, ",\"{key}\":");
        line::json(out, text);
    }
    let _ = write!(out, ",\"version\":\"{:?}\",\"status\":{},\"bytes\":{}", r.version, r.status, r.bytes);
    for (key, value) in [("referer", r.referer), ("user_agent", r.user_agent)] {
        if let Some(value) = value {
            let _ = write!(out, ",\"{key}\":");
            line::json_bytes(out, value);
        }
    }
    let _ = write!(out, ",\"answered\":\"{}\"", r.answered.as_str());
    if let Some(why) = r.why {
        let _ = write!(out, ",\"why\":\"{why}\"");
    }
    let _ = write!(out, ",\"class\":\"{}\",\"attempts\":{}", r.class, r.attempts);
    for (key, time) in [("upstream", r.upstream), ("parked", r.waited())] {
        if let Some(time) = time {
            let _ = write!(out, ",\"{key}\":{}", Seconds(time));
        }
    }
    if let Some(cause) = r.cause {
        let _ = write!(out, ",\"cause\":\"{cause}\"");
    }
    let _ = write!(out, ",\"duration\":{}", Seconds(r.duration));
    for (key, text) in [("id", r.id), ("listener", r.listener)] {
        let _ = write!(out, ",\"{key}\":");
        line::json(out, text);
    }
    out.extend_from_slice(b"}\n");
}

/// A duration in seconds, to the millisecond.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}

/// A status; three digits always, as readers of the format expect.
struct Status(u16);

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:03}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use super::*;
    use crate::config::model::log::AccessLog;

    fn record() -> Record<'static> {
        Record {
            at: UNIX_EPOCH + Duration::from_millis(1_795_424_707_042),
            client: "192.0.2.7".parse().unwrap(),
            method: "GET",
            target: "/_matrix/client/v3/sync?timeout=30000&access_token=[redacted]",
            version: http::Version::HTTP_2,
            host: "matrix.example.com",
            status: 200,
            bytes: 5120,
            referer: None,
            user_agent: Some(b"Element \"1\" \xe9"),
            duration: Duration::from_millis(34),
            answered: Answered::Home,
            why: None,
            attempts: 1,
            upstream: Some(Duration::from_micros(12_900)),
            parked: Duration::ZERO,
            cause: None,
            id: "5f0c",
            listener: "https",
            class: "sync",
        }
    }

    fn edge() -> Record<'static> {
        Record {
            client: "2001:db8::7".parse().unwrap(),
            version: http::Version::HTTP_11,
            target: "/a b\"\n",
            host: "",
            status: 503,
            bytes: 0,
            referer: Some(b"https://element.example/"),
            user_agent: None,
            duration: Duration::from_secs(61),
            answered: Answered::Edge,
            why: Some("home-down"),
            attempts: 0,
            upstream: None,
            parked: Duration::from_millis(60_204),
            cause: Some("connect-timeout"),
            ..record()
        }
    }

    /// A sink that writes to a file, and the file's text so far.
    fn logging(format: AccessFormat) -> (Arc<Sink>, impl Fn() -> String) {
        let path = std::env::temp_dir().join(format!("porchd-access-{:x}", crate::clock::random()));
        let sink = Sink::new();
        let mut open = |path: &Path| File::options().append(true).create(true).open(path);
        sink.apply(Some(&AccessLog { file: Some(path.clone()), format }), &mut open).unwrap();
        (sink, move || std::fs::read_to_string(&path).unwrap())
    }

    fn lines(format: AccessFormat) -> String {
        let (sink, text) = logging(format);
        let log = Log::new(sink);
        log.write(&record());
        log.write(&edge());
        assert_eq!(text(), "", "lines wait for the flush");
        log.flush(crate::clock::now());
        text()
    }

    #[test]
    fn combined_lines_are_ncsa_with_our_fields_after_it() {
        assert_eq!(
            lines(AccessFormat::Combined),
            concat!(
                r#"192.0.2.7 - - [23/Nov/2026:09:05:07 +0000] "GET /_matrix/client/v3/sync?timeout=30000&access_token=[redacted] HTTP/2.0" 200 5120 "-" "Element \x221\x22 \xe9""#,
                " host=matrix.example.com answered=home why=- class=sync attempts=1 upstream=0.012s parked=- cause=- time=0.034s id=5f0c listener=https\n",
                r#"2001:db8::7 - - [23/Nov/2026:09:05:07 +0000] "GET /a b\x22\x0a HTTP/1.1" 503 - "https://element.example/" "-""#,
                " host=- answered=edge why=home-down class=sync attempts=0 upstream=- parked=60.204s cause=connect-timeout time=61.000s id=5f0c listener=https\n",
            )
        );
    }

    #[test]
    fn json_lines_are_objects() {
        let text = lines(AccessFormat::Json);
        let read: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            read[0],
            serde_json::json!({
                "time": "2026-11-23T09:05:07.042Z", "client": "192.0.2.7", "method": "GET",
                "target": "/_matrix/client/v3/sync?timeout=30000&access_token=[redacted]",
                "host": "matrix.example.com", "version": "HTTP/2.0", "status": 200, "bytes": 5120,
                "user_agent": "Element \"1\" \u{fffd}", "answered": "home", "class": "sync", "attempts": 1,
                "upstream": 0.012, "duration": 0.034, "id": "5f0c", "listener": "https",
            })
        );
        assert_eq!(read[1]["why"], "home-down");
        assert_eq!(read[1]["target"], "/a b\"\n");
        assert_eq!(read[1].get("upstream"), None);
        assert_eq!((&read[1]["parked"], &read[1]["cause"]), (&60.204.into(), &"connect-timeout".into()));
    }

    #[test]
    fn a_full_buffer_is_written_without_a_flush() {
        let (sink, text) = logging(AccessFormat::Combined);
        let log = Log::new(sink);
        while text().is_empty() {
            log.write(&record());
        }
        let text = text();
        assert!((BUFFER..2 * BUFFER).contains(&text.len()) && text.ends_with('\n'), "{} bytes", text.len());
    }

    #[test]
    fn each_second_has_its_own_stamp() {
        let (sink, text) = logging(AccessFormat::Combined);
        let log = Log::new(sink);
        for seconds in [0, 1, 0] {
            log.write(&Record { at: UNIX_EPOCH + Duration::from_secs(seconds), ..record() });
        }
        log.flush(crate::clock::now());
        let text = text();
        let seen: Vec<&str> = text.lines().filter_map(|line| line.split(['[', ']']).nth(1)).collect();
        let wanted = ["00:00:00", "00:00:01", "00:00:00"].map(|time| format!("01/Jan/1970:{time} +0000"));
        assert_eq!(seen, wanted);
    }
}
