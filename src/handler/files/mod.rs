//! Answers from a folder of files.
//!
//! The file is the root with the whole request path after it, as httpd's and nginx' `root` do: a route
//! `/static/` with the root `/srv/x` serves `/srv/x/static/...`. So a path names the same file whichever route
//! leads to it, and moving a route does not move files.
//!
//! What it does not do: it reads no request body, makes no error answers (the caller has pages for them) and
//! follows nothing out of the root.

pub mod body;
pub mod cache;
mod element;
mod head;
mod judged;
mod listing;
mod path;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};

use crate::config::model::route::Files;
use crate::handler::files::body::FileBody;
use crate::handler::files::cache::{Cache, Found, Looked, Stat};
use crate::handler::files::judged::Judged;
use crate::handler::files::path::Wanted;
use crate::http::survey::Survey;

/// The methods that files know, as the `Allow` of a 405 names them.
pub const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// How often a file that changes while it is opened is looked at again.
const ATTEMPTS: usize = 3;

/// A request, as far as files care.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path as sent, without the query.
    pub path: &'a str,
    /// Its query, without the question mark.
    pub query: Option<&'a str>,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Whether it may be for a part of the file, or for nothing but news of it.
    pub conditional: bool,
}

impl<'a> Asked<'a> {
    /// The request of `parts`, whose headers were surveyed.
    pub fn of(parts: &'a Parts, survey: Survey) -> Self {
        let (method, headers) = (&parts.method, &parts.headers);
        let (path, query) = (parts.uri.path(), parts.uri.query());
        Self { method, path, query, headers, conditional: survey.conditional }
    }
}

/// What becomes of a request for a file.
#[derive(Debug)]
pub enum Outcome {
    /// This is sent: 200, 206, 301, 304, 412 or 416.
    Answer(Box<Response<FileBody>>),
    /// There is no such file: 404.
    NotFound,
    /// It must not be read, is no plain file, or is a folder that is not listed: 403.
    Forbidden,
    /// Neither `GET` nor `HEAD`: 405 with `ALLOW`.
    MethodNotAllowed,
    /// The system failed: 500.
    Failed(io::Error),
}

/// The answer to `asked` if that needs no work: the file is in memory, and was asked for in the same way before.
pub fn at_hand(files: &Files, asked: Asked<'_>, now: Instant, cache: &Cache) -> Option<Response<Bytes>> {
    if asked.conditional || *asked.method != Method::GET {
        return None;
    }
    let wanted = Wanted::parse(asked.path).filter(|wanted| !wanted.odd && !wanted.folder)?;
    let found = cache.believed(&files.root, &wanted.name, now)?;
    let judged = found.judged.recall(asked.headers)?;
    let bytes = found.chosen(judged.sibling).0.bytes.clone()?;
    let mut response = judged.head.map(|()| bytes);
    if files.element {
        element::apply(&wanted.name, response.headers_mut());
    }
    Some(response)
}

/// Answers `asked` from `files`.
pub async fn serve(files: &Files, asked: Asked<'_>, now: Instant, cache: &Cache) -> Outcome {
    if !matches!(*asked.method, Method::GET | Method::HEAD) {
        return Outcome::MethodNotAllowed;
    }
    let Some(wanted) = Wanted::parse(asked.path) else { return Outcome::NotFound };
    if wanted.odd {
        return redirect(&wanted.own_path(), asked.query);
    }
    let served = if wanted.folder {
        folder(files, &wanted, asked, now, cache).await
    } else {
        file(files, &wanted, asked, now, cache).await
    };
    served.unwrap_or_else(failed)
}

/// The page for `status` in the folder of error pages: `404.html`, else `40x.html` or `50x.html`; small ones alone.
pub fn error_page(root: &Path, status: StatusCode, now: Instant, cache: &Cache) -> Option<Bytes> {
    let family = format!("{}0x.html", status.as_u16() / 100);
    [format!("{}.html", status.as_u16()), family].into_iter().find_map(|name| {
        match cache.look(root, &name, now) {
            Ok(Looked::File(found)) => found.plain.bytes.clone(),
            _ => None,
        }
    })
}

