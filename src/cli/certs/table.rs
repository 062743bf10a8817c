//! The certificates as a person reads them: a block each, 80 columns wide, times in UTC.
//!
//! It is given the time and reads nothing.

use crate::acme::moment::Moment;
use crate::acme::status::{CertificateStatus, LastError, LeftOut, Next, Source, State};
use crate::cli::columns::{coming, minute, paragraph, span};

/// All of `list`, as it stands at `now`.
pub(super) fn of(list: &[CertificateStatus], now: Moment) -> String {
    if list.is_empty() {
        return String::from("There are no certificates: no site is served by TLS.\n");
    }
    list.iter().map(|status| block(status, now)).collect::<Vec<_>>().join("\n")
}

fn block(status: &CertificateStatus, now: Moment) -> String {
    let mut block = Block(paragraph(&format!("{}: {}", status.name, state(status)), 0, 2));
    block.row("names", &status.names.join(", "));
    let failed_so = status.last_error.as_ref().map_or("", |error| &error.text);
    // What keeps the whole certificate away is told as its error.
    let said = |left_out: &&LeftOut| status.to.is_none() && failed_so.contains(&left_out.why);
    for left_out in status.left_out.iter().filter(|left_out| !said(left_out)) {
        block.row("without", &without(left_out, now));
    }
    block.row("issuer", &issuer(status));
    if let Some(text) = validity(status.from, status.to, now) {
        block.row("valid", &text);
    }
    if let Some(error) = &status.last_error {
        block.row("error", &failed(error, now));
        block.row("", &error.text);
    }
    let (label, text) = next(status, now);
    block.row(label, &text);
    block.0
}

/// The text of one certificate.
struct Block(String);

impl Block {
    /// A line with a label, and more lines below it where the text is long.
    fn row(&mut self, label: &str, text: &str) {
        if !text.is_empty() {
            self.0 += &paragraph(&format!("  {label:<LABEL$}{text}"), LABEL + 2, LABEL + 2);
        }
    }
}

fn state(status: &CertificateStatus) -> &'static str {
    match (status.state, status.to) {
        (State::Valid, _) => "valid",
        (State::Unsaved, _) => "valid, but kept in memory alone: the disk does not take it",
        (State::Ordering, None) => "being ordered; a self-signed stand-in answers",
        (State::Ordering, Some(_)) => "being renewed",
        (State::Missing, _) => "MISSING; a self-signed stand-in answers",
        (State::Expired, _) => "EXPIRED, and still served for want of a better one",
    }
}

fn issuer(status: &CertificateStatus) -> String {
    let known = status.issuer.clone();
    match status.source {
        Source::Acme => known.unwrap_or_default(),
        Source::File => known.map_or_else(|| String::from("from a file"), |issuer| issuer + ", from a file"),
        Source::InternalCa => known.unwrap_or_else(|| String::from("the internal CA")),
    }
}

fn validity(from: Option<Moment>, to: Option<Moment>, now: Moment) -> Option<String> {
    let (from, to) = (from?, to?);
    let stands = if now < from {
        format!("begins in {}", span(from.since(now)))
    } else if now < to {
        format!("{} left", span(to.since(now)))
    } else {
        format!("ended {} ago", span(now.since(to)))
    };
    Some(format!("{} to {}, {stands}", minute(from), minute(to)))
}

fn without(left_out: &LeftOut, now: Moment) -> String {
    let LeftOut { name, why, again } = left_out;
    let again = again.map_or_else(String::new, |at| format!("; tried again {}", coming(at, now)));
    format!("{name}: {why}{again}")
}

/// When and where it failed; the text follows on a line of its own.
fn failed(error: &LastError, now: Moment) -> String {
    let asked = match host(&error.authority) {
        host if error.text.contains(host) => String::new(),
        host => format!(", {host}"),
    };
    format!("{}, {} ago{asked}:", minute(error.at), span(now.since(error.at)))
}

/// What happens next, if anything, and what that is.
fn next(status: &CertificateStatus, now: Moment) -> (&'static str, String) {
    let label = match (&status.last_error, status.to, status.source) {
        (Some(_), ..) if status.state == State::Unsaved => "again",
        // A disk that takes nothing does not hold up what is due long after.
        (Some(error), to, _) if to.is_none() || !error.authority.is_empty() => "again",
        (_, None, Source::Acme) => "order",
        _ => "renewal",
    };
    let text = match (&status.next, status.source) {
        (Some(Next { at, why }), _) => format!("{}: {why}", coming(*at, now)),
        (None, Source::File) => String::from("by whoever writes the file; porchd takes up what changes"),
        (None, Source::InternalCa) => String::from("by porchd itself"),
        (None, Source::Acme) if status.state == State::Ordering => String::from("going on now"),
        (None, Source::Acme) => String::from("none is planned; the log tells why"),
    };
    (label, text)
}

