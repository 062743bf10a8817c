//! Words of HTTP: paths, headers, statuses, redirect targets; and paths of files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode, Uri};

/// A path of a URL, as routes have it: `/_matrix/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlPath(pub Arc<str>);

/// Text that is no such path.
#[derive(Debug, thiserror::Error)]
pub enum UrlPathError {
    /// A glob.
    #[error("\"{0}\" has a `*`, paths here have none\na path stands for itself and all below it: {1}")]
    Glob(String, String),
    /// No slash in front.
    #[error("\"{0}\" does not begin with `/`\nwrite /{0}")]
    Relative(String),
    /// A query or fragment.
    #[error(
        "\"{0}\" is more than a path\nroutes look at the path alone: leave out everything from `?` or `#` on"
    )]
    Query(String),
    /// Something that normalising would change.
    #[error(
        "\"{0}\" would never match\npaths are matched decoded and without `//`, `.` and `..`: write it that way"
    )]
    NotNormal(String),
    /// Characters that no path has.
    #[error("\"{0}\" has characters that no path has")]
    Characters(String),
}

impl FromStr for UrlPath {
    type Err = UrlPathError;

    fn from_str(text: &str) -> Result<Self, UrlPathError> {
        use UrlPathError as E;
        let owned = || text.to_owned();
        if let Some((before, _)) = text.split_once('*') {
            return Err(E::Glob(
                owned(),
                if before.is_empty() { String::from("/") } else { before.to_owned() },
            ));
        }
        let Some(inner) = text.strip_prefix('/') else {
            return Err(E::Relative(owned()));
        };
        if text.contains(['?', '#']) {
            return Err(E::Query(owned()));
        }
        if text.chars().any(|ch| ch.is_control() || ch == ' ') {
            return Err(E::Characters(owned()));
        }
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let segment = |segment: &str| !matches!(segment, "" | "." | "..");
        let normal = inner.is_empty() && text.len() == 1 || inner.split('/').all(segment);
        if normal && !text.contains(['%', '\\']) { Ok(Self(text.into())) } else { Err(E::NotNormal(owned())) }
    }
}

impl UrlPath {
    /// A path made by a preset.
    pub(crate) fn made(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether this is `parent` or below it, by whole segments.
    pub fn is_under(&self, parent: &str) -> bool {
        let parent = parent.trim_end_matches('/');
        self.0.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Without the slash at the end: two paths that match the same things are equal so.
    pub fn bare(&self) -> &str {
        self.0.trim_end_matches('/')
    }
}

impl fmt::Display for UrlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_scalar!(UrlPath, "a path like `/_matrix/`", number: None, "pattern": "^/", "examples": ["/_matrix/", "/"]);

/// What a probe asks for: a path, perhaps with a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbePath(pub Arc<str>);

/// Text that can't be asked for.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" can't be asked for\nwrite a path, like /health")]
pub struct ProbePathError(String);

impl FromStr for ProbePath {
    type Err = ProbePathError;

    fn from_str(text: &str) -> Result<Self, ProbePathError> {
        let valid = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if valid { Ok(Self(text.into())) } else { Err(ProbePathError(text.to_owned())) }
    }
}

impl fmt::Display for ProbePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_scalar!(ProbePath, "a path like `/health`", number: None, "pattern": "^/", "examples": ["/health"]);

/// A file or folder by its absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath(pub PathBuf);

/// Text that is no absolute path.
#[derive(Debug, thiserror::Error)]
#[error(
    "\"{0}\" is not an absolute path\nporchd has no folder of its own to begin from: write it from `/` on"
)]
pub struct FilePathError(String);

impl FromStr for FilePath {
    type Err = FilePathError;

