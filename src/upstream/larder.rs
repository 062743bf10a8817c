//! What of an upstream's documents is kept for the time when it is away.
//!
//! They are asked anew each time that it comes up, and once an hour. Which hosts they are asked for is the
//! configuration's to say; which documents there are, `matrix::kept`'s.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout_at};

use crate::matrix::kept::Kept;

use super::backend::Backend;
use super::codec::framing::Asked;
use super::dial;
use super::download::Download;
use super::group::Group;
use super::health::Health;

/// Between two looks while the upstream is up.
const EVERY: Duration = Duration::from_secs(3600);
/// After a look that got nothing.
const AGAIN: Duration = Duration::from_secs(60);
/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of a document.
const MOST: usize = 64 * 1024;

/// A document that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// For which host, in lower case.
    pub host: Arc<str>,
    /// Which one.
    pub kept: Kept,
}

/// A document that was kept.
#[derive(Debug, Clone)]
pub struct Document {
    wish: Wish,
    /// Its bytes.
    pub body: Bytes,
    /// When it came.
    pub at: Instant,
    until: SystemTime,
}

/// The documents of one upstream. It outlives reloads that keep the upstream's name.
#[derive(Debug, Default)]
pub struct Larder {
    wishes: ArcSwap<Vec<Wish>>,
    documents: ArcSwap<Vec<Document>>,
    news: Notify,
}

impl Larder {
    /// Keeps exactly these documents from now on.
    pub fn want(&self, wishes: Vec<Wish>) {
        if **self.wishes.load() != wishes {
            self.wishes.store(Arc::new(wishes));
            self.look();
        }
    }

    /// The upstream has come up: what is kept may be old.
    pub fn look(&self) {
        self.news.notify_one();
    }

    /// The document for `host`, if it is there and good at the wall clock's `now`.
    pub fn document(&self, host: &str, kept: Kept, now: SystemTime) -> Option<Document> {
        let documents = self.documents.load();
        let found = documents.iter().find(|one| one.wish.kept == kept && *one.wish.host == *host)?;
        (found.until > now).then(|| found.clone())
    }

    fn put(&self, document: Document) {
        let wishes = self.wishes.load();
        let mut documents: Vec<Document> = self.documents.load().iter().cloned().collect();
        documents.retain(|one| one.wish != document.wish && wishes.contains(&one.wish));
        documents.push(document);
        self.documents.store(Arc::new(documents));
    }
}

/// Keeps the larder of `group` until it is dropped; on the control thread.
pub async fn keep(group: Arc<Group>) {
    loop {
        let stocked = stock(&group).await;
        tokio::select! {
            () = group.larder().news.notified() => {}
            () = sleep(if stocked { EVERY } else { AGAIN }) => {}
        }
    }
}

/// Asks for all that is wanted; false: something is missing.
async fn stock(group: &Group) -> bool {
    let wishes = group.larder().wishes.load_full();
    let Some(backend) = group.backends().iter().find(|backend| backend.health() == Health::Up) else {
        return wishes.is_empty();
    };
    let mut whole = true;
    for wish in wishes.iter() {
        let now = crate::clock::now();
        let asked = timeout_at((now + PATIENCE).into(), ask(group, backend, wish, now + PATIENCE)).await;
        let body = match asked {
            Ok(Ok(body)) => body,
            Ok(Err(_)) | Err(_) => {
                whole = false;
                continue;
            }
        };
        match wish.kept.good_until(&body) {
            Some(until) => {
                group.larder().put(Document { wish: wish.clone(), body, at: crate::clock::now(), until });
            }
            // It has answered, and will answer so again: nothing to keep is no reason to hurry.
            None => tracing::debug!(host = %wish.host, path = wish.kept.path(), "there is nothing to keep"),
        }
    }
    whole
}

/// One document, over a connection of its own.
async fn ask(group: &Group, backend: &Backend, wish: &Wish, deadline: Instant) -> io::Result<Bytes> {
    let mut stream = dial::open(backend, deadline).await.map_err(io::Error::other)?;
    let mut head = format!("GET {} HTTP/1.1\r\nHost: ", wish.kept.path()).into_bytes();
    match &group.def().host {
        Some(host) => head.extend_from_slice(host.as_bytes()),
        None => head.extend_from_slice(wish.host.as_bytes()),
    }
    head.extend_from_slice(
        b"\r\nUser-Agent: porchd\r\nAccept: application/json\r\nX-Forwarded-For: 127.0.0.1\r\n\
          X-Forwarded-Proto: https\r\nConnection: close\r\n\r\n",
    );
    stream.write_all(&head).await?;
    stream.flush().await?;
    let mut answer = Download::default();
    let asked = Asked { head: false, upgrade: false };
    let head = poll_fn(|cx| answer.poll_head(cx, &mut stream, asked)).await.map_err(io::Error::other)?;
    if head.status != StatusCode::OK {
        return Ok(Bytes::new());
    }
    let mut body = BytesMut::new();
    while let Some(frame) =
        poll_fn(|cx| answer.poll_frame(cx, &mut stream)).await.map_err(io::Error::other)?
    {
        body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if body.len() > MOST {
            return Ok(Bytes::new());
        }
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    fn wish(host: &str, kept: Kept) -> Wish {
        Wish { host: host.into(), kept }
    }

    #[tokio::test]
    async fn documents_are_asked_for_their_hosts_and_kept_while_they_are_good() {
        let home = Fake::start(|_, mut peer| async move {
            let asked = peer.request().await.unwrap();
            let body = if asked.contains("/versions") {
                r#"{"versions":["v1.1"]}"#
            } else if asked.contains("Host: a.test") {
                r#"{"valid_until_ts":1000}"#
            } else {
                "sorry"
            };
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        })
        .await;
        let group = home.group();
        let all = [("a.test", Kept::Versions), ("a.test", Kept::Keys), ("b.test", Kept::Keys)];
        group.larder().want(all.iter().map(|(host, kept)| wish(host, *kept)).collect());
        assert!(!stock(&group).await, "nobody is up");
        group.backends()[0].publish(Health::Up);
        assert!(stock(&group).await);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let larder = group.larder();
        let kept = |host, kept, now| larder.document(host, kept, now).map(|one| one.body);
        assert_eq!(kept("a.test", Kept::Versions, at(9)).unwrap(), r#"{"versions":["v1.1"]}"#);
        assert_eq!(kept("a.test", Kept::Keys, at(0)).unwrap(), r#"{"valid_until_ts":1000}"#);
        assert_eq!(kept("a.test", Kept::Keys, at(1)), None, "it was good for a second");
        assert_eq!(kept("b.test", Kept::Keys, at(0)), None);
        assert_eq!(kept("b.test", Kept::Versions, at(0)), None);
        // What is not wanted any more goes with the next one that comes.
        group.larder().want(vec![wish("a.test", Kept::Versions)]);
        assert!(stock(&group).await);
        assert_eq!(group.larder().documents.load().len(), 1);
    }
}
