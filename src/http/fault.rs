//! The one table of what goes wrong: who is at fault, what is answered, what the log says.
//!
//! It builds no answers (`reply` does) and logs nothing.

use std::time::Duration;

use http::StatusCode;

use crate::config::model::log::LogLevel;
use crate::matrix::error;

/// Something that makes the edge answer by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A request that is ambiguous or malformed.
    BadRequest,
    /// A head or a count of headers over the limit.
    HeadTooLarge,
    /// A target over the limit.
    TargetTooLong,
    /// A body over the limit.
    BodyTooLarge,
    /// A request's head that did not come in time.
    RequestTimeout,
    /// A request's body that stopped coming.
    BodyTimeout,
    /// CONNECT, TRACE, or a method that the route has no use for.
    MethodRefused,
    /// An upgrade that is not passed on.
    UpgradeRefused,
    /// A host of another certificate than this connection's.
    Misdirected,
    /// A host that no site names.
    UnknownHost,
    /// A path that no route names.
    NoRoute,
    /// A path that the configuration denies.
    Denied,
    /// A client address that the configuration denies.
    AddressDenied,
    /// A client that asks more often than `limits.rate` allows.
    RateLimited,
    /// A file that is not there.
    NoFile,
    /// No backend is Up.
    HomeDown,
    /// No backend is Up, and every place of those that wait for one is taken.
    ParkFull,
    /// A backend refused the connection.
    ConnectRefused,
    /// No route to a backend.
    Unreachable,
    /// A backend's name does not resolve.
    Unresolved,
    /// No connection to a backend stood in time.
    ConnectTimeout,
    /// TLS with a backend failed.
    BackendTls,
    /// A backend closed without an answer.
    NoAnswer,
    /// A backend's answer did not begin in time.
    HeadTimeout,
    /// A backend's answer is no HTTP.
    BadAnswer,
    /// A backend's answer ended before its end.
    AnswerCut,
    /// porchd is stopping.
    Draining,
    /// A limit of porchd's own is reached.
    Overload,
    /// A failure of porchd itself.
    Internal,
}

/// Who is to be looked at when it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// Who asked.
    Client,
    /// The backends and the way to them.
    Home,
    /// porchd, its machine or its configuration.
    Edge,
}

/// Where a fault is answered: what its status and body depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Whether the path is one of Matrix.
    pub matrix: bool,
    /// Whether the client came by TLS.
    pub tls: bool,
    /// What 503 is turned into: 503, or 429 for operators behind a CDN that marks 503 as down.
    pub unavailable: StatusCode,
}

/// What is answered to a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The status.
    pub status: StatusCode,
    /// Matrix' own code, for Matrix paths.
    pub errcode: &'static str,
    /// When to ask again.
    pub retry_after: Option<Duration>,
    /// What the person who asked is told.
    pub text: &'static str,
}

impl Fault {
    /// Every fault, for documentation and for tests.
    pub const ALL: [Self; 29] = [
        Self::BadRequest,
        Self::HeadTooLarge,
        Self::TargetTooLong,
        Self::BodyTooLarge,
        Self::RequestTimeout,
        Self::BodyTimeout,
        Self::MethodRefused,
        Self::UpgradeRefused,
        Self::Misdirected,
        Self::UnknownHost,
        Self::NoRoute,
        Self::Denied,
        Self::AddressDenied,
        Self::RateLimited,
        Self::NoFile,
        Self::HomeDown,
        Self::ParkFull,
        Self::ConnectRefused,
        Self::Unreachable,
        Self::Unresolved,
        Self::ConnectTimeout,
        Self::BackendTls,
        Self::NoAnswer,
        Self::HeadTimeout,
        Self::BadAnswer,
        Self::AnswerCut,
        Self::Draining,
        Self::Overload,
        Self::Internal,
    ];

