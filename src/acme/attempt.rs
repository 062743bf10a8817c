//! One attempt: an order from its begin to a chain that is what was ordered (RFC 8555 section 7.4).
//!
//! It keeps nothing and plans nothing. Every wait in it ends; one order is made, or two where the CA takes
//! the first for what it does not support.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{Error, Identifier, NewOrder, Order, OrderStatus};
use tokio::time::timeout;

use crate::acme::account::Session;
use crate::acme::client::RequestError;
use crate::acme::failure::{FailedName, Failure, Kind};
use crate::acme::moment::Moment;
use crate::acme::patience::{self, Watch};
use crate::acme::records::PendingOrder;
use crate::acme::verify::{self, VerifyError};
use crate::acme::{key, names, problem, renewal_info, validation};
use crate::clock;
use crate::config::model::acme::{Challenge, KeyType};
use crate::provision::PemPair;
use crate::tls::challenges::Challenges;
use crate::tls::pem;

/// For everything.
const WHOLE: Duration = Duration::from_secs(10 * 60);

/// How long the CA may take to see that all names are proved.
const READY: Duration = Duration::from_secs(60);

/// How long the CA may take to sign.
const PROCESSING: Duration = Duration::from_secs(5 * 60);

/// How often a nonce of newOrder may be refused beyond what the library repeats.
const NONCES: usize = 2;

/// Between two looks at most, where the CA asks for no other pause.
const LOOK: Duration = Duration::from_secs(3);

/// What is ordered.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The site.
    pub site: &'a str,
    /// Its names, each with what proves control over it; not empty.
    pub names: &'a [(Arc<str>, Challenge)],
    /// The profile to ask for.
    pub profile: Option<&'a str>,
    /// The kind of the certificate's key, which is always a new one.
    pub key_type: KeyType,
    /// PEM of the certificate that this one follows.
    pub replaces: Option<&'a [u8]>,
}

/// What came of an order.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The chain and its key.
    pub pair: PemPair,
    /// What proved control over which name; empty when it was an order of an earlier run.
    pub validated: Vec<(Arc<str>, Challenge)>,
    /// The names that were ordered; the certificate covers them.
    pub names: Vec<Arc<str>>,
}

/// Keeps what an attempt must not lose.
pub trait Keep {
    /// Called before an order is sent: from then on the CA counts it. A failure ends the attempt.
    fn ordering(&mut self) -> Result<(), Failure>;

    /// Called before the CA is told to look: from then on it may count what it finds.
    fn proving(&mut self);

    /// Called before the CA is asked to sign, so that a restart can fetch what was signed. A failure ends the attempt.
    fn pending(&mut self, order: &PendingOrder) -> Result<(), Failure>;
}

/// Orders a certificate, within ten minutes. `challenges` offers what the CA looks for meanwhile.
///
/// The order may be repeated once without `replaces`. When it failed after `Keep::pending`, `resume` may still
/// bring the certificate.
pub async fn run(
    session: &Session,
    job: &Job<'_>,
    challenges: &Challenges,
    keep: &mut dyn Keep,
) -> Result<Issued, Failure> {
    bounded(session, attempt(session, job, challenges, keep)).await
}

/// Fetches what an earlier run ordered. `None`: the order is gone, failed, or brought what was not ordered.
pub async fn resume(session: &Session, order: PendingOrder) -> Result<Option<Issued>, Failure> {
    bounded(session, fetch(session, &order)).await
}

async fn bounded<T>(session: &Session, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(WHOLE, work).await.unwrap_or_else(|_| {
        let minutes = WHOLE.as_secs() / 60;
        let text = format!("{}: the order was not done within {minutes} minutes", session.authority());
        Err(problem::plain(Kind::Unavailable, &text))
    })
}

