//! Incidents in sentences, for the log and for whoever looks: each sentence is a whole story.

use crate::incidents::record::{Cause, End, Incident, Requests};

/// That it began, such as `home is away: connection refused`.
pub fn began(incident: &Incident) -> String {
    let how = if incident.is_slowness() { "slow" } else { "away" };
    let cause = incident.causes.first().map_or("nobody knows why", |cause| &cause.text);
    format!("{} is {how}: {cause}", incident.upstream)
}

/// That it is over, why it was, and what became of the requests that came.
pub fn ended(incident: &Incident) -> String {
    if incident.is_move() {
        return causes(&incident.causes);
    }
    let Incident { upstream, lasted_ms, .. } = incident;
    let how = if incident.is_slowness() { "slow" } else { "away" };
    let span = span(*lasted_ms);
    let over = match incident.end {
        End::Lasts => format!("{upstream} is {how} for {span}"),
        End::Back if incident.is_slowness() => format!("{upstream} is as fast as ever after {span}"),
        End::Back => format!("{upstream} is back after {span}"),
        End::Restart => format!("{upstream} was {how} for {span} when porchd ended, and then nobody looked"),
        End::Removed => format!("{upstream} was {how} for {span} and is configured no more"),
    };
    format!("{over} ({}): {}", causes(&incident.causes), requests(&incident.requests))
}

/// Its causes in their order, such as `connection refused, then no answer in time`.
pub fn causes(causes: &[Cause]) -> String {
    let mut texts: Vec<&str> = causes.iter().map(|cause| cause.text.as_str()).collect();
    texts.dedup();
    match &*texts {
        [] => String::from("nobody knows why"),
        [first, between @ .., last] if between.len() > 2 => {
            format!("{first}, then {} more, at last {last}", between.len())
        }
        texts => texts.join(", then "),
    }
}

/// What became of them.
pub fn requests(requests: &Requests) -> String {
    let Requests { parked, delivered, failed, left, longest_wait_ms } = *requests;
    if parked == 0 && failed == 0 {
        return String::from("no request waited");
    }
    let mut text = match parked {
        1 => String::from("1 request waited"),
        _ => format!("{parked} requests waited"),
    };
    text += &format!(", {delivered} delivered, {failed} failed");
    if left > 0 {
        text += &format!(", {left} given up by who asked");
    }
    if longest_wait_ms > 0 {
        text += &format!(", longest wait {}", exact(longest_wait_ms));
    }
    text
}

/// A time of so many milliseconds as people say it: `0.4 s`, `43 s`, `12 min 5 s`, `3 h 20 min`, `2 d 4 h`.
pub fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..10 if !ms.is_multiple_of(1000) => exact(ms),
        0..120 => format!("{seconds} s"),
        120..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..172_800 => two(seconds / 3_600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

fn two(many: u64, unit: &str, few: u64, smaller: &str) -> String {
    if few == 0 { format!("{many} {unit}") } else { format!("{many} {unit} {few} {smaller}") }
}

/// To a tenth of a second below two minutes.
pub fn exact(ms: u64) -> String {
    match ms {
        0..120_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => span(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::moment::Moment;

    fn incident(causes: &[&str]) -> Incident {
        let at = Moment::parse("2026-11-28T14:02:11Z").unwrap();
        let cause =
            |text: &&str| Cause { at, token: String::from(*text), text: format!("the cause is {text}") };
        Incident {
            id: 1,
            upstream: "home".into(),
            began: at,
            ended: None,
            end: End::Lasts,
            lasted_ms: 43_200,
            causes: causes.iter().map(cause).collect(),
            requests: Requests::default(),
        }
    }

    #[test]
    fn a_sentence_is_a_whole_story() {
        let mut away = incident(&["a"]);
        away.causes[0].text = "connection refused".into();
        assert_eq!(began(&away), "home is away: connection refused");
        away.end = End::Back;
        assert_eq!(ended(&away), "home is back after 43 s (connection refused): no request waited");
        away.causes.push(Cause { text: "no answer in time".into(), ..away.causes[0].clone() });
        away.requests = Requests { parked: 132, delivered: 130, failed: 2, left: 0, longest_wait_ms: 41_234 };
        assert_eq!(
            ended(&away),
            "home is back after 43 s (connection refused, then no answer in time): 132 requests waited, \
             130 delivered, 2 failed, longest wait 41.2 s"
        );
        away.requests.left = 1;
        assert!(ended(&away).contains(", 1 given up by who asked, longest"), "{}", ended(&away));
        away.end = End::Restart;
        assert!(
            ended(&away).starts_with("home was away for 43 s when porchd ended, and then nobody looked (")
        );
    }

    #[test]
    fn a_move_is_not_called_absence() {
        let mut moved = incident(&["moved"]);
        moved.end = End::Back;
        moved.causes[0].text = "home moved from 5.9.1.1 to 5.9.1.2".into();
        assert_eq!(ended(&moved), "home moved from 5.9.1.1 to 5.9.1.2");
    }

    #[test]
    fn slowness_is_not_called_absence() {
        let mut slow = incident(&["slow"]);
        assert_eq!(began(&slow), "home is slow: the cause is slow");
        slow.end = End::Back;
        assert!(ended(&slow).starts_with("home is as fast as ever after 43 s ("));
        let grown = incident(&["slow", "refused"]);
        assert!(began(&grown).starts_with("home is away: "));
    }

    #[test]
    fn many_causes_are_cut_short() {
        let texts = |few: &[&str]| causes(&incident(few).causes).replace("the cause is ", "");
        assert_eq!(texts(&["a", "a", "b"]), "a, then b");
        assert_eq!(texts(&["a", "b", "c", "d"]), "a, then b, then c, then d");
        assert_eq!(texts(&["a", "b", "c", "d", "e"]), "a, then 3 more, at last e");
    }

    #[test]
    fn spans_are_said_in_two_units_at_most() {
        for (ms, text) in [
            (0, "0 s"),
            (420, "0.4 s"),
            (3_000, "3 s"),
            (43_900, "43 s"),
            (119_999, "119 s"),
            (725_000, "12 min 5 s"),
            (3_600_000, "1 h"),
            (12_000_000, "3 h 20 min"),
            (187_200_000, "2 d 4 h"),
        ] {
            assert_eq!(span(ms), text, "{ms}");
        }
        assert_eq!(exact(41_234), "41.2 s");
    }
}
