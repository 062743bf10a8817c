//! Endpoint classes: the one table for replay, head timeouts, limits and figures.
//!
//! A class says what kind of request this is, never whether it is let through: that is `route`'s. The
//! table is the only authority on what may be sent again after its bytes went out. A request is looked up
//! once, by `Endpoint::of`.

use std::time::Duration;

use http::Method;

use super::path::{Segments, same};

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Long polls: `/sync`, sliding sync (MSC4186), `/events`.
    Sync,
    /// Writes into rooms: events, state, redactions, typing, receipts, to-device messages.
    Send,
    /// `/_matrix/federation`, but for its media.
    Federation,
    /// `/_matrix/key`: peers' signing keys.
    Keys,
    /// Uploads, downloads and thumbnails, of clients and of peers.
    Media,
    /// What hands out or changes credentials, and `/_synapse/client` (single sign-on, password reset).
    Login,
    /// Everything else under `/_matrix`.
    Client,
    /// Everything that is not Matrix.
    Other,
}

/// A request's row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// What it is for.
    pub class: Class,
    /// Whether the edge's own answers to it are Matrix JSON with CORS.
    pub matrix: bool,
    /// Whether it uploads media: its size is Synapse's to bound, not the edge's.
    pub upload: bool,
    /// Whether it may be sent again after its bytes went out and no byte of an answer came.
    pub replayable: bool,
    /// How long an upstream may take until the head of its answer.
    pub head_timeout: Duration,
}

impl Endpoint {
    /// Looks up a request; the path is the raw one.
    pub fn of(method: &Method, path_and_query: &str) -> Self {
        let (path, query) = match memchr::memchr(b'?', path_and_query.as_bytes()) {
            Some(at) => (&path_and_query[..at], &path_and_query[at + 1..]),
            None => (path_and_query, ""),
        };
        let path = Segments::of(path);
        let at = endpoint(&path);
        let class = class(method, &path, at);
        Self {
            class,
            matrix: is_matrix(&path),
            upload: class == Class::Media && is_upload(method, &path),
            replayable: replayable(class, method, &path, query),
            head_timeout: head_timeout(class, &path, at, query),
        }
    }
}

impl Class {
    /// How many there are; `class as usize` is below.
    pub const COUNT: usize = 8;

    /// Its name in log lines and figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Send => "send",
            Self::Federation => "federation",
            Self::Keys => "keys",
            Self::Media => "media",
            Self::Login => "login",
            Self::Client => "client",
            Self::Other => "other",
        }
    }
}

/// `at`: the index of the endpoint's own name.
fn class(method: &Method, path: &Segments<'_>, at: usize) -> Class {
    let api = path.name(1);
    match (&*path.name(0), &*api) {
        ("_synapse", "client") => return Class::Login,
        ("_matrix", "key") => return Class::Keys,
        ("_matrix", "media") => return Class::Media,
        ("_matrix", _) => {}
        _ => return Class::Other,
    }
    let polls = matches!(*method, Method::GET | Method::POST | Method::HEAD);
    let writes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match &*path.name(at) {
        "media" => Class::Media,
        _ if api == "federation" => Class::Federation,
        _ if polls && is_poll(path, at) => Class::Sync,
        "login" | "register" | "refresh" => Class::Login,
        "account" if path.name(at + 1) == "password" => Class::Login,
        "sendToDevice" if writes => Class::Send,
        "rooms" if writes && is_write(&path.name(at + 2)) => Class::Send,
        _ => Class::Client,
    }
}

/// What changes a room.
fn is_write(word: &str) -> bool {
    matches!(word, "send" | "state" | "redact" | "typing" | "receipt" | "read_markers")
}

/// PUT and DELETE of clients are idempotent (RFC 9110 9.2.2; Matrix dedups sends by transaction id). A
/// one-time token is used up by the first try, so nothing that carries one is repeated.
fn replayable(class: Class, method: &Method, path: &Segments<'_>, query: &str) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match class {
        Class::Sync => reads || *method == Method::POST,
        Class::Send | Class::Client => reads || matches!(*method, Method::PUT | Method::DELETE),
        Class::Federation => reads || *method == Method::PUT,
        Class::Keys => reads || (*method == Method::POST && path.name(3) == "query"),
        Class::Media | Class::Other => reads,
        Class::Login => *method == Method::OPTIONS || (reads && is_plain_page(path, query)),
    }
}

