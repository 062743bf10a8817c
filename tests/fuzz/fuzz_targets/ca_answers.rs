//! Any bytes as what a CA answers: no panic, no word of it that fills more than one line, no name blamed that was not
//! ordered, no fault that is not whose the status says, and no time beyond the calendar.

#![no_main]

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use house::acme::answer::Seen;
use house::acme::directory::{self, Directory};
use house::acme::failure::{Failure, Kind};
use house::acme::moment::Moment;
use house::acme::{names, problem, renewal_window};
use house::config::model::acme::Authority;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use instant_acme::Error;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    match kind {
        b'D' => offered(rest),
        b'W' => window(rest),
        b'R' => retry_after(rest),
        b'L' => refused(rest, StatusCode::TOO_MANY_REQUESTS),
        b'U' => refused(rest, StatusCode::SERVICE_UNAVAILABLE),
        _ => refused(rest, StatusCode::FORBIDDEN),
    }
});

fn one_line(text: &str) {
    assert!(!text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')), "{text:?}");
    assert!(text.chars().count() <= 603, "{text:?}");
}

fn told(failure: &Failure) {
    one_line(&failure.text);
    assert!(!failure.text.is_empty());
}

fn offered(body: &[u8]) {
    let authority = Authority {
        name: "ca".into(),
        directory: "https://ca.test/dir".into(),
        ca_file: None,
        profile: Some("short".into()),
        external_account: None,
    };
    let read = |body: &[u8]| Directory::of_answer(body, &authority, &Seen::default()).inspect_err(told);
    let Ok(directory) = read(body) else { return };
    let all = [&directory.new_nonce, &directory.new_account, &directory.new_order];
    for url in all.into_iter().chain(&directory.revoke_cert).chain(&directory.renewal_info) {
        assert!(directory::get(url).is_ok(), "{url:?}");
        assert_eq!(url.parse::<Uri>().expect("a URL").scheme_str(), Some("https"), "{url:?}");
    }
    let _ = directory.check(&authority).inspect_err(told);
    let kept = serde_json::to_vec(&directory).expect("JSON");
    let again = read(&kept).expect("what it was");
    assert_eq!(serde_json::to_vec(&again).expect("JSON"), kept);
}

fn window(body: &[u8]) {
    let Ok(window) = renewal_window::of_answer(body, "ca", &Seen::default()).inspect_err(told) else {
        return;
    };
    assert!(window.start < window.end);
    window.explanation.iter().for_each(|text| one_line(text));
    let kept = serde_json::to_vec(&window).expect("JSON");
    assert_eq!(serde_json::from_slice(&kept).ok(), Some(window));
}

/// A line each: `Retry-After`, `Date` and the media type.
fn retry_after(text: &[u8]) {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut headers = HeaderMap::new();
    for (name, line) in ["retry-after", "date", "content-type"].into_iter().zip(text.split(|c| *c == b'\n')) {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.insert(name, value);
    }
    let seen = Seen::of(StatusCode::SERVICE_UNAVAILABLE, &headers, now);
    if let Some(at) = seen.retry_after {
        assert!(at >= Moment::of(now));
        assert_eq!(Moment::parse(&at.to_string()), Some(at));
    }
    let failure = problem::failure("ca", &Error::Str("no"), &seen, &[]);
    told(&failure);
    assert_eq!((failure.retry_after, failure.kind), (seen.retry_after, Kind::Unavailable));
}

fn refused(body: &[u8], status: StatusCode) {
    let seen = Seen { status: Some(status), ..Seen::default() };
    let ordered: Vec<Arc<str>> = vec!["a.test".into(), "b.test".into(), "192.0.2.1".into()];
    let mut answer = Response::new(body.to_vec().into());
    *answer.status_mut() = status;
    let Err(error) = directory::accepted(&answer) else { panic!("an error is accepted") };
    for names in [&ordered[..], &ordered[..1]] {
        let failure = problem::failure("ca", &error, &seen, names);
        told(&failure);
        match (&failure.kind, status) {
            (Kind::RateLimited, _) => {}
            (Kind::Unavailable, StatusCode::SERVICE_UNAVAILABLE | StatusCode::FORBIDDEN) => {}
            (Kind::Refused, StatusCode::FORBIDDEN) => {}
            (Kind::Names(blamed), StatusCode::FORBIDDEN) => {
                assert!(!blamed.is_empty() && blamed.iter().all(|failed| names.contains(&failed.name)));
                let twice = |at: usize| blamed[..at].iter().any(|failed| failed.name == blamed[at].name);
                assert!(!(0..blamed.len()).any(twice), "{blamed:?}");
                blamed.iter().for_each(|failed| one_line(&failed.text));
            }
            (kind, _) => panic!("{kind:?} of {status}"),
        }
    }
    if let Ok(text) = str::from_utf8(body) {
        let mentioned = names::mentioned(&ordered, text);
        assert!(mentioned.iter().all(|name| text.to_ascii_lowercase().contains(&***name)));
    }
}
