//! The head of an answer: tower-http's `ServeDir` judges conditions, ranges and encodings, and sends nothing.
//!
//! Its backend here knows one file, already opened and looked at, and is asked as by `HEAD`: so no file is opened
//! twice, and the body can be ours (no copy from memory, exact length, truncation is an error).

use std::future::{Ready, ready};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::ServeDir;
use tower_http::services::fs::{Backend, File, Metadata};

use crate::handler::files::cache::{Found, SIBLINGS, Stat};
use crate::handler::files::judged::Judged;

/// Request headers that change the answer.
const ASKED: [HeaderName; 7] = [
    header::ACCEPT_ENCODING,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
    header::IF_RANGE,
];

/// Judges a `GET` or `HEAD` of the file `name`.
///
/// # Errors
/// None that a file can cause: the backend always knows its one file.
pub(super) async fn judge(
    found: &Found,
    name: &str,
    method: &Method,
    headers: &HeaderMap,
) -> io::Result<Judged> {
    let mut asked = HeaderMap::new();
    for key in ASKED {
        for value in headers.get_all(&key) {
            asked.append(&key, value.clone());
        }
    }
    let if_range = asked.remove(header::IF_RANGE);
    // RFC 9110 section 14.2: a range is for GET alone, and a unit that is not known is ignored.
    let range =
        asked.remove(header::RANGE).filter(|_| *method == Method::GET).and_then(|range| bytes(&range));
    let mut head = ask(found, name, &asked).await?;
    if let Some(range) = range
        && head.status() == StatusCode::OK
        && if_range.is_none_or(|validator| is_current(&validator, head.headers()))
    {
        asked.insert(header::RANGE, range);
        head = ask(found, name, &asked).await?;
    }
    Ok(finish(head, found, name))
}

async fn ask(found: &Found, name: &str, asked: &HeaderMap) -> io::Result<Response<()>> {
    let mut request = Request::new(());
    *request.method_mut() = Method::HEAD;
    *request.uri_mut() = stand_in(name).parse().unwrap_or_default();
    *request.headers_mut() = asked.clone();
    let mut judge = ServeDir::with_backend("", OneFile::of(found))
        .append_index_html_on_directories(false)
        .ignore_multi_range_requests(true)
        .precompressed_br()
        .precompressed_zstd()
        .precompressed_gzip();
    Ok(judge.try_call(request).await?.map(drop))
}

/// A path that says of the file no more than its type: the rest of its name is none of ServeDir's concern.
fn stand_in(name: &str) -> String {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let known = ending.len() <= 16 && ending.bytes().all(|b| b.is_ascii_alphanumeric());
    format!("/file.{}", if known { ending } else { "" })
}

/// A range of bytes as `ServeDir` reads it: it knows the unit in lower case only.
fn bytes(range: &HeaderValue) -> Option<HeaderValue> {
    let (unit, set) = range.to_str().ok()?.split_once('=')?;
    if unit == "bytes" {
        return Some(range.clone());
    }
    unit.eq_ignore_ascii_case("bytes").then(|| HeaderValue::try_from(format!("bytes={set}")).ok())?
}

/// RFC 9110 section 13.1.5: an entity tag by strong comparison, a date by equality.
fn is_current(validator: &HeaderValue, head: &HeaderMap) -> bool {
    let tag = validator.as_bytes().first() == Some(&b'"');
    head.get(if tag { header::ETAG } else { header::LAST_MODIFIED }) == Some(validator)
}

fn finish(mut head: Response<()>, found: &Found, name: &str) -> Judged {
    let status = head.status();
    let headers = head.headers_mut();
    let sibling = headers
        .get(header::CONTENT_ENCODING)
        .and_then(|encoding| SIBLINGS.iter().position(|(name, _)| encoding == name));
    // RFC 9110 section 15.4.5: a 304 carries what a 200 would have said of caching.
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(content_type) = content_type(name, headers.get(header::CONTENT_TYPE)) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    let held = sibling.and_then(|n| found.siblings[n].as_ref()).unwrap_or(&found.plain);
    let part = match status {
        StatusCode::OK => Some((0, held.stat.len)),
        StatusCode::PARTIAL_CONTENT => part(headers),
        _ => None,
    };
    Judged { head, sibling, part }
}

/// `Content-Range: bytes 7-9/20` as start and length.
fn part(headers: &HeaderMap) -> Option<(u64, u64)> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (first, last) = range.split_once('/')?.0.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    Some((first, last.checked_sub(first)? + 1))
}

/// Text is UTF-8 (as all of it is by now); Matrix' documents have no ending and are JSON.
fn content_type(name: &str, guessed: Option<&HeaderValue>) -> Option<HeaderValue> {
    let guessed = guessed?.to_str().ok()?;
    if name.starts_with(".well-known/matrix/") && !name.ends_with(".html") {
        return Some(HeaderValue::from_static("application/json"));
    }
    if !guessed.starts_with("text/") || guessed.contains("charset") {
        return None;
    }
    HeaderValue::try_from(format!("{guessed}; charset=utf-8")).ok()
}

/// The backend: one file and its siblings, by what was seen of them.
#[derive(Clone)]
struct OneFile {
    plain: Stat,
    siblings: [Option<Stat>; 3],
}

impl OneFile {
    fn of(found: &Found) -> Self {
        let siblings = std::array::from_fn(|n| found.siblings[n].as_ref().map(|held| held.stat));
        Self { plain: found.plain.stat, siblings }
    }
}

impl Backend for OneFile {
    type File = Unopened;
    type Metadata = Stat;
    type OpenFuture = Ready<io::Result<Unopened>>;
    type MetadataFuture = Ready<io::Result<Stat>>;

    fn open(&self, _: PathBuf) -> Self::OpenFuture {
        // A HEAD opens nothing.
        ready(Err(io::ErrorKind::Unsupported.into()))
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        // `stand_in` has one dot; a second ending is that of a sibling.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let sibling = SIBLINGS
            .iter()
            .position(|(_, ending)| name.strip_suffix(ending).is_some_and(|rest| rest.contains('.')));
        ready(match sibling {
            None => Ok(self.plain),
            Some(n) => self.siblings[n].ok_or_else(|| io::ErrorKind::NotFound.into()),
        })
    }
}

impl Metadata for Stat {
    fn is_dir(&self) -> bool {
        false
    }

    fn modified(&self) -> io::Result<SystemTime> {
        Ok(self.modified)
    }

    fn len(&self) -> u64 {
        self.len
    }
}

/// A file that `ServeDir` has opened: there is none.
enum Unopened {}

impl AsyncRead for Unopened {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

impl AsyncSeek for Unopened {
    fn start_seek(self: Pin<&mut Self>, _: io::SeekFrom) -> io::Result<()> {
        match *self {}
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        match *self {}
    }
}

impl File for Unopened {
    type Metadata = Stat;
    type MetadataFuture<'a> = Ready<io::Result<Stat>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        match *self {}
    }
}
