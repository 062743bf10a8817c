//! What an explanation says of a route, of a fault, and of the head that is sent on.

use crate::admin::explanation::Action as Shown;
use crate::config::model::route::Action;
use crate::http::fault::Fault;
use crate::matrix::secrets;

/// What the operator did to have it refused.
pub(super) fn reason(fault: Fault) -> &'static str {
    match fault {
        Fault::UnknownHost => "no site of this listener has that host",
        Fault::NoRoute => "no route names that path",
        Fault::Denied => "the route denies it, or guards what the path may also mean",
        Fault::AddressDenied => "the access list does not let that address in",
        Fault::MethodRefused => "that method is never let through",
        _ => "porchd refuses it",
    }
}

/// Headers as they are written in books, with no secret of the target.
pub(super) fn shown_line(line: &str) -> String {
    match line.split_once(": ") {
        Some((name, value)) if !name.contains(' ') => {
            let words: Vec<String> = name.split('-').map(capital).collect();
            format!("{}: {value}", words.join("-"))
        }
        _ => {
            let parts: Vec<_> = line.split(' ').map(|part| secrets::redact(part)).collect();
            parts.join(" ")
        }
    }
}

fn capital(word: &str) -> String {
    match word {
        "id" => String::from("ID"),
        _ => {
            let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
            first.to_ascii_uppercase() + rest
        }
    }
}

pub(super) fn action(action: &Action) -> Shown {
    let does = match action {
        Action::WellKnown(_) => "well-known",
        Action::Forward(_) => "forward",
        Action::Redirect(_) => "redirect",
        Action::Respond(_) => "respond",
        Action::Deny => "deny",
        Action::Files(_) => "files",
    };
    Shown { does: does.to_owned(), with: with(action) }
}

pub(super) fn with(action: &Action) -> String {
    match action {
        Action::WellKnown(_) | Action::Deny => String::new(),
        Action::Forward(forward) => forward.upstream.to_string(),
        Action::Redirect(to) if to.keep_path => format!("{} with the path and query", to.to),
        Action::Redirect(to) => to.to.to_string(),
        Action::Respond(fixed) => fixed.status.as_u16().to_string(),
        Action::Files(folder) => folder.root.display().to_string(),
    }
}