/// A poll has its own `timeout` and a minute more. Joining a large room takes Synapse minutes, and media
/// waits for a peer that may be slow: what bounds it is that bytes move.
fn head_timeout(class: Class, path: &Segments<'_>, at: usize, query: &str) -> Duration {
    const MINUTE: Duration = Duration::from_secs(60);
    match class {
        // The first sync of an account, and the first of a sliding one, takes Synapse minutes.
        Class::Sync if !continues(query) => 10 * MINUTE,
        Class::Sync => MINUTE + poll_timeout(query),
        Class::Keys => Duration::from_secs(30),
        Class::Media => 10 * MINUTE,
        Class::Login => MINUTE,
        Class::Federation | Class::Client if is_join(path, at) => 10 * MINUTE,
        Class::Send | Class::Federation | Class::Client | Class::Other => 3 * MINUTE,
    }
}

/// `upload` or `upload/{server}/{id}`, at most after a version and an MSC's namespace.
fn is_upload(method: &Method, path: &Segments<'_>) -> bool {
    matches!(*method, Method::POST | Method::PUT)
        && path.all().iter().skip(2).take(4).any(|part| same(part, "upload"))
}

fn is_matrix(path: &Segments<'_>) -> bool {
    match &*path.name(0) {
        "_matrix" | "_synapse" => true,
        ".well-known" => path.name(1) == "matrix",
        _ => false,
    }
}

/// The index of what follows `/_matrix/{api}/{version}`, and an MSC's namespace after `unstable`.
fn endpoint(path: &Segments<'_>) -> usize {
    let all = path.all();
    let mut at = 2;
    while all.get(at).is_some_and(|part| is_version(part)) {
        at += 1;
    }
    if at > 2 && same(all[at - 1], "unstable") && all.get(at).is_some_and(|part| part.contains('.')) {
        at += 1;
    }
    at
}

/// `r0`, `v3`, `unstable`, and the `api` of the old `api/v1`.
fn is_version(part: &str) -> bool {
    if part.contains('%') {
        let mut bytes = percent_encoding::percent_decode_str(part);
        let named = matches!(bytes.next(), Some(b'v' | b'r'));
        let numbered = named && bytes.clone().next().is_some() && bytes.all(|byte| byte.is_ascii_digit());
        return numbered || same(part, "unstable") || same(part, "api");
    }
    match part.as_bytes() {
        [b'v' | b'r', number @ ..] => !number.is_empty() && number.iter().all(u8::is_ascii_digit),
        _ => part == "unstable" || part == "api",
    }
}

/// `/_matrix/**/sync` and `/events`, where `**` holds no name that a user chose.
fn is_poll(path: &Segments<'_>, at: usize) -> bool {
    if !path.ends_with("sync") && !path.ends_with("events") {
        return false;
    }
    let (first, last) = (1, path.all().len() - 1);
    let between = path.all().get(first..last).unwrap_or_default();
    between.is_empty() || (same(between[0], "client") && at >= last)
}

/// Joins and knocks: `join/{room}`, `rooms/{room}/join`, `make_join`, `send_join` and their like.
fn is_join(path: &Segments<'_>, at: usize) -> bool {
    let at = if path.name(at) == "rooms" { at + 2 } else { at };
    let word = path.name(at);
    matches!(&*word, "join" | "knock" | "make_join" | "send_join" | "make_knock" | "send_knock")
}

/// A page or question whose repeat can't use up anything: no callback, and only harmless query names.
fn is_plain_page(path: &Segments<'_>, query: &str) -> bool {
    const ONCE: [&str; 7] =
        ["callback", "authn_response", "submit_token", "sso_register", "ticket", "refresh", "token"];
    const HARMLESS: [&str; 5] = ["redirectUrl", "username", "action", "kind", "org.matrix.msc3824.action"];
    let once = ONCE.iter().any(|word| path.has(1, word));
    let harmless = |pair: &str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        name.is_empty() || HARMLESS.iter().any(|word| same(name, word))
    };
    !once && query.split('&').all(harmless)
}

/// Whether a poll goes on from where an earlier one ended.
fn continues(query: &str) -> bool {
    // `since` of /sync, `pos` of sliding sync, `from` of /events.
    let mut names = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    names.any(|name| ["since", "pos", "from"].iter().any(|word| same(name, word)))
}

