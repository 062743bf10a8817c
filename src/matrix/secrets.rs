//! Redaction of secrets in request targets, for every place that a person or a log may see.
//!
//! It looks at the target alone; header values are never logged at all. When in doubt it hides too much.

use std::borrow::Cow;

/// Names whose values are never shown, in lower case.
const SECRET: [&str; 9] = [
    "access_token",
    "logintoken",
    "code",
    "state",
    "token",
    "client_secret",
    "refresh_token",
    "ticket",
    "samlresponse",
];
const LONGEST: usize = 13;
const REDACTED: &str = "[redacted]";

/// `target` with every value of a secret's name replaced by `[redacted]`.
///
/// Names are found in any letter case, through any depth of percent-encoding (a redirect's URL carries
/// tokens inside a parameter) and also before an encoded `=`. A value ends at the next plain `&`.
pub fn redact(target: &str) -> Cow<'_, str> {
    let bytes = target.as_bytes();
    let mut shown = String::new();
    let (mut copied, mut at) = (0, 0);
    let mut name = Name::default();
    while at < bytes.len() {
        let (byte, next) = decoded(bytes, at);
        if byte == b'=' && name.is_secret() {
            shown.push_str(&target[copied..next]);
            shown.push_str(REDACTED);
            at = memchr::memchr(b'&', &bytes[next..]).map_or(bytes.len(), |end| next + end);
            copied = at;
            name = Name::default();
        } else {
            name.push(byte);
            at = next;
        }
    }
    if shown.is_empty() {
        return Cow::Borrowed(target);
    }
    shown.push_str(&target[copied..]);
    Cow::Owned(shown)
}

/// The byte at `at`, decoded as often as it was encoded, and the index after it.
fn decoded(bytes: &[u8], at: usize) -> (u8, usize) {
    if bytes[at] != b'%' {
        return (bytes[at], at + 1);
    }
    let hex = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut digits = at + 1;
    // `%25` is an encoded `%`: what follows it belongs to an outer layer's escape.
    while let (Some(high), Some(low)) = (hex(digits), hex(digits + 1)) {
        let value = (high * 16 + low) as u8;
        digits += 2;
        if value != b'%' || hex(digits).is_none() || hex(digits + 1).is_none() {
            return (value, digits);
        }
    }
    (b'%', at + 1)
}

/// The run of name characters that was read last.
#[derive(Default)]
struct Name {
    text: [u8; LONGEST],
    len: usize,
}

impl Name {
    fn push(&mut self, byte: u8) {
        if !byte.is_ascii_alphanumeric() && byte != b'_' && byte != b'-' {
            self.len = 0;
            return;
        }
        if let Some(free) = self.text.get_mut(self.len) {
            *free = byte.to_ascii_lowercase();
        }
        // A name that is longer than the longest secret's stays one, whatever its end is.
        self.len = (self.len + 1).min(LONGEST + 1);
    }

    fn is_secret(&self) -> bool {
        self.text.get(..self.len).is_some_and(|name| SECRET.iter().any(|secret| secret.as_bytes() == name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_of_secret_names_are_hidden() {
        let table = [
            ("/x?access_token=abc", "/x?access_token=[redacted]"),
            ("/x?a=1&access_token=abc&b=2", "/x?a=1&access_token=[redacted]&b=2"),
            ("/x?loginToken=a&code=b&state=c", "/x?loginToken=[redacted]&code=[redacted]&state=[redacted]"),
            ("/x?ACCESS_TOKEN=abc", "/x?ACCESS_TOKEN=[redacted]"),
            ("/x?acc%65ss_token=abc", "/x?acc%65ss_token=[redacted]"),
            ("/x?access%5Ftoken%3Dabc&y", "/x?access%5Ftoken%3D[redacted]&y"),
            ("/x?token=a;b#c", "/x?token=[redacted]"),
            ("/x?a=1;token=a", "/x?a=1;token=[redacted]"),
            ("/x?client_secret=a=b", "/x?client_secret=[redacted]"),
            ("/x%3Faccess_token=abc", "/x%3Faccess_token=[redacted]"),
            (
                "/r?u=https%3A%2F%2Fh%2F%3FloginToken%3Dabc&z",
                "/r?u=https%3A%2F%2Fh%2F%3FloginToken%3D[redacted]&z",
            ),
            ("/r?u=x%25253Ftoken%25253Dabc", "/r?u=x%25253Ftoken%25253D[redacted]"),
            ("/x?token=", "/x?token=[redacted]"),
        ];
        for (target, shown) in table {
            assert_eq!(redact(target), shown);
        }
    }

    #[test]
    fn other_values_are_kept_and_borrowed() {
        for target in [
            "/",
            "*",
            "",
            "/x?since=s1_2&timeout=30000",
            "/x?mytoken=a&tokens=b",
            "/x?token",
            "/%",
            "/%2",
            "/a%25",
        ] {
            assert!(matches!(redact(target), Cow::Borrowed(same) if same == target), "{target}");
        }
    }

    /// Writes `text` with the characters that `plan` picks percent-encoded, so many layers deep.
    fn encode(text: &str, plan: &[u8]) -> String {
        let layer = |byte: u8, deep: u8| match deep {
            0 => char::from(byte).to_string(),
            deep => format!("%{}{byte:02x}", "25".repeat(usize::from(deep) - 1)),
        };
        text.bytes().zip(plan.iter().cycle()).map(|(byte, deep)| layer(byte, *deep)).collect()
    }

    proptest! {
        #[test]
        fn a_secret_never_shows(
            which in 0..SECRET.len(),
            upper in any::<u32>(),
            plan in proptest::collection::vec(0u8..3, 1..20),
            before in "[a-z0-9/?&=%;.#]{0,20}",
            between in prop::sample::select(vec!["?", "&", ";", "#", "%3f", "%26", "/"]),
            after in "(&[a-z]=[a-z%&]{0,8})?",
        ) {
            let cased: String = SECRET[which].chars().enumerate()
                .map(|(at, char)| if upper >> (at % 32) & 1 == 1 { char.to_ascii_uppercase() } else { char })
                .collect();
            let name = encode(&cased, &plan);
            let equals = encode("=", &plan[plan.len() - 1..]);
            let target = format!("/{before}{between}{name}{equals}S3CR3T-VALUE{after}");
            prop_assert!(!redact(&target).contains("S3CR3T"), "{} -> {}", target, redact(&target));
        }

        #[test]
        fn any_target_is_handled(target in "\\PC{0,80}") {
            let once = redact(&target).into_owned();
            prop_assert_eq!(redact(&once).into_owned(), once);
        }
    }
}
