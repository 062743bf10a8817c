//! What would become of a request, as a person reads it: 80 columns, one fact a row.

use crate::admin::explanation::{Action, Explanation, Forwarded, Heard, Rate};
use crate::cli::columns::paragraph;
use crate::cli::running::printable;
use crate::incidents::told;

/// All of it.
pub(super) fn of(told: &Explanation) -> String {
    // A URL and a head are for copying: they are not broken into lines.
    let mut page = Page(printable(&format!("{} {}", told.method, told.url)) + "\n");
    page.row("from", &told.from.to_string());
    if let Some(listener) = &told.listener {
        page.row("listener", &heard(listener));
    }
    page.row("site", told.site.as_deref().unwrap_or_default());
    page.row("route", told.route.as_deref().unwrap_or_default());
    if let Some(action) = &told.action {
        page.row("action", &acts(action, told.forward.as_ref()));
    }
    page.row("class", &class(told));
    if let Some(rate) = &told.rate {
        page.row("limit", &limit(rate));
    }
    if let Some(forward) = &told.forward {
        page.row("waits", &waits(forward));
        page.row("again", again(forward));
        let head = told::span(forward.head_timeout_ms);
        page.row("timeout", &format!("{head} until its answer begins"));
        for (at, line) in forward.head.iter().enumerate() {
            let label = if at == 0 { "sent as" } else { "" };
            page.0 += &printable(&format!("  {label:<LABEL$}{line}\n"));
        }
    }
    let status = told.answer.status.filter(|_| told.answer.waits_ms.is_none());
    let status = status.map_or(String::new(), |status| format!("{status}, "));
    page.row("answer", &format!("{status}{}", told.answer.text));
    page.0
}

/// The text so far.
struct Page(String);

impl Page {
    /// A line with a label, and more lines below it where the text is long.
    fn row(&mut self, label: &str, text: &str) {
        if !text.is_empty() {
            self.0 += &paragraph(&format!("  {label:<LABEL$}{text}"), LABEL + 2, LABEL + 2);
        }
    }
}

/// Columns of a label with the blanks behind it.
const LABEL: usize = 10;

fn heard(listener: &Heard) -> String {
    let speaks = if listener.tls { "TLS" } else { "plain HTTP" };
    let here =
        if listener.port_matches { "" } else { "; not on that port: something in front must lead there" };
    format!("{} on {}, {speaks}{here}", listener.name, listener.addresses.join(", "))
}

fn acts(action: &Action, forward: Option<&Forwarded>) -> String {
    let with = |before: &str| format!("{}{before}{}", action.does, action.with);
    match (forward, &*action.does) {
        (Some(forward), _) => format!("{} ({})", with(" to "), forward.backends.join(", ")),
        (None, "forward" | "redirect") => with(" to "),
        (None, "respond") => with(" with "),
        (None, "files") => with(" of "),
        (None, _) => action.does.clone(),
    }
}

fn class(told: &Explanation) -> String {
    let form = if told.matrix { "errors of porchd are JSON with CORS" } else { "errors of porchd are pages" };
    format!("{}; {form}", told.class)
}

fn limit(rate: &Rate) -> String {
    let every = told::span(rate.every_ms);
    format!("{} at once from one address, then one every {every}; else 429", rate.burst)
}

fn waits(forward: &Forwarded) -> String {
    match forward.park_ms {
        0 => format!("not at all while {} is away", forward.upstream),
        span => format!("up to {} while {} is away", told::span(span), forward.upstream),
    }
}

fn again(forward: &Forwarded) -> &'static str {
    if forward.sent_again {
        "may be sent again when a connection breaks before an answer"
    } else {
        "is never sent twice"
    }
}