/// Has a poll that goes again, after `waited`, ask for what is left of its own time: its client has waited that
/// long already. `head` is that of the request; without a timeout it stays as it is.
///
/// This is the one place where bytes of a request are not forwarded as they came. What peers sign is no poll.
pub fn shorten_poll(head: &mut Vec<u8>, waited: Duration) {
    let line = memchr::memchr(b'\r', head).unwrap_or(head.len());
    let Some(query) = memchr::memchr(b'?', &head[..line]) else { return };
    let Some(found) = memchr::memmem::find_iter(&head[query..line], b"timeout=")
        .map(|at| query + at)
        .find(|at| matches!(head[at - 1], b'?' | b'&'))
    else {
        return;
    };
    let begin = found + b"timeout=".len();
    let end = begin + head[begin..line].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let Some(own) = std::str::from_utf8(&head[begin..end]).ok().and_then(|text| text.parse::<u64>().ok())
    else {
        return;
    };
    let left = own.saturating_sub(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
    head.splice(begin..end, left.to_string().into_bytes());
}

/// A poll's own `timeout` in milliseconds; at most an hour, so that no client holds a place for ever.
fn poll_timeout(query: &str) -> Duration {
    const MOST: u64 = 3_600_000;
    let value = query.split('&').find_map(|pair| match pair.split_once('=') {
        Some((name, value)) if same(name, "timeout") => Some(value),
        _ => None,
    });
    let digits = value.unwrap_or("0");
    let known = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // Digits that overflow mean a very long poll; what is no number means Synapse's default of 0.
    let millis = if known { digits.parse().unwrap_or(MOST) } else { 0 };
    Duration::from_millis(millis.min(MOST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(method: &str, target: &str) -> Endpoint {
        Endpoint::of(&method.parse().expect("a method"), target)
    }

    #[test]
    fn every_endpoint_has_its_class() {
        use Class::*;
        let table = [
            ("GET", "/_matrix/client/v3/sync", Sync),
            ("GET", "/_matrix/client/r0/sync", Sync),
            ("GET", "/_matrix/client/api/v1/events", Sync),
            ("GET", "/_matrix/sync", Sync),
            ("POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", Sync),
            ("POST", "/_matrix/client/v4/sync", Sync),
            ("GET", "/_matrix/client/v3/s%79nc", Sync),
            ("PUT", "/_matrix/client/v3/sync", Client),
            ("POST", "/_matrix/client/v3/join/sync", Client),
            ("GET", "/_matrix/client/v3/rooms/!a:b/context/sync", Client),
            ("GET", "/_matrix/client/v3/profile/@a:b/events", Client),
            ("PUT", "/_matrix/client/v3/rooms/!a:b/send/m.room.message/sync", Send),
            ("PUT", "/_matrix/client/v3/rooms/!a:b/send/m.room.message/t1", Send),
            ("PUT", "/_matrix/client/v3/rooms/%21a%3Ab/send/m.room.message/t1", Send),
            ("PUT", "/_matrix/client/v3/rooms/!a:b/state/m.room.name/", Send),
            ("PUT", "/_matrix/client/v3/rooms/!a:b/redact/$e/t1", Send),
            ("PUT", "/_matrix/client/v3/rooms/!a:b/typing/@a:b", Send),
            ("POST", "/_matrix/client/v3/rooms/!a:b/receipt/m.read/$e", Send),
            ("PUT", "/_matrix/client/v3/sendToDevice/m.room.encrypted/1", Send),
            ("GET", "/_matrix/client/v3/rooms/!a:b/state", Client),
            ("PUT", "/_matrix/federation/v1/send/123", Federation),
            ("GET", "/_matrix/federation/v1/event/$e", Federation),
            ("GET", "/_matrix/federation/v1/media/download/x", Media),
            ("GET", "/_matrix/key/v2/server", Keys),
            ("POST", "/_matrix/key/v2/query", Keys),
            ("POST", "/_matrix/media/v3/upload", Media),
            ("GET", "/_matrix/client/v1/media/download/a/b", Media),
            ("GET", "/_matrix/client/unstable/org.matrix.msc3916/media/download/a/b", Media),
            ("GET", "/_matrix/client/v3/rooms/!a:b/media", Client),
            ("POST", "/_matrix/client/v3/login", Login),
            ("GET", "/_matrix/client/v3/login/sso/redirect/oidc", Login),
            ("POST", "/_matrix/client/v3/register", Login),
            ("POST", "/_matrix/client/v3/refresh", Login),
            ("POST", "/_matrix/client/v3/account/password/email/requestToken", Login),
            ("POST", "/_matrix/client/v3/account/deactivate", Client),
            ("GET", "/_synapse/client/oidc/callback", Login),
            ("GET", "/_synapse/admin/v2/users", Other),
            ("GET", "/_matrix/client/versions", Client),
            ("GET", "/_matrix/new/thing", Client),
            ("GET", "/_matrix", Client),
            ("GET", "/_matrixes/sync", Other),
            ("GET", "/sync", Other),
            ("GET", "/.well-known/matrix/server", Other),
            ("OPTIONS", "*", Other),
            ("GET", "", Other),
        ];
        for (method, path, class) in table {
            assert_eq!(of(method, path).class, class, "{method} {path}");
        }
    }

    #[test]
    fn only_what_the_table_names_is_sent_again() {
        let table = [
            ("GET", "/_matrix/client/v3/sync?timeout=30000", true),
            ("POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?pos=1", true),
            ("PUT", "/_matrix/client/v3/rooms/!a:b/send/m.room.message/t1", true),
            ("DELETE", "/_matrix/client/v3/rooms/!a:b/send/m.room.message/t1", true),
            ("POST", "/_matrix/client/v3/rooms/!a:b/receipt/m.read/$e", false),
            ("PUT", "/_matrix/federation/v1/send/123", true),
            ("POST", "/_matrix/federation/v1/get_missing_events/!a:b", false),
            ("DELETE", "/_matrix/federation/v1/x", false),
            ("GET", "/_matrix/key/v2/server", true),
            ("POST", "/_matrix/key/v2/query", true),
            ("POST", "/_matrix/key/v2/other", false),
            ("GET", "/_matrix/media/v3/download/a/b", true),
            ("POST", "/_matrix/media/v3/upload", false),
            ("PUT", "/_matrix/media/v3/upload/a/b", false),
            ("GET", "/_matrix/client/v3/login", true),
            ("GET", "/_matrix/client/v3/login/sso/redirect?redirectUrl=https%3A%2F%2Fx", true),
            ("GET", "/_matrix/client/v3/register/available?username=a", true),
            ("POST", "/_matrix/client/v3/login", false),
            ("POST", "/_matrix/client/v3/refresh", false),
            ("GET", "/_matrix/client/r0/login/cas/ticket?ticket=x", false),
            ("GET", "/_synapse/client/oidc/callback?code=a&state=b", false),
            ("GET", "/_synapse/client/oidc/c%61llback", false),
            ("GET", "/_synapse/client/pick_idp?loginToken=x", false),
            ("GET", "/_synapse/client/password_reset/email/submit_token", false),
            ("OPTIONS", "/_matrix/client/v3/login", true),
            ("GET", "/_matrix/client/versions", true),
            ("PUT", "/_matrix/client/v3/profile/@a:b/displayname", true),
            ("DELETE", "/_matrix/client/v3/devices/a", true),
            ("POST", "/_matrix/client/v3/createRoom", false),
            ("PATCH", "/_matrix/client/v3/x", false),
            ("GET", "/anything", true),
            ("PUT", "/anything", false),
        ];
        for (method, target, again) in table {
            assert_eq!(of(method, target).replayable, again, "{method} {target}");
        }
    }

    #[test]
    fn head_timeouts_follow_the_table() {
        let table = [
            ("GET", "/_matrix/client/v3/sync", 600),
            ("GET", "/_matrix/client/v3/sync?timeout=30000", 600),
            ("GET", "/_matrix/client/v3/sync?since=a", 60),
            ("GET", "/_matrix/client/v3/sync?since=a&timeout=30000", 90),
            ("GET", "/_matrix/client/v3/sync?sinc%65=a&tim%65out=30000", 90),
            ("GET", "/_matrix/client/v3/sync?since=a&timeout=99999999999999999999", 3660),
            ("GET", "/_matrix/client/v3/sync?since=a&timeout=-1", 60),
            ("GET", "/_matrix/client/v3/sync?since=a&timeout=", 60),
            ("POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?pos=5&timeout=20000", 80),
            ("GET", "/_matrix/client/v3/events?from=s1&timeout=20000", 80),
            ("PUT", "/_matrix/client/v3/rooms/!a:b/send/m/t", 180),
            ("PUT", "/_matrix/federation/v1/send/1", 180),
            ("PUT", "/_matrix/federation/v2/send_join/!a:b/$e", 600),
            ("GET", "/_matrix/federation/v1/make_join/!a:b/@u:c", 600),
            ("POST", "/_matrix/client/v3/join/!a:b", 600),
            ("POST", "/_matrix/client/v3/rooms/!a:b/join", 600),
            ("GET", "/_matrix/key/v2/server", 30),
            ("GET", "/_matrix/media/v3/download/a/b", 600),
            ("POST", "/_matrix/client/v3/login", 60),
            ("POST", "/_matrix/client/v3/createRoom", 180),
            ("GET", "/x", 180),
        ];
        for (method, target, seconds) in table {
            let expected = Duration::from_secs(seconds);
            assert_eq!(of(method, target).head_timeout, expected, "{method} {target}");
        }
    }

    #[test]
    fn a_poll_that_goes_again_asks_for_the_rest_of_its_time() {
        let table = [
            ("GET /s?timeout=30000&since=a HTTP/1.1\r\n", "GET /s?timeout=18000&since=a HTTP/1.1\r\n"),
            ("GET /s?since=a&timeout=9000 HTTP/1.1\r\n", "GET /s?since=a&timeout=0 HTTP/1.1\r\n"),
            ("GET /s?mytimeout=30000 HTTP/1.1\r\n", "GET /s?mytimeout=30000 HTTP/1.1\r\n"),
            ("GET /s?timeout=soon HTTP/1.1\r\n", "GET /s?timeout=soon HTTP/1.1\r\n"),
            ("GET /s HTTP/1.1\r\nA: ?timeout=30000\r\n", "GET /s HTTP/1.1\r\nA: ?timeout=30000\r\n"),
            ("GET /s?timeout=30000&timeout=9 HTTP/1.1\r\n", "GET /s?timeout=18000&timeout=9 HTTP/1.1\r\n"),
        ];
        for (head, expected) in table {
            let mut head = head.as_bytes().to_vec();
            shorten_poll(&mut head, Duration::from_secs(12));
            assert_eq!(head.escape_ascii().to_string(), expected.as_bytes().escape_ascii().to_string());
        }
    }

    #[test]
    fn uploads_are_told_from_other_media() {
        assert!(of("POST", "/_matrix/media/v3/upload").upload);
        assert!(of("PUT", "/_matrix/media/v3/upload/example.com/abc").upload);
        assert!(of("PUT", "/_matrix/media/unstable/fi.mau.msc2246/upload/a/b").upload);
        assert!(!of("GET", "/_matrix/media/v3/upload").upload);
        assert!(!of("POST", "/_matrix/media/v1/create").upload);
        assert!(!of("POST", "/upload").upload);
    }

    #[test]
    fn matrix_paths_end_at_segment_edges() {
        for path in
            ["/_matrix", "/_matrix/x", "/_synapse/admin", "/.well-known/matrix/client", "/%5Fmatrix/x"]
        {
            assert!(of("GET", path).matrix, "{path}");
        }
        for path in ["/", "", "*", "/_matrixx", "/.well-known/other", "/x/_matrix"] {
            assert!(!of("GET", path).matrix, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_has_a_class(path in ".{0,60}", base in 0..4usize, method in "[A-Z]{1,8}") {
            let target = ["", "/_matrix/client/v3/", "/_matrix/", "/_synapse/client/"][base].to_owned() + &path;
            prop_assert!(of(&method, &target).head_timeout <= Duration::from_secs(3660));
        }

        #[test]
        fn encoding_a_path_keeps_its_class(hidden in proptest::collection::vec(any::<bool>(), 40)) {
            for path in ["/_matrix/client/v3/sync", "/_matrix/key/v2/server", "/_matrix/media/v3/upload"] {
                let encoded: String = path.chars().zip(&hidden).map(|(char, hide)| match (char, hide) {
                    ('a'..='z' | '_', true) => format!("%{:02x}", u32::from(char)),
                    _ => char.to_string(),
                }).collect();
                prop_assert_eq!(of("GET", &encoded), of("GET", path));
            }
        }
    }
}