/// The host of a directory's URL, which is how people know a CA.
fn host(directory: &str) -> &str {
    let rest = directory.split_once("://").map_or(directory, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Columns of a label with the blanks behind it.
const LABEL: usize = 9;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::columns::WIDTH;

    fn at(text: &str) -> Moment {
        Moment::parse(text).unwrap()
    }

    fn now() -> Moment {
        at("2026-11-23T15:04:05Z")
    }

    /// A certificate of 90 days that is 20 days old.
    fn valid() -> CertificateStatus {
        CertificateStatus {
            name: "example.com".into(),
            state: State::Valid,
            source: Source::Acme,
            names: vec!["example.com".into(), "matrix.example.com".into()],
            left_out: Vec::new(),
            issuer: Some("Let's Encrypt E8".into()),
            from: Some(at("2026-11-03T14:00:00Z")),
            to: Some(at("2027-02-01T13:59:59Z")),
            next: Some(Next {
                at: at("2027-01-02T03:17:40Z"),
                why: "a third of its life is left then".into(),
            }),
            last_error: None,
        }
    }

    fn error(time: &str, text: &str) -> Option<LastError> {
        let authority = "https://acme-v02.api.letsencrypt.org/directory".into();
        Some(LastError { at: at(time), text: text.into(), authority })
    }

    fn shown(status: CertificateStatus) -> String {
        of(&[status], now())
    }

    #[test]
    fn valid_says_when_and_why_it_is_renewed() {
        assert_eq!(
            shown(valid()),
            "\
example.com: valid
  names    example.com, matrix.example.com
  issuer   Let's Encrypt E8
  valid    2026-11-03 14:00 UTC to 2027-02-01 13:59 UTC, 69 days left
  renewal  2027-01-02 03:17 UTC, in 39 days: a third of its life is left then
"
        );
    }

    #[test]
    fn missing_says_what_failed_and_when_it_is_tried_again() {
        let status = CertificateStatus {
            state: State::Missing,
            names: vec!["example.com".into(), "matrix.example.com".into(), "element.web.example.com".into()],
            issuer: None,
            from: None,
            to: None,
            next: Some(Next { at: at("2026-11-23T15:14:41Z"), why: "tried again after a failure".into() }),
            last_error: error(
                "2026-11-23T15:03:35Z",
                "example.com by http-01: 192.0.2.7: Fetching \
                 http://example.com/.well-known/acme-challenge/DGyRejmCefe7v4NfDGDKfA: Connection refused",
            ),
            ..valid()
        };
        assert_eq!(
            shown(status),
            "\
example.com: MISSING; a self-signed stand-in answers
  names    example.com, matrix.example.com, element.web.example.com
  error    2026-11-23 15:03 UTC, 30 seconds ago, acme-v02.api.letsencrypt.org:
           example.com by http-01: 192.0.2.7: Fetching
           http://example.com/.well-known/acme-challenge/DGyRejmCefe7v4NfDGDKfA:
           Connection refused
  again    2026-11-23 15:14 UTC, in 10 minutes: tried again after a failure
"
        );
    }

    #[test]
    fn what_keeps_the_whole_certificate_away_is_told_once() {
        let why = "Fetching http://example.com/: Connection refused";
        let left_out = LeftOut { name: "example.com".into(), why: why.into(), again: None };
        let missing = CertificateStatus {
            state: State::Missing,
            to: None,
            left_out: vec![left_out],
            last_error: error("2026-11-23T15:03:35Z", &format!("example.com by http-01: {why}")),
            ..valid()
        };
        assert!(!shown(missing.clone()).contains("without"));
        assert!(shown(CertificateStatus { to: valid().to, ..missing }).contains("without  example.com: "));
    }

    #[test]
    fn a_full_disk_does_not_make_a_renewal_a_second_try() {
        let full = LastError { at: now(), text: "the disk is full".into(), authority: String::new() };
        let told = shown(CertificateStatus { last_error: Some(full), ..valid() });
        assert!(told.contains("\n  renewal  2027-01-02 03:17 UTC"), "{told}");
    }

    #[test]
    fn expired_says_since_when() {
        let status = CertificateStatus {
            state: State::Expired,
            to: Some(at("2026-11-20T13:59:59Z")),
            next: Some(Next { at: now(), why: "it has expired".into() }),
            last_error: error("2026-11-23T14:04:04Z", "503 Service Unavailable,\nan HTML page"),
            ..valid()
        };
        assert_eq!(
            shown(status),
            "\
example.com: EXPIRED, and still served for want of a better one
  names    example.com, matrix.example.com
  issuer   Let's Encrypt E8
  valid    2026-11-03 14:00 UTC to 2026-11-20 13:59 UTC, ended 3 days ago
  error    2026-11-23 14:04 UTC, 60 minutes ago, acme-v02.api.letsencrypt.org:
           503 Service Unavailable, an HTML page
  again    now: it has expired
"
        );
    }

    #[test]
    fn unsaved_and_short_of_a_name_says_both() {
        let status = CertificateStatus {
            state: State::Unsaved,
            left_out: vec![
                LeftOut {
                    name: "old.example.com".into(),
                    why: "no DNS record was found, neither A nor AAAA (NXDOMAIN)".into(),
                    again: Some(at("2026-11-24T15:04:05Z")),
                },
                LeftOut { name: "*.example.com".into(), why: "a wildcard".into(), again: None },
            ],
            to: Some(at("2026-11-24T16:00:00Z")),
            ..valid()
        };
        assert_eq!(
            shown(status),
            "\
example.com: valid, but kept in memory alone: the disk does not take it
  names    example.com, matrix.example.com
  without  old.example.com: no DNS record was found, neither A nor AAAA
           (NXDOMAIN); tried again 2026-11-24 15:04 UTC, in 24 hours
  without  *.example.com: a wildcard
  issuer   Let's Encrypt E8
  valid    2026-11-03 14:00 UTC to 2026-11-24 16:00 UTC, 24 hours left
  renewal  2027-01-02 03:17 UTC, in 39 days: a third of its life is left then
"
        );
    }

    #[test]
    fn ordering_says_whether_something_is_served_meanwhile() {
        let renewed = CertificateStatus { state: State::Ordering, next: None, ..valid() };
        let first = CertificateStatus { issuer: None, from: None, to: None, ..renewed.clone() };
        assert_eq!(
            of(&[renewed, first], now()),
            "\
example.com: being renewed
  names    example.com, matrix.example.com
  issuer   Let's Encrypt E8
  valid    2026-11-03 14:00 UTC to 2027-02-01 13:59 UTC, 69 days left
  renewal  going on now

example.com: being ordered; a self-signed stand-in answers
  names    example.com, matrix.example.com
  order    going on now
"
        );
    }

    #[test]
    fn what_porchd_does_not_order_says_so() {
        let file = CertificateStatus {
            name: "/etc/ssl/example.com.crt".into(),
            source: Source::File,
            from: Some(at("2026-11-23T15:05:05Z")),
            next: None,
            ..valid()
        };
        let internal = CertificateStatus {
            name: "porch.test".into(),
            source: Source::InternalCa,
            names: vec!["porch.test".into()],
            issuer: None,
            from: None,
            to: None,
            next: None,
            ..valid()
        };
        assert_eq!(
            of(&[file, internal], now()),
            "\
/etc/ssl/example.com.crt: valid
  names    example.com, matrix.example.com
  issuer   Let's Encrypt E8, from a file
  valid    2026-11-23 15:05 UTC to 2027-02-01 13:59 UTC, begins in 60 seconds
  renewal  by whoever writes the file; porchd takes up what changes

porch.test: valid
  names    porch.test
  issuer   the internal CA
  renewal  by porchd itself
"
        );
        assert_eq!(of(&[], now()), "There are no certificates: no site is served by TLS.\n");
    }

    #[test]
    fn no_line_is_longer_than_a_terminal() {
        let names: Vec<String> = (0..40).map(|n| format!("name-{n}.example.com")).collect();
        let status = CertificateStatus {
            name: "x".repeat(70),
            state: State::Unsaved,
            names,
            last_error: error("2026-11-23T14:04:04Z", &"\u{e4}\u{1b}[31m word ".repeat(60)),
            ..valid()
        };
        let text = shown(status);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(!text.contains('\u{1b}'), "terminals are not steered");
    }

    #[test]
    fn spans_are_told_in_units_that_say_enough() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7_199, "119 minutes"),
            (7_200, "2 hours"),
            (172_799, "47 hours"),
            (172_800, "2 days"),
            (90 * 86_400, "90 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