async fn attempt(
    session: &Session,
    job: &Job<'_>,
    challenges: &Challenges,
    keep: &mut dyn Keep,
) -> Result<Issued, Failure> {
    refuse_unfit(job)?;
    let names: Vec<_> = job.names.iter().map(|(name, _)| name.clone()).collect();
    // What can fail without the CA fails before it counts an order.
    let key = key::generate(job.key_type)?;
    let request = key::request(&names, &key)?;
    keep.ordering()?;
    let mut order = new_order(session, job, &names).await?;
    bound(session, &mut order, &names)?;
    keep.proving();
    let validated = validation::prove(session, &mut order, job.names, challenges).await?;
    // What is known of the order is older than the proofs.
    patience::again(session, &names, async || order.refresh().await.map(drop)).await?;
    until(session, &mut order, &names, READY, |status| status != OrderStatus::Pending).await?;
    let key_pem = key.serialize_pem();
    keep.pending(&PendingOrder {
        site: job.site.to_owned(),
        authority: session.directory_url().to_owned(),
        url: order.url().to_owned(),
        names: names.clone(),
        key_pem: key_pem.clone(),
        at: Moment::of(clock::wall()),
    })?;
    finalize(session, &mut order, &names, &request).await?;
    let sent = download(session, &mut order, &names).await?;
    let pair = verified(&sent, &key_pem, &names).map_err(|error| not_ordered(session, &error))?;
    Ok(Issued { pair, validated, names })
}

