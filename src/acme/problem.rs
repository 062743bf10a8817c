//! Makes failures of errors: whose fault it was, which names it concerns, and one line that says so. Pure.

use std::sync::Arc;

use http::StatusCode;
use instant_acme::{Error, Problem};

use crate::acme::answer::Seen;
use crate::acme::client::RequestError;
use crate::acme::failure::{FailedName, Failure, Kind};
use crate::acme::names;

/// In front of every type that RFC 8555 section 6.7 registers.
const REGISTERED: &str = "urn:ietf:params:acme:error:";

/// No line is longer than this, in characters: some CAs send novels.
const LONGEST: usize = 600;

/// What a person must know where they are asked to mend something.
const ACCOUNT_CURE: &str =
    "set `acme.external_account` to the key_id and the key_file that this CA hands out";

/// What `error` means. `seen` is what the answer said beside its body, `names` are those that were asked for.
pub fn failure(authority: &str, error: &Error, seen: &Seen, names: &[Arc<str>]) -> Failure {
    let (kind, text) = match error {
        Error::Api(problem) => of_problem(problem, seen.status, names),
        Error::Other(inner) => match inner.downcast_ref::<RequestError>() {
            Some(error) => return of_request(authority, error, seen),
            None => (Kind::Unavailable, inner.to_string()),
        },
        Error::Json(_) | Error::Str(_) if failed(seen) => return unreadable(authority, seen),
        Error::Json(error) => (Kind::Unavailable, format!("its answer is not ACME: {error}")),
        Error::Str(text) => (Kind::Unavailable, (*text).to_owned()),
        Error::Unsupported(what) => (Kind::Refused, format!("it does not support {what}")),
        Error::KeyRejected | Error::Crypto => (Kind::Local, format!("the account's key: {error}")),
        other => (Kind::Unavailable, other.to_string()),
    };
    Failure { kind, retry_after: retry_after(seen), text: one_line(&format!("{authority}: {text}")) }
}

/// `names` failed, each for its reason.
pub fn of_names(failed: Vec<FailedName>) -> Failure {
    let told = |failed: &FailedName| match failed.challenge {
        Some(challenge) => format!("{} by {challenge}: {}", failed.name, failed.text),
        None => format!("{}: {}", failed.name, failed.text),
    };
    let text = one_line(&failed.iter().map(told).collect::<Vec<_>>().join("; "));
    Failure { kind: Kind::Names(failed), retry_after: None, text }
}

/// A failure of `kind` that `text` tells whole.
pub fn plain(kind: Kind, text: &str) -> Failure {
    Failure { kind, retry_after: None, text: one_line(text) }
}

/// What a CA says of one name.
pub fn words(problem: &Problem) -> String {
    let kind = short(problem);
    match (problem.detail.as_deref().map(str::trim).filter(|detail| !detail.is_empty()), kind) {
        (Some(detail), "") => one_line(detail),
        (Some(detail), kind) => one_line(&format!("{detail} ({kind})")),
        (None, "") => "the CA does not say why".to_owned(),
        (None, kind) => one_line(kind),
    }
}

/// The problem's type without what is in front of all of them.
pub fn short(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind.strip_prefix(REGISTERED).unwrap_or(kind);
    if kind == "about:blank" { "" } else { kind }
}

/// One line without what a terminal would act on.
pub fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

fn of_problem(problem: &Problem, status: Option<StatusCode>, names: &[Arc<str>]) -> (Kind, String) {
    let kind = short(problem);
    let text = words(problem);
    if kind == "rateLimited" || status == Some(StatusCode::TOO_MANY_REQUESTS) {
        return (Kind::RateLimited, text);
    }
    if matches!(kind, "badNonce" | "serverInternal") || status.is_some_and(|status| status.is_server_error())
    {
        return (Kind::Unavailable, text);
    }
    let blamed = blamed(problem, names);
    if !blamed.is_empty() {
        let failure = of_names(blamed);
        return (failure.kind, failure.text);
    }
    match kind {
        "externalAccountRequired" => (Kind::Refused, format!("{text}; {ACCOUNT_CURE}")),
        _ => (Kind::Refused, text),
    }
}