fn failed(error: io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::NotFound => Outcome::NotFound,
        io::ErrorKind::PermissionDenied => Outcome::Forbidden,
        _ => Outcome::Failed(error),
    }
}

async fn file(
    files: &Files,
    wanted: &Wanted,
    asked: Asked<'_>,
    now: Instant,
    cache: &Cache,
) -> io::Result<Outcome> {
    for _ in 0..ATTEMPTS {
        match cache.look(&files.root, &wanted.name, now)? {
            Looked::Folder => return Ok(redirect(&wanted.folder_path(), asked.query)),
            Looked::Special => return Ok(Outcome::Forbidden),
            Looked::File(found) => {
                if let Some(answer) = answer(files, &wanted.name, &found, asked, now, cache).await? {
                    return Ok(answer);
                }
                cache.forget(&files.root, &wanted.name);
            }
        }
    }
    Err(io::Error::other("the file changes faster than it can be opened"))
}

/// An answer with the file `name`; `None`: it is no longer what was `found`.
async fn answer(
    files: &Files,
    name: &str,
    found: &Found,
    asked: Asked<'_>,
    now: Instant,
    cache: &Cache,
) -> io::Result<Option<Outcome>> {
    let judged = head::judge(found, name, asked.method, asked.headers).await?;
    if !asked.conditional {
        found.judged.keep(asked.headers, &judged);
    }
    let Judged { head, sibling, part } = judged;
    let (held, ending) = found.chosen(sibling);
    let body = match (part, &held.bytes) {
        (None, _) => FileBody::empty(),
        _ if *asked.method == Method::HEAD => FileBody::empty(),
        (Some((at, len)), Some(bytes)) => {
            // The range was judged by the length of these very bytes.
            FileBody::memory(bytes.slice(at as usize..(at + len) as usize))
        }
        (Some((at, len)), None) => {
            let file = cache.folder(&files.root, now)?.read(&format!("{name}{ending}"))?;
            if Stat::of(&file.metadata()?) != held.stat {
                return Ok(None);
            }
            FileBody::file(file, at, len)
        }
    };
    let mut response = head.map(|()| body);
    if files.element {
        element::apply(name, response.headers_mut());
    }
    Ok(Some(Outcome::Answer(Box::new(response))))
}

