//! Headers of Element Web's files (pure): never an old index beside new bundles, and no foreign frames.

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

/// What every answer carries. Element's own install notes ask for exactly these.
const ALWAYS: [(HeaderName, HeaderValue); 4] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'self'")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN")),
    (header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin")),
];

/// Sets the headers for the file `name` (beneath the root).
pub(super) fn apply(name: &str, headers: &mut HeaderMap) {
    for (name, value) in &ALWAYS {
        headers.insert(name, value.clone());
    }
    let policy = if must_ask(name) {
        "no-cache"
    } else if is_hashed(name) {
        "public, max-age=31536000, immutable"
    } else {
        return;
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(policy));
}

/// Files that say which version this is: a browser asks each time (and is mostly answered 304).
fn must_ask(name: &str) -> bool {
    match name.rsplit_once('/') {
        Some((_, file)) => file == "index.html",
        None => {
            let config = name.starts_with("config") && name.ends_with(".json");
            config || matches!(name, "index.html" | "version" | "sw.js")
        }
    }
}

/// Files whose name changes with what is in them: below `bundles/HASH/`, or `name.HASH.ext`.
fn is_hashed(name: &str) -> bool {
    if let Some((hash, _)) = name.strip_prefix("bundles/").and_then(|rest| rest.split_once('/')) {
        return is_hash(hash);
    }
    let file = name.rsplit_once('/').map_or(name, |(_, file)| file);
    let mut parts = file.split('.').rev();
    parts.next();
    parts.any(is_hash)
}

/// Seven hexadecimal digits or more, one of them a digit: no English word.
fn is_hash(text: &str) -> bool {
    let hex = text.len() >= 7 && text.bytes().all(|b| b.is_ascii_hexdigit());
    hex && text.bytes().any(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_its_cache_policy() {
        let forever = Some("public, max-age=31536000, immutable");
        for (name, wanted) in [
            ("index.html", Some("no-cache")),
            ("config.json", Some("no-cache")),
            ("config.web.example.com.json", Some("no-cache")),
            ("version", Some("no-cache")),
            ("sw.js", Some("no-cache")),
            ("usercontent/index.html", Some("no-cache")),
            ("bundles/97ad3bd92a1a53c9b1c8/bundle.js", forever),
            ("bundles/97ad3bd92a1a53c9b1c8/config.json", forever),
            ("bundles/readme.txt", None),
            ("fonts/Inter-Regular.3d9f1b2.woff2", forever),
            ("i18n/en_EN.8c14ff3.json", forever),
            ("themes/element/img/logo.svg", None),
            ("img/defaced.png", None),
            ("mobile_guide/versions", None),
        ] {
            let mut headers = HeaderMap::new();
            apply(name, &mut headers);
            let policy = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
            assert_eq!(policy, wanted, "{name}");
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(headers[header::CONTENT_SECURITY_POLICY], "frame-ancestors 'self'");
            assert_eq!(headers[header::X_FRAME_OPTIONS], "SAMEORIGIN");
        }
    }
}
