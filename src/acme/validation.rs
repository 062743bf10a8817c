//! Proves control over the names of an order (RFC 8555 section 7.5): all at once, and every failure is told.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    AuthorizationHandle, AuthorizationState, AuthorizationStatus, ChallengeStatus, ChallengeType, Error,
    KeyAuthorization, Order,
};

use crate::acme::account::Session;
use crate::acme::failure::{FailedName, Failure, Kind};
use crate::acme::patience::{self, Watch};
use crate::acme::{names, problem};
use crate::config::model::acme::Challenge;
use crate::tls::challenges::{Challenges, Offer};

/// How long the CA may take. Let's Encrypt gives up within half of it.
const VALIDATION: Duration = Duration::from_secs(60);

/// Between two looks at most.
const LOOK: Duration = Duration::from_secs(4);

/// One name of the order.
struct Proof {
    name: Arc<str>,
    challenge: Challenge,
    state: State,
}

enum State {
    /// The CA has not decided.
    Open,
    Valid(Challenge),
    Failed(FailedName),
}

/// Proves control over `wanted`, each name by its challenge; what proved it is the result.
///
/// Names that the CA still takes as proved are not proved again. The offers end with this call.
pub async fn prove(
    session: &Session,
    order: &mut Order,
    wanted: &[(Arc<str>, Challenge)],
    challenges: &Challenges,
) -> Result<Vec<(Arc<str>, Challenge)>, Failure> {
    let all: Vec<_> = wanted.iter().map(|(name, _)| name.clone()).collect();
    // Reads all authorizations; the library keeps what was read.
    patience::again(session, &all, async || {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            authorization?;
        }
        Ok(())
    })
    .await?;
    let mut offers = Vec::new();
    let mut proofs = prepare(session, order, wanted, challenges, &mut offers).await?;
    if !proofs.iter().any(|proof| matches!(proof.state, State::Failed(_))) {
        set_ready(session, order, &proofs, &all).await?;
        watch(session, order, &mut proofs, &all).await?;
    }
    drop(offers);
    result(session, proofs)
}

/// Offers what each open name needs, before the CA is told to look for any of it.
async fn prepare(
    session: &Session,
    order: &mut Order,
    wanted: &[(Arc<str>, Challenge)],
    challenges: &Challenges,
    offers: &mut Vec<Offer>,
) -> Result<Vec<Proof>, Failure> {
    let all: Vec<_> = wanted.iter().map(|(name, _)| name.clone()).collect();
    let mut proofs = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let authorization = authorization.map_err(|error| session.failure(&error, &all))?;
        let said = authorization.identifier();
        let name = names::find(&all, said.identifier).filter(|_| !said.wildcard);
        let Some((name, challenge)) = name.and_then(|name| wanted.iter().find(|(its, _)| its == name)) else {
            let text = format!("{}: it wants a proof for {said}, which was not ordered", session.authority());
            return Err(problem::plain(Kind::Unavailable, &text));
        };
        let state = match decided(&authorization, name, *challenge) {
            State::Open => offer(authorization, name, *challenge, challenges, offers)?,
            decided => decided,
        };
        proofs.push(Proof { name: name.clone(), challenge: *challenge, state });
    }
    Ok(proofs)
}

