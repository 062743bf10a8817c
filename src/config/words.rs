//! Words of messages: guesses at what was meant, lists of names, serde's terms in plain ones.

use serde::de::Unexpected;

/// The name that was probably meant by `written`.
pub(crate) fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    // Two slips in a long word are a slip, in a short one they are another word.
    let most = (written.chars().count() / 3).clamp(1, 3);
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&written, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// "`a`, `b` and `c`".
pub(crate) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let quoted = |name: &S| format!("`{}`", name.as_ref());
    match names {
        [] => String::from("none"),
        [name] => quoted(name),
        [names @ .., last] => {
            let names: Vec<String> = names.iter().map(quoted).collect();
            format!("{} and {}", names.join(", "), quoted(last))
        }
    }
}

/// What serde calls `expected`, in plain words.
pub(crate) fn expected(serde: &str) -> String {
    let plain = match serde {
        "a sequence" => "a list",
        "a boolean" => "`true` or `false`",
        "a string" => "text",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        other => other,
    };
    plain.to_owned()
}

/// What was found, in plain words.
pub(crate) fn found(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(value) => format!("the text \"{value}\""),
        Unexpected::Seq => String::from("a list"),
        Unexpected::Map => String::from("a map"),
        Unexpected::Unit | Unexpected::Option => String::from("nothing"),
        other => other.to_string(),
    }
}

/// How `found` becomes what was `expected`, where that is plain.
pub(crate) fn cure(found: &Unexpected<'_>, expected: &str) -> Option<String> {
    match found {
        Unexpected::Str(text) if expected.starts_with("a list") => {
            Some(format!("one item is a list too: [ \"{text}\" ]"))
        }
        Unexpected::Str(text @ ("yes" | "on" | "Yes" | "On")) if expected.contains("`true`") => {
            Some(format!("write `true` for \"{text}\""))
        }
        Unexpected::Str(text @ ("no" | "off" | "No" | "Off")) if expected.contains("`false`") => {
            Some(format!("write `false` for \"{text}\""))
        }
        Unexpected::Unsigned(number) if expected == "text" => Some(format!("put it in quotes: \"{number}\"")),
        Unexpected::Bool(flag) if expected == "text" => Some(format!("put it in quotes: \"{flag}\"")),
        Unexpected::Str(text) if expected.contains("number") && text.parse::<u64>().is_ok() => {
            Some(format!("write it without quotes: {text}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slip_is_a_guess() {
        let names = ["upstreams", "sites", "log", "listeners"];
        for (written, meant) in [
            ("upstrems", Some("upstreams")),
            ("Sites", Some("sites")),
            ("lgo", Some("log")),
            ("acme", None),
            ("user", None),
            ("listener", Some("listeners")),
        ] {
            assert_eq!(nearest(written, names), meant, "{written}");
        }
    }

    #[test]
    fn lists_read_as_prose() {
        assert_eq!(listed(&["a"]), "`a`");
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
