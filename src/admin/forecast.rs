//! What a request that is to be forwarded would meet right now, in a sentence and as facts.

use std::time::Duration;

use crate::acme::moment::Moment;
use crate::admin::explanation::Answered;
use crate::admin::status::{Presence, Why};
use crate::config::model::park::IN_LONG_OUTAGES;
use crate::incidents::told;

/// How an upstream stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is there.
    pub presence: Presence,
    /// Since when.
    pub since: Option<Moment>,
    /// Why it is not there.
    pub cause: Option<Why>,
    /// So many requests wait for it.
    pub waiting: u64,
}

/// A request and what it would meet.
#[derive(Debug)]
pub struct Case<'a> {
    /// The upstream's name.
    pub upstream: &'a str,
    /// How it stands; `None`: that is not known here.
    pub standing: Option<Standing>,
    /// Whether it is a question of CORS, which the edge answers while the upstream is away.
    pub preflight: bool,
    /// How long it may wait; zero: it does not.
    pub budget: Duration,
    /// After so long an outage nobody waits long.
    pub outage: Duration,
    /// So many may wait at a time.
    pub most: u64,
    /// The status and the reason of a request that can't be sent.
    pub refused: (u16, &'static str),
    /// When.
    pub now: Moment,
}

/// What it would meet.
pub fn of(case: &Case<'_>) -> Answered {
    let Some(standing) = &case.standing else {
        let text = format!("{} is asked; whether it is there was not asked", case.upstream);
        return Answered { by: "unknown".into(), status: None, why: None, waits_ms: None, text };
    };
    match standing.presence {
        Presence::Away => away(case, standing),
        presence => {
            let how = match presence {
                Presence::Unknown => "was not heard of yet",
                Presence::Slow => "is slow",
                Presence::Up | Presence::Away => "is up",
            };
            let since = since(standing, case.now);
            let text = format!("{} {how}{since}: it is asked at once", case.upstream);
            Answered { by: "home".into(), status: None, why: None, waits_ms: None, text }
        }
    }
}

fn away(case: &Case<'_>, standing: &Standing) -> Answered {
    let why = standing.cause.as_ref().map_or(String::new(), |cause| format!(" ({})", cause.text));
    let begin = format!("{} is away{}{why}", case.upstream, since(standing, case.now));
    let (status, token) = case.refused;
    let refused = |text: String| Answered {
        by: "edge".into(),
        status: Some(status),
        why: Some(token.to_owned()),
        waits_ms: None,
        text,
    };
    if case.preflight {
        let text = format!("{begin}: porchd answers this question of CORS itself");
        return Answered { by: "edge".into(), status: Some(204), why: None, waits_ms: None, text };
    }
    if case.budget.is_zero() {
        return refused(format!("{begin}: this request would be answered {status} at once"));
    }
    if standing.waiting >= case.most {
        let text = format!("{begin}, and all {} places to wait in are taken: {status} at once", case.most);
        return refused(text);
    }
    let age = standing.since.map_or(Duration::ZERO, |since| case.now.since(since));
    let long = age > case.outage && case.budget > IN_LONG_OUTAGES;
    let waits = if long { IN_LONG_OUTAGES } else { case.budget };
    let waits_ms = u64::try_from(waits.as_millis()).unwrap_or(u64::MAX);
    let after = if long { ", since the outage is long" } else { "" };
    let span = told::span(waits_ms);
    let text = format!("{begin}: this request would wait up to {span}{after}, then be answered {status}");
    Answered { by: "home".into(), waits_ms: Some(waits_ms), ..refused(text) }
}

/// Since when: the time of today, or the date too.
fn since(standing: &Standing, now: Moment) -> String {
    let Some(since) = standing.since else { return String::new() };
    let (since, now) = (since.to_string(), now.to_string());
    let (day, time) = since.split_once('T').unwrap_or((&since, ""));
    let time = time.get(..5).unwrap_or_default();
    if now.starts_with(day) { format!(" since {time} UTC") } else { format!(" since {day} {time} UTC") }
}