fn offer(
    authorization: AuthorizationHandle<'_>,
    name: &Arc<str>,
    challenge: Challenge,
    challenges: &Challenges,
    offers: &mut Vec<Offer>,
) -> Result<State, Failure> {
    let offered: Vec<_> = authorization.challenges.iter().filter_map(|other| ours(&other.r#type)).collect();
    let Some((token, key)) = key_authorization(authorization, challenge) else {
        let others = offered.iter().map(|other| other.as_str()).collect::<Vec<_>>().join(", ");
        let others = if others.is_empty() { "dns-01 alone".to_owned() } else { format!("{others} alone") };
        let text = format!("the CA takes {others} for it, and not {challenge}");
        return Ok(State::Failed(FailedName { name: name.clone(), challenge: Some(challenge), text }));
    };
    offers.push(match challenge {
        Challenge::Http01 => challenges.offer_document(&token, key.as_str()),
        Challenge::TlsAlpn01 => challenges
            .offer_certificate(name, key.digest().as_ref())
            .map_err(|error| problem::plain(Kind::Local, &error.to_string()))?,
    });
    Ok(State::Open)
}

fn key_authorization(
    authorization: AuthorizationHandle<'_>,
    challenge: Challenge,
) -> Option<(String, KeyAuthorization)> {
    let mut authorization = authorization;
    let handle = authorization.challenge(theirs(challenge))?;
    // RFC 8555 section 8.1: base64url alone. It becomes part of a path.
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let token = handle.token.clone();
    (!token.is_empty() && token.bytes().all(harmless)).then(|| (token, handle.key_authorization()))
}

/// Tells the CA to look, for every name that is open.
async fn set_ready(
    session: &Session,
    order: &mut Order,
    proofs: &[Proof],
    all: &[Arc<str>],
) -> Result<(), Failure> {
    let mut told = 0;
    patience::again(session, all, async || {
        let mut at = 0;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let authorization = authorization?;
            let proof = proofs.get(at).filter(|proof| matches!(proof.state, State::Open));
            at += 1;
            if let Some(proof) = proof.filter(|_| at > told) {
                tell(session, authorization, proof.challenge).await?;
                told = at;
            }
        }
        Ok(())
    })
    .await
}

async fn tell(
    session: &Session,
    authorization: AuthorizationHandle<'_>,
    challenge: Challenge,
) -> Result<(), Error> {
    let mut authorization = authorization;
    let Some(mut handle) = authorization.challenge(theirs(challenge)) else { return Ok(()) };
    // What a run before this one has begun goes on by itself.
    if handle.status != ChallengeStatus::Pending {
        return Ok(());
    }
    match handle.set_ready().await {
        // An error inside of a challenge is its outcome, and one that was told before can't be told again:
        // the authorization says how it stands.
        Err(Error::Api(_)) if session.seen().status.is_some_and(|status| status.is_success()) => Ok(()),
        Err(Error::Api(problem)) if problem::short(&problem) == "malformed" => Ok(()),
        other => other,
    }
}

/// Looks until the CA has decided on every name, or the time is over.
async fn watch(
    session: &Session,
    order: &mut Order,
    proofs: &mut [Proof],
    all: &[Arc<str>],
) -> Result<(), Failure> {
    let mut watch = Watch::new(VALIDATION, LOOK);
    while proofs.iter().any(|proof| matches!(proof.state, State::Open)) && watch.wait(session).await {
        patience::again(session, all, async || {
            let mut at = 0;
            let mut authorizations = order.authorizations();
            while let Some(authorization) = authorizations.next().await {
                let mut authorization = authorization?;
                if let Some(proof) = proofs.get_mut(at).filter(|proof| matches!(proof.state, State::Open)) {
                    let state = authorization.refresh().await?;
                    proof.state = decided(state, &proof.name, proof.challenge);
                }
                at += 1;
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

fn decided(authorization: &AuthorizationState, name: &Arc<str>, challenge: Challenge) -> State {
    match authorization.status {
        AuthorizationStatus::Pending => State::Open,
        AuthorizationStatus::Valid => {
            let valid = authorization.challenges.iter().find(|other| other.status == ChallengeStatus::Valid);
            State::Valid(valid.and_then(|valid| ours(&valid.r#type)).unwrap_or(challenge))
        }
        _ => {
            let failed = authorization.challenges.iter().find(|other| other.error.is_some());
            let text = failed.and_then(|failed| failed.error.as_ref()).map(problem::words);
            let by = failed.and_then(|failed| ours(&failed.r#type)).unwrap_or(challenge);
            let text =
                text.unwrap_or_else(|| format!("the CA calls it {:?}", authorization.status).to_lowercase());
            State::Failed(FailedName { name: name.clone(), challenge: Some(by), text })
        }
    }
}

fn result(session: &Session, proofs: Vec<Proof>) -> Result<Vec<(Arc<str>, Challenge)>, Failure> {
    let (mut valid, mut failed, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for proof in proofs {
        match proof.state {
            State::Valid(challenge) => valid.push((proof.name, challenge)),
            State::Failed(name) => failed.push(name),
            State::Open => open.push(proof.name),
        }
    }
    if !failed.is_empty() {
        return Err(problem::of_names(failed));
    }
    if open.is_empty() {
        return Ok(valid);
    }
    let text = format!(
        "{}: it has not decided on {} within {} s",
        session.authority(),
        open.join(", "),
        VALIDATION.as_secs()
    );
    Err(problem::plain(Kind::Unavailable, &text))
}

fn theirs(challenge: Challenge) -> ChallengeType {
    match challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

fn ours(kind: &ChallengeType) -> Option<Challenge> {
    match kind {
        ChallengeType::Http01 => Some(Challenge::Http01),
        ChallengeType::TlsAlpn01 => Some(Challenge::TlsAlpn01),
        _ => None,
    }
}
