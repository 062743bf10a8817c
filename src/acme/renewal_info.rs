//! When a CA suggests that a certificate be renewed (RFC 9773).
//!
//! It asks itself and not by the library, which takes every error for a missing `Retry-After`.

use std::time::Duration;

use instant_acme::{CertificateIdentifier, Error};

use crate::acme::account::Session;
use crate::acme::failure::{Failure, Kind};
use crate::acme::moment::Moment;
use crate::acme::records::RenewalWindow;
use crate::acme::{directory, problem, renewal_window};
use crate::clock;
use crate::tls::pem;

/// When the CA does not say when to ask again.
const USUAL: Duration = Duration::from_secs(6 * 60 * 60);

/// Never more often (RFC 9773 section 4.3.2), whatever the CA says.
const SOONEST: Duration = Duration::from_secs(60);

/// Never more seldom: an incident must be heard of in time.
const LATEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The window for the certificate in `cert_pem` (the first if it is a chain), and when to ask again.
pub async fn ask(session: &Session, cert_pem: &[u8]) -> Result<(RenewalWindow, Moment), Failure> {
    let name = session.authority();
    let Some(base) = session.renewal_info_url() else {
        return Err(problem::plain(Kind::Refused, &format!("{name} does not tell when to renew (ARI)")));
    };
    let Some(identifier) = identifier(cert_pem) else {
        let text = format!("{name}: the certificate names no issuer key, so it cannot be asked about (ARI)");
        return Err(problem::plain(Kind::Refused, &text));
    };
    let failure = |error: &Error| session.failure(error, &[]);
    let request = directory::get(&format!("{}/{identifier}", base.trim_end_matches('/')));
    let request = request.map_err(|error| failure(&error))?;
    let answer = session.client().send(request).await;
    let answer = answer.map_err(|error| failure(&Error::Other(Box::new(error))))?;
    let body = directory::accepted(&answer).map_err(|error| failure(&error))?;
    let window = renewal_window::of_answer(body, name, &session.seen())?;
    Ok((window, again(session.seen().retry_after, Moment::of(clock::wall()))))
}

/// What the certificate is called in ARI (RFC 9773 section 4.1); `None`: it does not say whose key signed it.
pub(super) fn identifier(cert_pem: &[u8]) -> Option<CertificateIdentifier<'static>> {
    let chain = pem::chain(cert_pem).ok()?;
    let identifier = CertificateIdentifier::try_from(chain.first()?).ok()?;
    Some(identifier.into_owned())
}

fn again(asked: Option<Moment>, now: Moment) -> Moment {
    now.after(asked.map_or(USUAL, |at| at.since(now)).clamp(SOONEST, LATEST))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use serde_json::json;

    use super::*;
    use crate::acme::account::{self, Opening};
    use crate::acme::fake::{Fake, Fault};

    fn certificate() -> String {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = true;
        params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().pem()
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

    fn window(start: &str, end: &str) -> Option<serde_json::Value> {
        Some(json!({ "suggestedWindow": { "start": start, "end": end }, "explanationURL": "https://a/\nb" }))
    }

    #[tokio::test(start_paused = true)]
    async fn windows_are_read_and_asked_for_again_in_time() {
        let fake = Fake::start().await;
        fake.state().ari = window("2026-01-01T00:00:00Z", "2026-01-02T00:00:00.5+00:00");
        let session = session(&fake).await;
        let certificate = certificate();
        for (retry_after, expected) in [("", USUAL), ("3600", USUAL / 6), ("1", SOONEST), ("9999999", LATEST)]
        {
            fake.state().ari_retry_after = retry_after;
            let before = Moment::of(clock::wall());
            let (window, again) = ask(&session, certificate.as_bytes()).await.unwrap();
            assert_eq!(window.start.to_string(), "2026-01-01T00:00:00Z");
            assert_eq!(window.end.to_string(), "2026-01-02T00:00:00Z");
            assert_eq!(window.explanation.as_deref(), Some("https://a/ b"));
            let rest = again.since(before);
            assert!(rest >= expected && rest < expected + Duration::from_secs(60), "{retry_after}: {rest:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_window_is_told() {
        let fake = Fake::start().await;
        let certificate = certificate();
        let none = ask(&session(&fake).await, certificate.as_bytes()).await.unwrap_err();
        assert_eq!(
            (none.text.as_str(), none.kind),
            ("fake does not tell when to renew (ARI)", Kind::Refused)
        );
        fake.state().ari = window("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z");
        let session = session(&fake).await;
        let told = ask(&session, certificate.as_bytes()).await.unwrap_err().text;
        assert!(told.starts_with("fake: its renewal window ends at 2026-01-01T00:00:00Z"), "{told}");
        fake.state().ari = window("soon", "later");
        let told = ask(&session, certificate.as_bytes()).await.unwrap_err().text;
        assert!(told.starts_with("fake: its answer is not ACME: `"), "{told}");
        assert!(told.contains("is no RFC 3339 time"), "{told}");
        fake.fault("ari", Fault::Page(503, "120"));
        let failure = ask(&session, certificate.as_bytes()).await.unwrap_err();
        assert_eq!(failure.text, "fake answers 503 with an HTML page");
        assert!(failure.retry_after.is_some());
        assert_eq!(ask(&session, b"x").await.unwrap_err().kind, Kind::Refused);
    }
}