fn blamed(problem: &Problem, names: &[Arc<str>]) -> Vec<FailedName> {
    let failed = |name: &Arc<str>, text: String| FailedName { name: name.clone(), challenge: None, text };
    let mut blamed = Vec::<FailedName>::new();
    for part in &problem.subproblems {
        let name = part.identifier.as_ref().and_then(|said| names::find(names, said));
        if let Some(name) = name.filter(|name| blamed.iter().all(|other| other.name != **name)) {
            let (r#type, detail) = (part.r#type.clone(), part.detail.clone());
            let part = Problem { r#type, detail, status: None, subproblems: Vec::new() };
            blamed.push(failed(name, words(&part)));
        }
    }
    let about_names = matches!(
        short(problem),
        "rejectedIdentifier"
            | "unsupportedIdentifier"
            | "caa"
            | "dns"
            | "connection"
            | "tls"
            | "incorrectResponse"
    );
    if blamed.is_empty() && (about_names || matches!(short(problem), "malformed" | "unauthorized")) {
        // Boulder has no subproblems when a single name is at fault, and names it in the sentence.
        let mentioned = names::mentioned(names, problem.detail.as_deref().unwrap_or_default());
        blamed.extend(mentioned.into_iter().map(|name| failed(name, words(problem))));
    }
    match names {
        [only] if blamed.is_empty() && about_names => vec![failed(only, words(problem))],
        _ => blamed,
    }
}

fn of_request(authority: &str, error: &RequestError, seen: &Seen) -> Failure {
    let text = match seen.status.filter(|_| failed(seen)) {
        _ if error.is_unreached() => format!("cannot reach {authority}: {error}"),
        Some(status) => format!("{authority} answers {}, and {error}", status.as_u16()),
        None => format!("{authority}: {error}"),
    };
    let limited = seen.status == Some(StatusCode::TOO_MANY_REQUESTS);
    let kind = if limited { Kind::RateLimited } else { Kind::Unavailable };
    Failure { kind, retry_after: retry_after(seen), text: one_line(&text) }
}

/// An error's status with a body that is no problem document: a proxy or a maintenance page.
fn unreadable(authority: &str, seen: &Seen) -> Failure {
    let status = seen.status.unwrap_or_default();
    let what = if seen.is_page() { "an HTML page" } else { "no problem document" };
    let kind = if status == StatusCode::TOO_MANY_REQUESTS { Kind::RateLimited } else { Kind::Unavailable };
    let text = format!("{authority} answers {} with {what}", status.as_u16());
    Failure { kind, retry_after: retry_after(seen), text }
}

fn failed(seen: &Seen) -> bool {
    seen.status.is_some_and(|status| !status.is_success())
}

/// A `Retry-After` of an answer that is no error says when to poll, and not when to begin anew.
fn retry_after(seen: &Seen) -> Option<crate::acme::moment::Moment> {
    seen.retry_after.filter(|_| failed(seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::moment::Moment;
    use crate::config::model::acme::Challenge;

    fn seen(status: u16) -> Seen {
        let status = StatusCode::from_u16(status).ok();
        Seen {
            status,
            retry_after: Moment::parse("2026-01-01T00:00:00Z"),
            content_type: "text/html; x".into(),
        }
    }

    fn names() -> Vec<Arc<str>> {
        vec!["a.test".into(), "b.test".into(), "192.0.2.1".into()]
    }

    fn api(json: &str, status: u16, names: &[Arc<str>]) -> Failure {
        failure("ca", &Error::Api(serde_json::from_str(json).unwrap()), &seen(status), names)
    }

    fn blamed(failure: &Failure) -> Vec<&str> {
        match &failure.kind {
            Kind::Names(names) => names.iter().map(|failed| &*failed.name).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn types_and_statuses_say_whose_fault_it_is() {
        for (kind, status, expected) in [
            ("rateLimited", 429, Kind::RateLimited),
            ("rateLimited", 403, Kind::RateLimited),
            ("malformed", 429, Kind::RateLimited),
            ("serverInternal", 500, Kind::Unavailable),
            ("malformed", 503, Kind::Unavailable),
            ("badNonce", 400, Kind::Unavailable),
            ("unauthorized", 403, Kind::Refused),
            ("userActionRequired", 403, Kind::Refused),
            ("rejectedIdentifier", 400, Kind::Refused),
        ] {
            let json = format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"so\nit is"}}"#);
            let failure = api(&json, status, &names());
            assert_eq!(failure.kind, expected, "{kind} {status}");
            assert_eq!(failure.text, format!("ca: so it is ({kind})"));
            assert!(failure.retry_after.is_some());
        }
    }

    #[test]
    fn subproblems_name_their_names() {
        let json = r#"{"type":"urn:ietf:params:acme:error:malformed","detail":"several","subproblems":[
            {"type":"urn:ietf:params:acme:error:caa","detail":"no","identifier":{"type":"dns","value":"B.test"}},
            {"detail":"private","identifier":{"type":"ip","value":"192.0.2.1"}},
            {"detail":"stranger","identifier":{"type":"dns","value":"c.test"}},
            {"detail":"nobody"}]}"#;
        let failure = api(json, 400, &names());
        assert_eq!(blamed(&failure), ["b.test", "192.0.2.1"]);
        assert_eq!(failure.text, "ca: b.test: no (caa); 192.0.2.1: private");
    }

    #[test]
    fn a_single_name_is_found_in_the_sentence_or_is_the_only_one() {
        let json = r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"Cannot issue for \"a.test\""}"#;
        assert_eq!(blamed(&api(json, 400, &names())), ["a.test"]);
        let json = r#"{"type":"urn:ietf:params:acme:error:caa","detail":"forbidden"}"#;
        assert_eq!(api(json, 403, &names()).kind, Kind::Refused);
        assert_eq!(blamed(&api(json, 403, &names()[..1])), ["a.test"]);
        let json = r#"{"type":"urn:ietf:params:acme:error:unauthorized","detail":"account is deactivated"}"#;
        assert_eq!(api(json, 403, &names()[..1]).kind, Kind::Refused);
    }

    #[test]
    fn pages_are_called_pages() {
        let json = || Error::Json(serde_json::from_str::<u8>("<html>").unwrap_err());
        let told = |error, status| failure("letsencrypt", &error, &seen(status), &[]);
        assert_eq!(told(json(), 503).text, "letsencrypt answers 503 with an HTML page");
        assert_eq!(told(json(), 429).kind, Kind::RateLimited);
        assert!(told(json(), 503).retry_after.is_some());
        let nonsense = told(json(), 200);
        assert!(
            nonsense.text.starts_with("letsencrypt: its answer is not ACME: expected "),
            "{}",
            nonsense.text
        );
        assert_eq!(nonsense.retry_after, None);
        assert_eq!(told(Error::Str("no nonce found"), 200).text, "letsencrypt: no nonce found");
        assert_eq!(told(Error::Str("x"), 500).text, "letsencrypt answers 500 with an HTML page");
    }

    #[test]
    fn names_tell_by_which_challenge_they_failed() {
        let failed = |name: &str, challenge| FailedName { name: name.into(), challenge, text: "no".into() };
        let told = of_names(vec![failed("a.test", Some(Challenge::Http01)), failed("b.test", None)]).text;
        assert_eq!(told, "a.test by http-01: no; b.test: no");
    }

    #[test]
    fn lines_are_short_and_harmless() {
        assert_eq!(one_line(" a\r\n\tb\u{1b}[31mc "), "a b [31mc");
        assert_eq!(one_line(&"\u{e4}".repeat(700)).chars().count(), LONGEST + 3);
    }
}