    /// What is answered in `setting`.
    pub fn verdict(self, setting: Setting) -> Verdict {
        let row = self.row();
        let status = match self {
            // 421 tells a browser to open a connection of its own; in the clear there is nothing to open.
            Self::UnknownHost if !setting.tls => StatusCode::NOT_FOUND,
            // Clients of Matrix know "not here" and nothing else for endpoints.
            Self::Denied | Self::AddressDenied if setting.matrix => StatusCode::NOT_FOUND,
            _ if row.status == StatusCode::SERVICE_UNAVAILABLE => setting.unavailable,
            _ => row.status,
        };
        let errcode = match status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => error::UNRECOGNIZED,
            StatusCode::TOO_MANY_REQUESTS => error::LIMIT_EXCEEDED,
            StatusCode::PAYLOAD_TOO_LARGE => error::TOO_LARGE,
            StatusCode::FORBIDDEN => error::FORBIDDEN,
            _ => error::UNKNOWN,
        };
        let retry_after = (row.retry > 0).then(|| Duration::from_secs(row.retry));
        Verdict { status, errcode, retry_after, text: row.text }
    }

    /// Who is at fault.
    pub fn blame(self) -> Blame {
        self.row().blame
    }

    /// The token of access lines and figures.
    pub fn why(self) -> &'static str {
        self.row().why
    }

    /// How severe it is in the log: what the network does to the edge is no warning.
    pub fn level(self) -> LogLevel {
        match self {
            Self::Internal => LogLevel::Error,
            Self::Overload | Self::BadAnswer | Self::AnswerCut | Self::BackendTls => LogLevel::Warn,
            _ if self.blame() == Blame::Home => LogLevel::Info,
            _ => LogLevel::Debug,
        }
    }

    fn row(self) -> Row {
        match self.blamed_on_client() {
            Some(row) => row,
            None => self.blamed_on_others(),
        }
    }

    fn blamed_on_client(self) -> Option<Row> {
        const OFTEN: &str = "You ask too often. Please try again in a moment.";
        let (status, why, text) = match self {
            Self::RateLimited => return Some(Row::new(Blame::Client, 429, "rate-limited", 1, OFTEN)),
            Self::BadRequest => (400, "bad-request", "This request can't be understood."),
            Self::HeadTooLarge => (431, "head-too-large", "The headers of this request are too large."),
            Self::TargetTooLong => (414, "target-too-long", "This address is too long."),
            Self::BodyTooLarge => (413, "body-too-large", "What was sent is too large."),
            Self::RequestTimeout => (408, "request-timeout", "The request did not come in time."),
            Self::BodyTimeout => (408, "body-timeout", "The rest of the request did not come."),
            Self::MethodRefused => (405, "method-refused", "This can't be done here."),
            Self::UpgradeRefused => (400, "upgrade-refused", "This kind of connection is not offered here."),
            Self::Misdirected => (421, "misdirected", "This name is served on another connection."),
            Self::UnknownHost => (421, "unknown-host", "There is no site of this name here."),
            Self::NoRoute => (404, "no-route", "There is nothing at this address."),
            Self::Denied => (403, "denied", "This is not open to the public."),
            Self::AddressDenied => (403, "address-denied", "This is not open to you."),
            Self::NoFile => (404, "no-file", "There is nothing at this address."),
            _ => return None,
        };
        Some(Row::new(Blame::Client, status, why, 0, text))
    }

    fn blamed_on_others(self) -> Row {
        const AWAY: &str = "Home can't be reached just now. Please try again in a moment.";
        const SLOW: &str = "Home takes too long to answer. Please try again in a moment.";
        const ODD: &str = "Home did not answer properly. Please try again in a moment.";
        const BUSY: &str = "Too much is going on here just now. Please try again in a moment.";
        let (blame, status, why, retry, text) = match self {
            Self::HomeDown => (Blame::Home, 503, "home-down", 5, AWAY),
            Self::ParkFull => (Blame::Home, 503, "park-full", 5, AWAY),
            Self::ConnectRefused => (Blame::Home, 503, "connect-refused", 5, AWAY),
            Self::Unreachable => (Blame::Home, 503, "unreachable", 5, AWAY),
            Self::Unresolved => (Blame::Home, 503, "unresolved", 5, AWAY),
            Self::ConnectTimeout => (Blame::Home, 504, "connect-timeout", 5, AWAY),
            Self::BackendTls => (Blame::Home, 502, "backend-tls", 30, AWAY),
            Self::NoAnswer => (Blame::Home, 502, "no-answer", 2, ODD),
            Self::HeadTimeout => (Blame::Home, 504, "head-timeout", 10, SLOW),
            Self::BadAnswer => (Blame::Home, 502, "bad-answer", 10, ODD),
            Self::AnswerCut => (Blame::Home, 502, "answer-cut", 2, ODD),
            Self::Draining => {
                (Blame::Edge, 503, "draining", 2, "This door is being changed. Please try again.")
            }
            Self::Overload => (Blame::Edge, 503, "overload", 2, BUSY),
            _ => (Blame::Edge, 500, "internal", 0, "Something went wrong here."),
        };
        Row::new(blame, status, why, retry, text)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BadRequest => "the request is malformed or ambiguous",
            Self::HeadTooLarge => "the request's head is over the limit",
            Self::TargetTooLong => "the request's target is over the limit",
            Self::BodyTooLarge => "the request's body is over limits.body",
            Self::RequestTimeout => "the request's head did not come within limits.request_head",
            Self::BodyTimeout => "the request's body made no progress within limits.body_progress",
            Self::MethodRefused => "the method is not allowed",
            Self::UpgradeRefused => "the upgrade is not passed on",
            Self::Misdirected => "the host is not covered by this connection's certificate",
            Self::UnknownHost => "no site has this host; add it to a site's hosts if it is yours",
            Self::NoRoute => "no route of the site matches the path",
            Self::Denied => "a route denies the path",
            Self::AddressDenied => "access does not let the client's address in",
            Self::RateLimited => "the client asks more often than limits.rate allows",
            Self::NoFile => "no such file",
            Self::HomeDown => "every backend is Down",
            Self::ParkFull => "every backend is away, and as many requests wait for one as `park` allows",
            Self::ConnectRefused => {
                "the backend refused the connection; is it running and bound to this address?"
            }
            Self::Unreachable => "no route to the backend; is the tunnel up?",
            Self::Unresolved => "the backend's name does not resolve",
            Self::ConnectTimeout => "no connection within connect_timeout; is the tunnel up?",
            Self::BackendTls => "TLS with the backend failed; check its certificate, server_name and ca_file",
            Self::NoAnswer => "the backend closed the connection without an answer",
            Self::HeadTimeout => "the backend's answer did not begin in time",
            Self::BadAnswer => "the backend's answer is not valid HTTP; is the port right?",
            Self::AnswerCut => "the backend's answer ended too early",
            Self::Draining => "porchd is stopping",
            Self::Overload => "a limit of porchd is reached",
            Self::Internal => "an error inside porchd",
        })
    }
}

