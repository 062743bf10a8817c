//! Incidents in a table of 80 columns, newest last, times in UTC.

use crate::acme::moment::Moment;
use crate::cli::columns::{cut, paragraph};
use crate::incidents::record::{End, Incident, Requests};
use crate::incidents::told;

/// All of `incidents`; `since` is what was asked for.
pub(super) fn of(incidents: &[Incident], since: Option<&str>) -> String {
    if incidents.is_empty() {
        return match since {
            Some(since) => format!("no incident within {since}\n"),
            None => String::from("no incident yet\n"),
        };
    }
    let head = row("began (UTC)", "lasted", "upstream", ["waited", "delivered", "failed", "longest"]);
    let rows: String = incidents.iter().map(block).collect();
    format!("{head}{rows}")
}

fn block(incident: &Incident) -> String {
    let Requests { parked, delivered, failed, left, longest_wait_ms } = incident.requests;
    let lasted = match incident.end {
        _ if incident.is_move() => String::from("moved"),
        End::Lasts => format!("{} ...", told::span(incident.lasted_ms)),
        End::Back => told::span(incident.lasted_ms),
        End::Restart | End::Removed => format!(">{}", told::span(incident.lasted_ms)),
    };
    let longest = if longest_wait_ms == 0 { String::from("-") } else { told::exact(longest_wait_ms) };
    let counts = [&parked.to_string(), &delivered.to_string(), &failed.to_string(), &*longest];
    let mut text = row(&second(incident.began), &lasted, &incident.upstream, counts);
    for cause in &incident.causes {
        let at = second(cause.at);
        let (began, at) = (second(incident.began), at.as_str());
        // The day is said where it is another one.
        let at = if began.get(..10) == at.get(..10) { at.get(11..).unwrap_or(at) } else { at };
        text += &paragraph(&format!("  {at} {}", cause.text), 2, 11);
    }
    let end = match incident.end {
        End::Lasts => "it lasts",
        End::Back => "",
        End::Restart => "porchd ended meanwhile: when it was over is not known",
        End::Removed => "the configuration names it no more",
    };
    let left = if left > 0 { format!("{left} given up by who asked") } else { String::new() };
    for note in [end, &left].into_iter().filter(|note| !note.is_empty()) {
        text += &paragraph(&format!("  {note}"), 2, 4);
    }
    text
}

fn row(began: &str, lasted: &str, upstream: &str, counts: [&str; 4]) -> String {
    let [waited, delivered, failed, longest] = counts;
    let upstream = cut(upstream, 12);
    format!("{began:<19}  {lasted:<13} {upstream:<12}{waited:>7}{delivered:>10}{failed:>7}{longest:>9}\n")
}

/// To the second, such as `2026-11-23 15:04:05`.
fn second(at: Moment) -> String {
    at.to_string().replace('T', " ").trim_end_matches('Z').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incidents::record::Cause;

    fn at(text: &str) -> Moment {
        Moment::parse(text).unwrap()
    }

    fn incident() -> Incident {
        let cause = |time: &str, token: &str, text: &str| Cause {
            at: at(time),
            token: token.into(),
            text: text.into(),
        };
        Incident {
            id: 7,
            upstream: "home".into(),
            began: at("2026-11-28T23:59:11Z"),
            ended: Some(at("2026-11-29T00:11:16Z")),
            end: End::Back,
            lasted_ms: 725_000,
            causes: vec![
                cause("2026-11-28T23:59:11Z", "refused", "connection refused"),
                cause("2026-11-29T00:03:00Z", "probe-timeout", "no answer in time"),
            ],
            requests: Requests { parked: 132, delivered: 130, failed: 1, left: 1, longest_wait_ms: 41_234 },
        }
    }

    #[test]
    fn changes_of_cause_stand_below() {
        assert_eq!(
            of(&[incident()], None),
            "\
began (UTC)          lasted        upstream     waited delivered failed  longest
2026-11-28 23:59:11  12 min 5 s    home            132       130      1   41.2 s
  23:59:11 connection refused
  2026-11-29 00:03:00 no answer in time
  1 given up by who asked
"
        );
    }

    #[test]
    fn an_end_that_is_not_known_is_not_invented() {
        let mut open = Incident { ended: None, end: End::Lasts, ..incident() };
        assert!(of(&[open.clone()], None).contains("12 min 5 s .."), "{}", of(&[open], None));
        open = Incident { ended: None, end: End::Restart, ..incident() };
        let text = of(&[open], None);
        assert!(text.contains(">12 min 5 s ") && text.contains("porchd ended meanwhile"), "{text}");
    }

    #[test]
    fn a_move_is_one_of_them() {
        let at = incident().began;
        let text = String::from("home moved from 5.9.1.1 to 5.9.1.2");
        let moved = Incident {
            upstream: "myhomeip.example.com".into(),
            ended: Some(at),
            lasted_ms: 0,
            causes: vec![Cause { at, token: "moved".into(), text }],
            requests: Requests::default(),
            ..incident()
        };
        assert_eq!(
            of(&[moved], None).lines().skip(1).collect::<Vec<_>>(),
            [
                "2026-11-28 23:59:11  moved         myhomeip.ex~      0         0      0        -",
                "  23:59:11 home moved from 5.9.1.1 to 5.9.1.2",
            ]
        );
    }

    #[test]
    fn nothing_is_told_too() {
        assert_eq!(of(&[], None), "no incident yet\n");
        assert_eq!(of(&[], Some("7d")), "no incident within 7d\n");
    }

    #[test]
    fn no_line_is_over_80_columns() {
        let mut long = incident();
        long.upstream = "an-upstream-of-a-very-long-name".into();
        long.causes[1].text = "it said a great many words ".repeat(9);
        (long.lasted_ms, long.end) = (2_160_000_000_000, End::Lasts);
        let text = of(&[long], None);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