    fn from_str(text: &str) -> Result<Self, FilePathError> {
        let valid = Path::new(text).is_absolute() && !text.chars().any(char::is_control);
        if valid { Ok(Self(PathBuf::from(text))) } else { Err(FilePathError(text.to_owned())) }
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

text_scalar!(FilePath, "an absolute path like `/var/www`", number: None, "pattern": "^/");

/// The name of a file in a folder, without slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName(pub Arc<str>);

/// Text that is no file's name.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not a file's name\nwrite the name alone, like index.html")]
pub struct FileNameError(String);

impl FromStr for FileName {
    type Err = FileNameError;

    fn from_str(text: &str) -> Result<Self, FileNameError> {
        let valid = !text.is_empty()
            && !text.starts_with('.')
            && !text.contains(['/', '\\'])
            && !text.chars().any(char::is_control);
        if valid { Ok(Self(text.into())) } else { Err(FileNameError(text.to_owned())) }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_scalar!(FileName, "a file's name like `index.html`", number: None, "examples": ["index.html"]);

/// The name of a header that may be set or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field(pub HeaderName);

/// Text that is no such name.
#[derive(Debug, thiserror::Error)]
pub enum FieldError {
    /// Not a token (RFC 9110, 5.1).
    #[error("\"{0}\" is not a header's name")]
    Format(String),
    /// Framing and connection headers are porchd's own business (RFC 9110, 7.6.1).
    #[error("`{0}` can't be set or removed here: it says how the message is carried")]
    Framing(HeaderName),
}

/// Headers whose change would break the connection or the framing.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl FromStr for Field {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let name = text.parse::<HeaderName>().map_err(|_| FieldError::Format(text.to_owned()))?;
        if FRAMING.contains(&name.as_str()) { Err(FieldError::Framing(name)) } else { Ok(Self(name)) }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

text_scalar!(Field, "a header's name", number: None, "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$");

/// The value of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldValue(pub HeaderValue);

/// Text that no header carries.
#[derive(Debug, thiserror::Error)]
#[error("a header's value is one line of printable ASCII")]
pub struct FieldValueError;

impl FromStr for FieldValue {
    type Err = FieldValueError;

    fn from_str(text: &str) -> Result<Self, FieldValueError> {
        let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
        match HeaderValue::from_str(text.trim()) {
            Ok(value) if printable => Ok(Self(value)),
            _ => Err(FieldValueError),
        }
    }
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

text_scalar!(FieldValue, "a header's value", number: Some(|number| number.to_string()), "examples": ["nosniff"]);

/// Where a redirect leads: an absolute http(s) URL, or a path of the same host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(pub Arc<str>);

/// Text that is no target.
#[derive(Debug, thiserror::Error)]
#[error(
    "\"{0}\" is not where a redirect can lead\nwrite \"https://host/path\" or a path that begins with one `/`"
)]
pub struct TargetError(String);

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let error = || TargetError(text.to_owned());
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let uri = text.split('#').next().unwrap_or_default().parse::<Uri>().map_err(|_| error())?;
        let absolute = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        // "//host" is another host's URL, whatever it looks like.
        let path = text.starts_with('/') && !text.starts_with("//");
        if printable && (absolute || path) { Ok(Self(text.into())) } else { Err(error()) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_scalar!(Target, "an absolute URL or a path", number: None, "examples": ["https://example.com/new/"]);

/// The status of a redirect: 301, 302, 303, 307 or 308.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedirectStatus(pub StatusCode);

/// The status of answers while home is away: 503 or 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnavailableStatus(pub StatusCode);

/// The status of a fixed answer: 200 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerStatus(pub StatusCode);

/// A number that is no such status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Not one that redirects.
    #[error("{0} is not the status of a redirect\n301 and 308 are for good, 302, 303 and 307 for now")]
    Redirect(u64),
    /// Not one that clients wait on.
    #[error("{0} can't stand for \"home is away\"\nwrite 503, or 429 behind a CDN that marks 503 as down")]
    Unavailable(u64),
    /// Not final, or no status at all.
    #[error("{0} is not the status of an answer\nwrite a number from 200 to 599")]
    Answer(u64),
}

fn status(number: u64) -> Option<StatusCode> {
    u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok())
}

macro_rules! status_scalar {
    ($type:ident, $error:path, $pattern:pat) => {
        impl TryFrom<u64> for $type {
            type Error = StatusError;

            fn try_from(number: u64) -> Result<Self, StatusError> {
                match number {
                    $pattern => status(number).map(Self).ok_or($error(number)),
                    _ => Err($error(number)),
                }
            }
        }

        impl $type {
            fn number(self) -> u64 {
                self.0.as_u16().into()
            }
        }
    };
}

status_scalar!(RedirectStatus, StatusError::Redirect, 301 | 302 | 303 | 307 | 308);
status_scalar!(UnavailableStatus, StatusError::Unavailable, 429 | 503);
status_scalar!(AnswerStatus, StatusError::Answer, 200..=599);
number_scalar!(RedirectStatus, "301, 302, 303, 307 or 308", "enum": [301, 302, 303, 307, 308]);
number_scalar!(UnavailableStatus, "503 or 429", "enum": [503, 429]);
number_scalar!(AnswerStatus, "a status from 200 to 599", "minimum": 200, "maximum": 599);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_they_are_matched() {
        for text in ["/", "/_matrix/", "/robots.txt", "/a/b", "/ü/"] {
            assert_eq!(text.parse::<UrlPath>().unwrap().to_string(), text);
        }
        for text in
            ["", "a", "/a*", "/a?b", "/a#b", "//", "/a//b", "/./a", "/a/..", "/a%20b", "/a b", "/a\\b"]
        {
            assert!(text.parse::<UrlPath>().is_err(), "{text}");
        }
    }

    #[test]
    fn under_means_by_whole_segments() {
        let path: UrlPath = "/_matrix/client".parse().unwrap();
        assert!(path.is_under("/_matrix/") && path.is_under("/") && path.is_under("/_matrix/client/"));
        assert!(!path.is_under("/_mat") && !path.is_under("/_matrix/client/v3"));
    }

    #[test]
    fn redirects_lead_to_urls_and_paths_only() {
        for text in ["https://example.com", "http://a.b/c?d#e", "/new/"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for text in
            ["", "example.com", "//evil.example", "javascript:alert(1)", "https://", "/a b", "/a\r\nb"]
        {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn framing_headers_are_left_alone() {
        for text in ["Connection", "content-length", "Host", "a b", ""] {
            assert!(text.parse::<Field>().is_err(), "{text}");
        }
        assert!("X-Powered-By".parse::<Field>().is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,24}") {
            let _ = text.parse::<UrlPath>().map_err(|error| error.to_string());
            let _ = text.parse::<Target>().map_err(|error| error.to_string());
            let _ = text.parse::<FilePath>().map_err(|error| error.to_string());
            if let Ok(value) = text.parse::<FieldValue>() {
                proptest::prop_assert_eq!(value.to_string().parse::<FieldValue>().unwrap(), value);
            }
        }
    }
}
