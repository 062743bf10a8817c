//! Any bytes as a line of the control protocol, and any text as a URL to explain: no panic, and what is understood is
//! understood again when it is written.

#![no_main]

use house::admin::explain::url;
use house::admin::protocol::{Heard, Question};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    if let Ok(question) = Question::of_line(line) {
        assert_eq!(Question::of_line(question.to_line().as_bytes()), Ok(question.clone()));
        assert!(question.to_line().find('\n') == Some(question.to_line().len() - 1));
        if let Question::Explain { url, .. } = question {
            explained(&url);
        }
    }
    if let Ok(heard) = Heard::of_line(line) {
        assert_eq!(Heard::of_line(heard.to_line().as_bytes()), Ok(heard));
    }
    if let Ok(text) = str::from_utf8(line) {
        explained(text);
    }
});

fn explained(text: &str) {
    let Ok((target, tls, port, shown)) = url(text) else { return };
    assert!(!shown.chars().any(char::is_control));
    assert!(target.starts_with(['/', '?']) || target == "*", "{target}");
    assert!(port != 0 || text.contains(":0"));
    assert_eq!(tls, shown.starts_with("https://"));
}