async fn fetch(session: &Session, pending: &PendingOrder) -> Result<Option<Issued>, Failure> {
    let names = &pending.names;
    let found =
        patience::again(session, names, async || session.account().order(pending.url.clone()).await).await;
    let mut order = match found {
        Ok(order) => order,
        // It is not known any more, or belongs to an account that was.
        Err(Failure { kind: Kind::Refused | Kind::Names(_), .. }) => return Ok(None),
        Err(failure) => return Err(failure),
    };
    if matches!(order.state().status, OrderStatus::Pending | OrderStatus::Invalid) {
        return Ok(None);
    }
    let Ok(key) = key::read(&pending.key_pem) else { return Ok(None) };
    let request = key::request(names, &key)?;
    let sent = match finalize(session, &mut order, names, &request).await {
        Ok(()) => download(session, &mut order, names).await,
        Err(failure) => Err(failure),
    };
    let sent = match sent {
        Ok(sent) => sent,
        Err(Failure { kind: Kind::Refused | Kind::Names(_), .. }) => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let pair = verified(&sent, &pending.key_pem, names);
    Ok(pair.ok().map(|pair| Issued { pair, validated: Vec::new(), names: names.clone() }))
}

/// Names that no CA signs for by what porchd can do fail here, so that the CA's refusal hits no other name.
fn refuse_unfit(job: &Job<'_>) -> Result<(), Failure> {
    let why = |name: &str| {
        if name.starts_with('*') {
            return Some(
                "a wildcard needs dns-01, which porchd does not do; name each host, or get the certificate \
                 elsewhere and set tls.certificates",
            );
        }
        let fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        let signed = names::address(name).is_some() || name.bytes().all(fit);
        (!signed).then_some("CAs sign for letters, digits and hyphens alone (in punycode for others)")
    };
    let refused = job.names.iter().filter_map(|(name, _)| {
        why(name).map(|text| FailedName { name: name.clone(), challenge: None, text: text.to_owned() })
    });
    let refused: Vec<_> = refused.collect();
    if refused.is_empty() { Ok(()) } else { Err(problem::of_names(refused)) }
}

async fn new_order(session: &Session, job: &Job<'_>, names: &[Arc<str>]) -> Result<Order, Failure> {
    let identifiers: Vec<Identifier> = names.iter().map(|name| names::identifier(name)).collect();
    let order = || {
        let order = NewOrder::new(&identifiers);
        job.profile.map_or_else(|| NewOrder::new(&identifiers), |profile| order.profile(profile))
    };
    let replaced = job.replaces.filter(|_| session.has_renewal_info()).and_then(renewal_info::identifier);
    if let Some(replaced) = replaced {
        match send(session, &order().replaces(replaced)).await {
            Ok(order) => return Ok(order),
            Err(error) => {
                let failure = session.failure(&error, names);
                if !is_about_replacing(&error, &failure) {
                    return Err(failure);
                }
            }
        }
    }
    send(session, &order()).await.map_err(|error| session.failure(&error, names))
}

/// An order has a proof for each name (RFC 8555 section 7.1.3). All are read, so there must not be any number of them.
fn bound(session: &Session, order: &mut Order, names: &[Arc<str>]) -> Result<(), Failure> {
    let proofs = order.state().authorizations.len();
    if proofs <= names.len() {
        return Ok(());
    }
    let text = format!("{}: it wants {proofs} proofs for {} names", session.authority(), names.len());
    Err(problem::plain(Kind::Unavailable, &text))
}

/// Sends newOrder. It is not repeated but for a nonce, which the CA looks at before it counts anything.
async fn send(session: &Session, order: &NewOrder<'_>) -> Result<Order, Error> {
    let mut refused = 0;
    loop {
        match session.account().new_order(order).await {
            Err(Error::Api(problem)) if problem::short(&problem) == "badNonce" && refused < NONCES => {
                refused += 1
            }
            done => return done,
        }
    }
}

/// Whether the order may be taken without `replaces`: the certificate was replaced already (RFC 9773 section 5),
/// is another CA's, or the CA does not know the field, which the library calls some other error.
fn is_about_replacing(error: &Error, failure: &Failure) -> bool {
    match error {
        Error::Other(inner) => !inner.is::<RequestError>(),
        _ => failure.kind == Kind::Refused,
    }
}

/// Asks the CA to sign. When the answer is lost, the order tells whether the question was.
async fn finalize(
    session: &Session,
    order: &mut Order,
    names: &[Arc<str>],
    request: &[u8],
) -> Result<(), Failure> {
    let mut asked = false;
    patience::again(session, names, async || {
        if asked {
            order.refresh().await?;
        }
        asked = true;
        if order.state().status == OrderStatus::Ready { order.finalize_csr(request).await } else { Ok(()) }
    })
    .await
}

/// The chain, as soon as the CA has signed.
async fn download(session: &Session, order: &mut Order, names: &[Arc<str>]) -> Result<String, Failure> {
    until(session, order, names, PROCESSING, |status| status == OrderStatus::Valid).await?;
    patience::again(session, names, async || {
        let sent =
            order.certificate().await?.ok_or(Error::Str("the order is done and has no certificate"))?;
        // An answer that was garbled on its way is asked for again; what it says is looked at later.
        let is_chain = pem::chain(sent.as_bytes()).is_ok();
        is_chain.then_some(sent).ok_or(Error::Str("what it sent as the certificate is none"))
    })
    .await
}

/// Looks at the order until its status is what it should be.
async fn until(
    session: &Session,
    order: &mut Order,
    names: &[Arc<str>],
    span: Duration,
    done: fn(OrderStatus) -> bool,
) -> Result<(), Failure> {
    let mut watch = Watch::new(span, LOOK);
    loop {
        let state = order.state();
        if state.status == OrderStatus::Invalid {
            return Err(gone(session, state.error.clone(), names));
        }
        let status = state.status;
        if done(status) {
            return Ok(());
        }
        if !watch.wait(session).await {
            let status = format!("{status:?}").to_lowercase();
            let seconds = span.as_secs();
            let text = format!("{}: the order is still {status} after {seconds} s", session.authority());
            return Err(problem::plain(Kind::Unavailable, &text));
        }
        patience::again(session, names, async || order.refresh().await.map(drop)).await?;
    }
}

fn gone(session: &Session, error: Option<instant_acme::Problem>, names: &[Arc<str>]) -> Failure {
    match error {
        Some(problem) => session.failure(&Error::Api(problem), names),
        None => {
            let text = format!("{}: the order failed, and it does not say why", session.authority());
            problem::plain(Kind::Unavailable, &text)
        }
    }
}

fn verified(sent: &str, key_pem: &str, names: &[Arc<str>]) -> Result<PemPair, VerifyError> {
    let chain = verify::verify(sent, key_pem, names, Moment::of(clock::wall()))?;
    Ok(PemPair { cert: chain.into_bytes(), key: key_pem.as_bytes().to_vec() })
}

fn not_ordered(session: &Session, error: &VerifyError) -> Failure {
    problem::plain(Kind::Unavailable, &format!("{}: {error}", session.authority()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::acme::account::{self, Opening};
    use crate::acme::fake::state::Signs;
    use crate::acme::fake::{Fake, Fault};
    use crate::tls::inspect;

    #[derive(Default)]
    struct Kept(Vec<PendingOrder>);

    impl Keep for Kept {
        fn ordering(&mut self) -> Result<(), Failure> {
            Ok(())
        }

        fn proving(&mut self) {}

        fn pending(&mut self, order: &PendingOrder) -> Result<(), Failure> {
            self.0.push(order.clone());
            Ok(())
        }
    }

    async fn session(fake: &Fake) -> Session {
        let opening = Opening {
            authority: &fake.authority,
            ca_pem: Some(fake.root.as_bytes()),
            external_key: None,
            contact: "admin@a.test",
            account: None,
        };
        account::open(opening, &mut |_| Ok(())).await.unwrap()
    }

    fn names(list: &[&str], challenge: Challenge) -> Vec<(Arc<str>, Challenge)> {
        list.iter().map(|name| (Arc::from(*name), challenge)).collect()
    }

    fn job(names: &[(Arc<str>, Challenge)]) -> Job<'_> {
        Job { site: "a.test", names, profile: None, key_type: KeyType::P256, replaces: None }
    }

    async fn ordered(fake: &Fake, names: &[(Arc<str>, Challenge)]) -> (Result<Issued, Failure>, Kept) {
        let challenges = Challenges::default();
        fake.state().challenges = Some(challenges.clone());
        let session = session(fake).await;
        let mut kept = Kept::default();
        let result = run(&session, &job(names), &challenges, &mut kept).await;
        assert!(challenges.document("token-0-0").is_none(), "offers end with the attempt");
        (result, kept)
    }

    fn failed(result: Result<Issued, Failure>) -> Failure {
        result.err().expect("a failure")
    }

    fn brought(result: Result<Issued, Failure>) -> Issued {
        result.unwrap_or_else(|failure| panic!("{failure}"))
    }

    fn blamed(failure: &Failure) -> Vec<(&str, Option<Challenge>)> {
        match &failure.kind {
            Kind::Names(names) => names.iter().map(|name| (&*name.name, name.challenge)).collect(),
            _ => Vec::new(),
        }
    }

    const HTTP: Challenge = Challenge::Http01;
    const ALPN: Challenge = Challenge::TlsAlpn01;

    #[tokio::test(start_paused = true)]
    async fn both_challenges_and_an_address_bring_a_certificate() {
        let fake = Fake::start().await;
        let mut wanted = names(&["a.test", "192.0.2.1"], HTTP);
        wanted.push(("b.test".into(), ALPN));
        let (result, kept) = ordered(&fake, &wanted).await;
        let issued = brought(result);
        let facts = inspect::facts(&issued.pair.cert).unwrap();
        assert!(issued.names.iter().all(|name| facts.covers(name)));
        assert_eq!(issued.validated, wanted);
        assert_eq!(fake.told("new")["identifiers"][1], json!({ "type": "ip", "value": "192.0.2.1" }));
        assert_eq!((kept.0.len(), &kept.0[0].names), (1, &issued.names));
        assert_eq!(kept.0[0].authority, *fake.authority.directory);
        assert_eq!(kept.0[0].key_pem.as_bytes(), issued.pair.key);
    }

    #[tokio::test(start_paused = true)]
    async fn every_failing_name_is_told_by_its_challenge() {
        let fake = Fake::start().await;
        fake.state().slow = 2;
        for name in ["b.test", "c.test"] {
            fake.state().verdicts.insert(name.to_owned(), ("connection", "nobody is there"));
        }
        let (result, kept) = ordered(&fake, &names(&["a.test", "b.test", "c.test"], HTTP)).await;
        let failure = failed(result);
        assert_eq!(blamed(&failure), [("b.test", Some(HTTP)), ("c.test", Some(HTTP))]);
        let told = "b.test by http-01: nobody is there (connection); c.test by http-01: nobody is there (connection)";
        assert_eq!(failure.text, told);
        assert!(kept.0.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_proved_is_not_tried() {
        let fake = Fake::start().await;
        let failure = failed(ordered(&fake, &names(&["a.test", "*.a.test", "a_b.test"], HTTP)).await.0);
        assert_eq!(blamed(&failure), [("*.a.test", None), ("a_b.test", None)]);
        assert!(failure.text.contains("needs dns-01"), "{failure}");
        assert_eq!(fake.asked("new"), 0);
        fake.state().kinds = vec!["dns-01", "tls-alpn-01"];
        let failure = failed(ordered(&fake, &names(&["a.test"], HTTP)).await.0);
        assert_eq!(failure.text, "a.test by http-01: the CA takes tls-alpn-01 alone for it, and not http-01");
        assert_eq!(fake.asked("challenge"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_the_ca_rejects_are_found() {
        let fake = Fake::start().await;
        let told = json!({ "type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "no", "subproblems": [
            { "detail": "forbidden", "identifier": { "type": "dns", "value": "b.test" } }] });
        fake.fault("new", Fault::Told(400, told));
        let failure = failed(ordered(&fake, &names(&["a.test", "b.test"], HTTP)).await.0);
        assert_eq!(
            (blamed(&failure), failure.text.as_str()),
            (vec![("b.test", None)], "fake: b.test: forbidden")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_exists_outlives_passing_faults() {
        let fake = Fake::start().await;
        fake.state().processing = 3;
        for place in ["proof", "challenge", "finalize", "order", "chain"] {
            for fault in [Fault::Reset, Fault::Page(503, ""), Fault::Problem(429, "rateLimited", "3")] {
                fake.fault(place, fault);
            }
        }
        brought(ordered(&fake, &names(&["a.test", "b.test"], HTTP)).await.0);
        assert_eq!(fake.asked("new"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_are_lost_repeat_nothing_that_counts() {
        let fake = Fake::start().await;
        for place in ["proof", "challenge", "finalize", "order", "chain"] {
            fake.fault(place, Fault::Lost);
            fake.fault(place, Fault::Garbage);
            fake.fault(place, Fault::Truncated);
        }
        fake.fault("finalize", Fault::NoNonce);
        brought(ordered(&fake, &names(&["a.test"], ALPN)).await.0);
        assert_eq!((fake.asked("new"), fake.asked("chain")), (1, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_ca_that_wants_rest_is_told_and_ends_the_attempt() {
        let fake = Fake::start().await;
        for (place, retry_after) in
            [("new", "3"), ("proof", "7200"), ("finalize", "Fri, 31 Dec 2100 23:59:59 GMT")]
        {
            fake.fault(place, Fault::Problem(429, "rateLimited", retry_after));
            let before = Moment::of(clock::wall());
            let failure = failed(ordered(&fake, &names(&["a.test"], HTTP)).await.0);
            assert_eq!(
                (&failure.kind, failure.text.as_str()),
                (&Kind::RateLimited, "fake: as you wish (rateLimited)")
            );
            let asked = failure.retry_after.unwrap();
            match retry_after.parse::<u64>() {
                Ok(seconds) => assert!((seconds..seconds + 60).contains(&asked.since(before).as_secs())),
                Err(_) => assert_eq!(asked.to_string(), "2100-12-31T23:59:59Z"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_way_to_fail_is_told_in_one_line() {
        for (fault, expected) in [
            (Fault::Page(503, ""), "fake answers 503 with an HTML page"),
            (Fault::Reset, "fake: the connection ended before the answer"),
            (Fault::Hang, "fake: no answer within 30 s"),
            (Fault::Truncated, "fake: the answer breaks off"),
            (Fault::Garbage, "fake: its answer is not ACME: expected value at line 1 column 1"),
            (Fault::Problem(500, "serverInternal", ""), "fake: as you wish (serverInternal)"),
        ] {
            let fake = Fake::start().await;
            fake.fault("new", fault);
            let failure = failed(ordered(&fake, &names(&["a.test"], HTTP)).await.0);
            assert_eq!((failure.text.as_str(), failure.kind), (expected, Kind::Unavailable));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_waited_for_without_end() {
        let begin = clock::now();
        let spent = || clock::now().saturating_duration_since(begin);
        let fake = Fake::start().await;
        fake.state().slow = usize::MAX;
        let failure = failed(ordered(&fake, &names(&["a.test"], HTTP)).await.0);
        assert_eq!(failure.text, "fake: it has not decided on a.test within 60 s");
        assert!(spent() < Duration::from_secs(65), "{:?}", spent());
        fake.state().slow = 0;
        fake.state().processing = usize::MAX;
        let (result, kept) = ordered(&fake, &names(&["a.test"], HTTP)).await;
        assert_eq!(failed(result).text, "fake: the order is still processing after 300 s");
        assert!(spent() < Duration::from_secs(380), "{:?}", spent());
        assert_eq!(kept.0.len(), 1);
        for _ in 0..99 {
            fake.fault("order", Fault::Hang);
        }
        assert!(failed(ordered(&fake, &names(&["a.test"], HTTP)).await.0).text.contains("30 s"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_ordered_is_not_taken() {
        for (signs, expected) in [
            (Signs::AnotherKey, "fake: the certificate that it sent is for another key"),
            (Signs::OneNameLess, "fake: the certificate that it sent does not cover b.test"),
            (
                Signs::Expired,
                "fake: the certificate that it sent ended at 2020-01-01T00:00:00Z; is this machine's clock right?",
            ),
        ] {
            let fake = Fake::start().await;
            fake.state().signs = signs;
            let (result, mut kept) = ordered(&fake, &names(&["a.test", "b.test"], HTTP)).await;
            assert_eq!(failed(result).text, expected);
            let pending = kept.0.remove(0);
            assert!(resume(&session(&fake).await, pending).await.unwrap().is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nonces_may_be_stale_and_missing() {
        let fake = Fake::start().await;
        let session = session(&fake).await;
        for place in ["new", "proof", "challenge", "finalize"] {
            for _ in 0..4 {
                fake.fault(place, Fault::Problem(400, "badNonce", ""));
            }
            fake.fault(place, Fault::NoNonce);
        }
        let challenges = Challenges::default();
        let wanted = names(&["a.test"], HTTP);
        brought(run(&session, &job(&wanted), &challenges, &mut Kept::default()).await);
        fake.fault("nonce", Fault::NoNonce);
        let failure = failed(run(&session, &job(&wanted), &challenges, &mut Kept::default()).await);
        assert_eq!(failure.text, "fake: no nonce found in newNonce response");
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_is_fetched_by_the_next_run() {
        let fake = Fake::start().await;
        // The answer to finalize is lost, and so is every look behind it.
        fake.fault("order", Fault::Fine);
        for _ in 0..3 {
            fake.fault("order", Fault::Reset);
        }
        fake.fault("finalize", Fault::Lost);
        let (result, kept) = ordered(&fake, &names(&["a.test"], HTTP)).await;
        assert_eq!(failed(result).kind, Kind::Unavailable);
        let session = session(&fake).await;
        let pending = kept.0[0].clone();
        let issued = resume(&session, pending.clone()).await.unwrap().unwrap();
        assert_eq!(issued.pair.key, pending.key_pem.as_bytes());
        // One that was not finalized yet is finalized now, with the key that was kept.
        fake.state().orders[0].status = "ready";
        assert!(resume(&session, pending.clone()).await.unwrap().is_some());
        assert_eq!((fake.asked("new"), fake.asked("finalize")), (1, 2));
        fake.state().orders[0].status = "invalid";
        assert!(resume(&session, pending.clone()).await.unwrap().is_none());
        fake.state().orders.clear();
        assert!(resume(&session, pending.clone()).await.unwrap().is_none());
        for _ in 0..4 {
            fake.fault("order", Fault::Page(503, ""));
        }
        assert_eq!(resume(&session, pending).await.err().unwrap().text, "fake answers 503 with an HTML page");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_replaced_is_told_where_the_ca_knows_it() {
        let fake = Fake::start().await;
        let wanted = names(&["a.test"], HTTP);
        let old = brought(ordered(&fake, &wanted).await.0).pair.cert;
        let challenges = Challenges::default();
        fake.state().challenges = Some(challenges.clone());
        let again = async |replaces| {
            let job = Job { replaces: Some(replaces), profile: Some("short"), ..job(&wanted) };
            let session = session(&fake).await;
            brought(run(&session, &job, &challenges, &mut Kept::default()).await);
            fake.told("new")
        };
        assert!(again(&old).await["replaces"].is_null(), "the CA has no ARI");
        fake.state().ari = Some(json!({}));
        let told = again(&old).await;
        assert!(told["replaces"].as_str().unwrap().contains('.'));
        assert_eq!(told["profile"], "short");
        fake.fault("new", Fault::Problem(409, "alreadyReplaced", ""));
        let before = fake.asked("new");
        assert!(again(&old).await["replaces"].is_null());
        assert_eq!(fake.asked("new"), before + 2);
    }

    #[tokio::test(start_paused = true)]
    async fn more_proofs_than_names_are_not_read() {
        let fake = Fake::start().await;
        fake.state().more_proofs = 1;
        let (result, _) = ordered(&fake, &names(&["a.test"], HTTP)).await;
        assert_eq!(failed(result).text, "fake: it wants 2 proofs for 1 names");
        assert_eq!(fake.asked("proof"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn disks_that_keep_nothing_end_it_before_the_ca_signs() {
        struct Full;
        impl Keep for Full {
            fn ordering(&mut self) -> Result<(), Failure> {
                Ok(())
            }

            fn proving(&mut self) {}

            fn pending(&mut self, _: &PendingOrder) -> Result<(), Failure> {
                Err(problem::plain(Kind::Local, "the disk is full"))
            }
        }
        let fake = Fake::start().await;
        let session = session(&fake).await;
        let wanted = names(&["a.test"], HTTP);
        let failure = failed(run(&session, &job(&wanted), &Challenges::default(), &mut Full).await);
        assert_eq!((failure.kind, fake.asked("finalize")), (Kind::Local, 0));
    }
}