async fn folder(
    files: &Files,
    wanted: &Wanted,
    asked: Asked<'_>,
    now: Instant,
    cache: &Cache,
) -> io::Result<Outcome> {
    for index in &files.index {
        let slash = if wanted.name.is_empty() { "" } else { "/" };
        let name = Wanted { name: format!("{}{slash}{index}", wanted.name), folder: false, odd: false };
        match cache.look(&files.root, &name.name, now) {
            Ok(Looked::File(_)) => return file(files, &name, asked, now, cache).await,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let root = cache.folder(&files.root, now)?;
    if !root.look(&wanted.name)?.is_dir() {
        return Ok(Outcome::NotFound);
    }
    if !files.listing {
        return Ok(Outcome::Forbidden);
    }
    let name = wanted.name.clone();
    // A folder may be large and its disk slow: neither shall hold this thread's other requests.
    let entries = tokio::task::spawn_blocking(move || listing::entries(&Arc::clone(&root), &name)).await;
    let page =
        listing::page(&wanted.name, entries.map_err(io::Error::other)??, listing::Order::of(asked.query));
    Ok(Outcome::Answer(Box::new(listed(page, asked.method))))
}

fn listed(page: String, method: &Method) -> Response<FileBody> {
    let len = page.len();
    let body = if *method == Method::HEAD { FileBody::empty() } else { FileBody::memory(page.into()) };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_LENGTH, len.into());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Should a name ever escape the escaping, it still runs nothing and loads nothing.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// Sends the client to the one path of what it asked for, with its query.
fn redirect(path: &str, query: Option<&str>) -> Outcome {
    let location = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let Ok(location) = HeaderValue::try_from(location) else { return Outcome::NotFound };
    let mut response = Response::new(FileBody::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(header::LOCATION, location);
    Outcome::Answer(Box::new(response))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;
    use std::time::Duration;

    use http::Version;
    use http_body_util::BodyExt;

    use super::*;
    use crate::clock;

    /// A root full of files, in a folder of its own.
    struct House {
        top: PathBuf,
        files: Files,
        cache: Cache,
        start: Instant,
    }

    /// An answer as a test wants to see it.
    #[derive(Debug)]
    struct Seen {
        status: u16,
        headers: HeaderMap,
        body: String,
    }

    impl Seen {
        fn header(&self, name: &str) -> &str {
            self.headers.get(name).map_or("", |value| value.to_str().unwrap())
        }
    }

    impl House {
        fn new(tree: &[(&str, &str)]) -> Self {
            let top = std::env::temp_dir().join(format!("porchd-files-{:x}", clock::random()));
            let root = top.join("root");
            fs::create_dir_all(&root).unwrap();
            let files = Files { root, index: vec!["index.html".into()], listing: false, element: false };
            let house = Self { top, files, cache: Cache::new(), start: clock::now() };
            for (name, text) in tree {
                house.write(name, text);
            }
            house
        }

        fn path(&self, name: &str) -> PathBuf {
            self.files.root.join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), text).unwrap();
        }

        async fn ask(&self, method: Method, target: &str, headers: &[(&str, &str)], millis: u64) -> Seen {
            let map =
                headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            let (path, query) =
                target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
            let conditional = Survey::of(Version::HTTP_11, &map).unwrap().conditional;
            let asked = Asked { method: &method, path, query, headers: &map, conditional };
            let now = self.start + Duration::from_millis(millis);
            let at_hand = at_hand(&self.files, asked, now, &self.cache);
            let (status, headers, body) = match serve(&self.files, asked, now, &self.cache).await {
                Outcome::Answer(response) => {
                    let (parts, body) = response.into_parts();
                    (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes())
                }
                Outcome::NotFound => (404, HeaderMap::new(), Bytes::new()),
                Outcome::Forbidden => (403, HeaderMap::new(), Bytes::new()),
                Outcome::MethodNotAllowed => (405, HeaderMap::new(), Bytes::new()),
                Outcome::Failed(error) => panic!("{error}"),
            };
            if let Some(quick) = at_hand {
                assert_eq!((200, quick.headers(), quick.body()), (status, &headers, &body), "{target}");
            }
            Seen { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
        }

        async fn get(&self, target: &str) -> Seen {
            self.ask(Method::GET, target, &[], 0).await
        }
    }

    impl Drop for House {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.top);
        }
    }

    #[tokio::test]
    async fn a_file_is_sent_with_its_type_length_and_validators() {
        let house =
            House::new(&[("a/page.html", "<p>hi"), ("x.bin", "1"), ("app.wasm", "2"), ("plain", "3")]);
        let seen = house.get("/a/page.html").await;
        assert_eq!((seen.status, seen.body.as_str()), (200, "<p>hi"));
        assert_eq!(seen.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(seen.header("content-length"), "5");
        assert_eq!(seen.header("accept-ranges"), "bytes");
        assert_eq!(seen.header("vary"), "accept-encoding");
        assert!(seen.header("etag").starts_with('"') && !seen.header("last-modified").is_empty());
        for (path, wanted) in [
            ("/x.bin", "application/octet-stream"),
            ("/app.wasm", "application/wasm"),
            ("/plain", "application/octet-stream"),
        ] {
            assert_eq!(house.get(path).await.header("content-type"), wanted, "{path}");
        }
    }

    #[tokio::test]
    async fn odd_names_are_served_by_their_encoding() {
        let house = House::new(&[
            ("a b.txt", "1"),
            ("#1%.txt", "2"),
            ("\u{e9}/\u{4e2d}.txt", "3"),
            ("a?b", "4"),
            ("a%2fb", "5"),
        ]);
        for (path, wanted) in [
            ("/a%20b.txt", "1"),
            ("/%231%25.txt", "2"),
            ("/%C3%A9/%E4%B8%AD.txt", "3"),
            ("/a%3Fb", "4"),
            ("/a%252fb", "5"),
        ] {
            assert_eq!(house.get(path).await.body, wanted, "{path}");
        }
    }

    #[tokio::test]
    async fn nothing_but_the_root_is_served() {
        let house = House::new(&[("file", "in"), (".env", "key"), (".git/config", "x"), ("sub/.hid", "x")]);
        fs::write(house.top.join("secret"), "secret").unwrap();
        symlink("../secret", house.path("out")).unwrap();
        symlink("..", house.path("up")).unwrap();
        symlink("/etc/passwd", house.path("passwd")).unwrap();
        for path in [
            "/../secret",
            "/%2e%2e/secret",
            "/..%2fsecret",
            "/%2e%2e%2fsecret",
            "/..%5csecret",
            "/sub/../../secret",
            "/out",
            "/up/secret",
            "/passwd",
            "/.env",
            "/%2eenv",
            "/.git/config",
            "/.git/",
            "/sub/.hid",
            "/file%00",
            "/file%00.txt",
            "/file/",
            "/file/x",
            "/missing",
            "/%ff",
            "/.",
            "/..",
            "*",
            "",
        ] {
            assert_eq!(house.get(path).await.status, 404, "{path}");
        }
        assert_eq!(house.get("/file").await.body, "in");
    }

    #[tokio::test]
    async fn what_must_not_be_read_is_forbidden() {
        let house = House::new(&[("private", "x"), ("folder/file", "x")]);
        fs::set_permissions(house.path("private"), fs::Permissions::from_mode(0o000)).unwrap();
        if fs::File::open(house.path("private")).is_err() {
            assert_eq!(house.get("/private").await.status, 403);
        }
        assert_eq!(house.get("/folder/").await.status, 403, "a folder that is not listed");
        std::os::unix::net::UnixListener::bind(house.path("socket")).unwrap();
        assert_eq!(house.get("/socket").await.status, 404, "a socket can't even be opened");
    }

    #[tokio::test]
    async fn only_get_and_head_are_answered() {
        let house = House::new(&[("f.txt", "text"), ("d/x", "")]);
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(house.ask(method, "/f.txt", &[], 0).await.status, 405);
        }
        let head = house.ask(Method::HEAD, "/f.txt", &[("range", "bytes=0-0")], 0).await;
        assert_eq!((head.status, head.body.as_str(), head.header("content-length")), (200, "", "4"));
    }

    #[tokio::test]
    async fn a_folder_redirects_to_its_slash_on_this_host() {
        let house = House::new(&[("dir/index.html", "i"), ("evil.com/index.html", "e"), ("a b/c/x", "")]);
        for (target, location) in [
            ("/dir", "/dir/"),
            ("/dir?a=1&b=%20", "/dir/?a=1&b=%20"),
            ("//evil.com", "/evil.com"),
            ("//evil.com/", "/evil.com/"),
            ("/evil.com", "/evil.com/"),
            ("/a%20b/c?q", "/a%20b/c/?q"),
            ("///dir//?q", "/dir/?q"),
            ("/%64ir/%69ndex.html?q", "/dir/index.html?q"),
        ] {
            let seen = house.get(target).await;
            assert_eq!((seen.status, seen.header("location")), (301, location), "{target}");
        }
        assert_eq!(house.get("/dir/").await.body, "i");
        assert_eq!(house.get("/%5cevil.com").await.status, 404);
        assert_eq!(house.get("//evil.com/..").await.status, 404);
    }

    #[tokio::test]
    async fn the_first_index_that_exists_is_served() {
        let mut house = House::new(&[
            ("a/home.htm", "home"),
            ("b/home.htm", "x"),
            ("b/index.html", "index"),
            ("c/x", ""),
        ]);
        house.files.index.push("home.htm".into());
        fs::create_dir(house.path("c/index.html")).unwrap();
        assert_eq!(house.get("/a/").await.body, "home");
        assert_eq!(house.get("/b/").await.body, "index");
        assert_eq!(house.get("/c/").await.status, 403);
        house.write("index.html", "root");
        assert_eq!(house.get("/").await.body, "root");
    }

    #[tokio::test]
    async fn conditions_are_judged() {
        let house = House::new(&[("f.txt", "0123456789")]);
        let first = house.get("/f.txt").await;
        let (tag, date) = (first.header("etag"), first.header("last-modified"));
        let weak = format!("W/{tag}");
        for (headers, status) in [
            (&[("if-none-match", tag)][..], 304),
            (&[("if-none-match", &weak)], 304),
            (&[("if-none-match", "*")], 304),
            (&[("if-none-match", "\"other\"")], 200),
            (&[("if-modified-since", date)], 304),
            (&[("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT")], 200),
            (&[("if-none-match", "\"other\""), ("if-modified-since", date)], 200),
            (&[("if-match", "\"other\"")], 412),
            (&[("if-match", tag)], 200),
            (&[("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT")], 412),
        ] {
            let seen = house.ask(Method::GET, "/f.txt", headers, 0).await;
            assert_eq!(seen.status, status, "{headers:?}");
            assert_eq!(seen.body.is_empty(), status != 200);
            if status == 304 {
                assert_eq!((seen.header("etag"), seen.header("vary")), (tag, "accept-encoding"));
            }
        }
    }

    #[tokio::test]
    async fn ranges_are_cut_from_memory_and_from_disk() {
        let large = "0123456789".repeat(20_000);
        let house = House::new(&[("small.txt", "0123456789"), ("large.txt", &large)]);
        let tag = house.get("/small.txt").await.header("etag").to_owned();
        for (range, status, wanted, body) in [
            ("bytes=2-4", 206, "bytes 2-4/10", "234"),
            ("bytes=7-", 206, "bytes 7-9/10", "789"),
            ("bytes=-2", 206, "bytes 8-9/10", "89"),
            ("BYTES=0-0", 206, "bytes 0-0/10", "0"),
            ("bytes=10-", 416, "bytes */10", ""),
            ("bytes=0-1,5-6", 200, "", "0123456789"),
            ("pages=1-2", 200, "", "0123456789"),
        ] {
            let seen = house.ask(Method::GET, "/small.txt", &[("range", range)], 0).await;
            let got = (seen.status, seen.header("content-range"), seen.body.as_str());
            assert_eq!(got, (status, wanted, body), "{range}");
        }
        for (validator, status) in [(tag.as_str(), 206), ("\"old\"", 200), (&format!("W/{tag}"), 200)] {
            let headers = [("range", "bytes=0-0"), ("if-range", validator)];
            assert_eq!(house.ask(Method::GET, "/small.txt", &headers, 0).await.status, status, "{validator}");
        }
        let part = house.ask(Method::GET, "/large.txt", &[("range", "bytes=65530-196610")], 0).await;
        assert_eq!((part.status, part.body.as_str()), (206, &large[65_530..=196_610]));
        assert_eq!(part.header("content-length"), "131081");
        assert_eq!(house.get("/large.txt").await.body, large);
    }

    #[tokio::test]
    async fn a_precompressed_sibling_is_preferred() {
        let tree = [
            ("a.js", "plain"),
            ("a.js.br", "br"),
            ("a.js.gz", "gzip"),
            ("b.js", "plain"),
            ("b.js.zst", "zstd"),
            ("raw", "p"),
            ("raw.gz", "g"),
        ];
        let house = House::new(&tree);
        for (path, accept, encoding, body) in [
            ("/a.js", "gzip, deflate, br, zstd", "br", "br"),
            ("/a.js", "gzip", "gzip", "gzip"),
            ("/a.js", "br;q=0.1, gzip", "gzip", "gzip"),
            ("/a.js", "br;q=0", "", "plain"),
            ("/a.js", "", "", "plain"),
            ("/b.js", "gzip, br, zstd", "zstd", "zstd"),
            ("/b.js", "gzip, br", "", "plain"),
            ("/raw", "gzip", "gzip", "g"),
        ] {
            let seen = house.ask(Method::GET, path, &[("accept-encoding", accept)], 0).await;
            assert_eq!(
                (seen.header("content-encoding"), seen.body.as_str()),
                (encoding, body),
                "{path} {accept}"
            );
            assert_eq!(seen.header("content-length"), body.len().to_string());
            assert_eq!(seen.header("vary"), "accept-encoding");
        }
        let a = house.ask(Method::GET, "/a.js", &[("accept-encoding", "br")], 0).await;
        assert_eq!(a.header("content-type"), "text/javascript; charset=utf-8");
        assert_ne!(a.header("etag"), house.get("/a.js").await.header("etag"));
    }

    #[tokio::test]
    async fn a_change_is_seen_after_a_second() {
        let house = House::new(&[("f.txt", "old")]);
        let body = async |millis| house.ask(Method::GET, "/f.txt", &[], millis).await.body;
        assert_eq!(body(0).await, "old");
        house.write("f.txt", "newer");
        assert_eq!(body(999).await, "old");
        assert_eq!(body(1000).await, "newer");
        fs::remove_file(house.path("f.txt")).unwrap();
        assert_eq!(body(1999).await, "newer");
        assert_eq!(house.ask(Method::GET, "/f.txt", &[], 2000).await.status, 404);
        house.write("f.txt", "again");
        assert_eq!(body(2001).await, "again", "a missing file is not remembered");
    }

    #[tokio::test]
    async fn a_root_that_is_replaced_is_noticed() {
        let house = House::new(&[("f.txt", "old")]);
        assert_eq!(house.get("/f.txt").await.body, "old");
        fs::rename(&house.files.root, house.top.join("before")).unwrap();
        fs::create_dir(&house.files.root).unwrap();
        house.write("f.txt", "new");
        assert_eq!(house.ask(Method::GET, "/f.txt", &[], 1000).await.body, "new");
        fs::remove_dir_all(&house.files.root).unwrap();
        assert_eq!(house.ask(Method::GET, "/f.txt", &[], 2000).await.status, 404);
    }

    #[tokio::test]
    async fn a_large_file_that_was_replaced_is_not_sent_under_the_old_head() {
        let house = House::new(&[("big", &"a".repeat(100_000))]);
        assert_eq!(house.get("/big").await.body.len(), 100_000);
        house.write("big", &"b".repeat(200_000));
        let seen = house.ask(Method::GET, "/big", &[], 10).await;
        assert_eq!((seen.header("content-length"), seen.body.len()), ("200000", 200_000));
    }

    #[tokio::test]
    async fn what_was_asked_for_before_is_at_hand() {
        let house = House::new(&[("a.js", "plain"), ("a.js.gz", "packed"), ("big", &"a".repeat(100_000))]);
        let is_at_hand = |method: Method, path: &str, accepted: &[&str], conditional: bool, millis: u64| {
            let lines = accepted.iter().map(|value| (header::ACCEPT_ENCODING, value.parse().unwrap()));
            let (headers, now) = (HeaderMap::from_iter(lines), house.start + Duration::from_millis(millis));
            let asked = Asked { method: &method, path, query: None, headers: &headers, conditional };
            at_hand(&house.files, asked, now, &house.cache).map(|answer| answer.into_body())
        };
        assert_eq!(is_at_hand(Method::GET, "/a.js", &[], false, 0), None);
        house.get("/a.js").await;
        house.ask(Method::GET, "/a.js", &[("accept-encoding", "gzip")], 0).await;
        assert_eq!(is_at_hand(Method::GET, "/a.js", &[], false, 0).unwrap(), "plain");
        assert_eq!(is_at_hand(Method::GET, "/a.js", &["gzip"], false, 0).unwrap(), "packed");
        assert_eq!(is_at_hand(Method::GET, "/a.js", &["br"], false, 0), None);
        assert_eq!(is_at_hand(Method::GET, "/a.js", &["gzip", "br"], false, 0), None);
        assert_eq!(is_at_hand(Method::GET, "/a.js", &[], true, 0), None);
        assert_eq!(is_at_hand(Method::HEAD, "/a.js", &[], false, 0), None);
        assert_eq!(is_at_hand(Method::GET, "/%61.js", &[], false, 0), None);
        assert_eq!(is_at_hand(Method::GET, "/a.js", &[], false, 1001), None, "the disk is to be asked");
        house.get("/big").await;
        assert_eq!(is_at_hand(Method::GET, "/big", &[], false, 0), None, "it is not kept in memory");
    }

    #[tokio::test]
    async fn a_file_that_is_cut_while_sent_is_an_error() {
        let house = House::new(&[("big", &"a".repeat(300_000))]);
        let headers = HeaderMap::new();
        let asked =
            Asked { method: &Method::GET, path: "/big", query: None, headers: &headers, conditional: false };
        let Outcome::Answer(response) = serve(&house.files, asked, house.start, &house.cache).await else {
            panic!("no answer")
        };
        let mut body = response.into_body();
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(300_000));
        body.frame().await.unwrap().unwrap();
        house.write("big", "short");
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_listing_shows_what_can_be_asked_for() {
        let mut house = House::new(&[
            ("<b>.txt", "12345"),
            (".env", "x"),
            (".well-known/x", "x"),
            ("sub/deep", "x"),
            ("sub/.hid", "x"),
            ("back\\slash", "x"),
        ]);
        house.files.listing = true;
        symlink("/etc/passwd", house.path("out")).unwrap();
        let seen = house.get("/?sort=size&order=desc").await;
        assert_eq!((seen.status, seen.header("content-type")), (200, "text/html; charset=utf-8"));
        assert!(seen.header("content-security-policy").starts_with("default-src 'none'"));
        for wanted in
            ["&lt;b&gt;.txt", "href=\"%3Cb%3E.txt\"", "href=\"sub/\"", "href=\".well-known/\"", "5 B"]
        {
            assert!(seen.body.contains(wanted), "{wanted} in {}", seen.body);
        }
        for unwanted in [".env", "<b>", "slash", "out", "../"] {
            assert!(!seen.body.contains(unwanted), "{unwanted} in {}", seen.body);
        }
        let sub = house.get("/sub/").await.body;
        assert!(sub.contains("href=\"../\"") && sub.contains("deep") && !sub.contains(".hid"), "{sub}");
        let head = house.ask(Method::HEAD, "/sub/", &[], 0).await;
        assert_eq!((head.header("content-length"), head.body.as_str()), (sub.len().to_string().as_str(), ""));
        assert_eq!(house.get("/missing/").await.status, 404);
    }

    #[tokio::test]
    async fn element_answers_carry_its_headers() {
        let mut house = House::new(&[("index.html", "i"), ("bundles/abc1234/a.js", "a"), ("version", "1")]);
        house.files.element = true;
        for (path, policy) in [
            ("/", "no-cache"),
            ("/index.html", "no-cache"),
            ("/version", "no-cache"),
            ("/bundles/abc1234/a.js", "public, max-age=31536000, immutable"),
        ] {
            let seen = house.get(path).await;
            assert_eq!(seen.header("cache-control"), policy, "{path}");
            assert_eq!(seen.header("x-content-type-options"), "nosniff");
            let again = house.ask(Method::GET, path, &[("if-none-match", seen.header("etag"))], 0).await;
            assert_eq!((again.status, again.header("cache-control")), (304, policy));
        }
    }

    #[tokio::test]
    async fn matrix_documents_without_ending_are_json() {
        let house = House::new(&[(".well-known/matrix/client", "{}"), (".well-known/security.txt", "x")]);
        let seen = house.get("/.well-known/matrix/client").await;
        assert_eq!((seen.header("content-type"), seen.body.as_str()), ("application/json", "{}"));
        assert_eq!(house.get("/.well-known/security.txt").await.status, 200);
    }

    #[test]
    fn the_nearest_error_page_is_taken() {
        let house = House::new(&[("404.html", "four"), ("50x.html", "family"), ("503.html", "down")]);
        let page = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            error_page(&house.files.root, status, house.start, &house.cache)
        };
        assert_eq!(page(404).as_deref(), Some(&b"four"[..]));
        assert_eq!(page(503).as_deref(), Some(&b"down"[..]));
        assert_eq!(page(502).as_deref(), Some(&b"family"[..]));
        assert_eq!(page(403), None);
    }
}