struct Row {
    blame: Blame,
    status: StatusCode,
    why: &'static str,
    retry: u64,
    text: &'static str,
}

impl Row {
    fn new(blame: Blame, status: u16, why: &'static str, retry: u64, text: &'static str) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { blame, status, why, retry, text }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const MATRIX: Setting = Setting { matrix: true, tls: true, unavailable: StatusCode::SERVICE_UNAVAILABLE };

    fn verdict(fault: Fault, setting: Setting) -> (u16, &'static str, Option<u64>) {
        let verdict = fault.verdict(setting);
        (verdict.status.as_u16(), verdict.errcode, verdict.retry_after.map(|wait| wait.as_secs()))
    }

    #[test]
    fn home_away_is_never_a_404_and_always_says_when_to_ask_again() {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.blame() == Blame::Home) {
            for unavailable in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
                let verdict = fault.verdict(Setting { unavailable, ..MATRIX });
                assert!(verdict.status.is_server_error() || verdict.status == 429, "{fault:?}");
                assert!(verdict.retry_after.is_some(), "{fault:?}");
            }
        }
    }

    #[test]
    fn statuses_on_matrix_paths() {
        let table = [
            (Fault::HomeDown, 503, "M_UNKNOWN", Some(5)),
            (Fault::ConnectTimeout, 504, "M_UNKNOWN", Some(5)),
            (Fault::NoAnswer, 502, "M_UNKNOWN", Some(2)),
            (Fault::HeadTimeout, 504, "M_UNKNOWN", Some(10)),
            (Fault::BadAnswer, 502, "M_UNKNOWN", Some(10)),
            (Fault::BodyTooLarge, 413, "M_TOO_LARGE", None),
            (Fault::NoRoute, 404, "M_UNRECOGNIZED", None),
            (Fault::Denied, 404, "M_UNRECOGNIZED", None),
            (Fault::AddressDenied, 404, "M_UNRECOGNIZED", None),
            (Fault::UnknownHost, 421, "M_UNKNOWN", None),
            (Fault::Misdirected, 421, "M_UNKNOWN", None),
            (Fault::BadRequest, 400, "M_UNKNOWN", None),
            (Fault::BodyTimeout, 408, "M_UNKNOWN", None),
            (Fault::MethodRefused, 405, "M_UNRECOGNIZED", None),
            (Fault::HeadTooLarge, 431, "M_UNKNOWN", None),
            (Fault::RateLimited, 429, "M_LIMIT_EXCEEDED", Some(1)),
            (Fault::Draining, 503, "M_UNKNOWN", Some(2)),
            (Fault::Internal, 500, "M_UNKNOWN", None),
        ];
        for (fault, status, errcode, retry) in table {
            assert_eq!(verdict(fault, MATRIX), (status, errcode, retry), "{fault:?}");
        }
    }

    #[test]
    fn unavailable_as_429_is_a_matrix_limit() {
        let setting = Setting { unavailable: StatusCode::TOO_MANY_REQUESTS, ..MATRIX };
        assert_eq!(verdict(Fault::HomeDown, setting), (429, "M_LIMIT_EXCEEDED", Some(5)));
        assert_eq!(verdict(Fault::ConnectTimeout, setting), (504, "M_UNKNOWN", Some(5)));
    }

    #[test]
    fn other_sites_say_forbidden_and_plain_listeners_not_found() {
        let setting = Setting { matrix: false, tls: false, ..MATRIX };
        assert_eq!(verdict(Fault::Denied, setting).0, 403);
        assert_eq!(verdict(Fault::AddressDenied, setting).0, 403);
        assert_eq!(verdict(Fault::UnknownHost, setting).0, 404);
    }

    #[test]
    fn tokens_are_distinct_words() {
        let tokens: HashSet<_> = Fault::ALL.iter().map(|fault| fault.why()).collect();
        assert_eq!(tokens.len(), Fault::ALL.len());
        assert!(
            tokens.iter().all(|token| token.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
        );
        let texts: HashSet<_> = Fault::ALL.iter().map(Fault::to_string).collect();
        assert_eq!(texts.len(), Fault::ALL.len());
    }

    #[test]
    fn strangers_can_not_fill_the_log() {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.blame() == Blame::Client) {
            assert_eq!(fault.level(), LogLevel::Debug, "{fault:?}");
        }
    }
}
