//! porchd(8) names every subcommand and every option of the command line.

use super::text_of;

const PAGE: &str = "packaging/man/porchd.8";

#[test]
fn every_subcommand_and_option_is_told() {
    let page = text_of(PAGE);
    let mut missing = Vec::new();
    for command in porchd::cli::command().get_subcommands() {
        told(&page, &[], command, &mut missing);
    }
    assert!(missing.is_empty(), "{PAGE} does not tell of: {}", missing.join(", "));
}

/// Each command has an item of its own, `.It Cm certs renew ...`, up to the next one of these.
fn told(page: &str, above: &[&str], command: &clap::Command, missing: &mut Vec<String>) {
    let path = [above, &[command.get_name()]].concat();
    let item = format!(".It Cm {}", path.join(" "));
    let mut lines = page.lines().skip_while(|line| *line != item && !line.starts_with(&format!("{item} ")));
    let Some(first) = lines.next() else {
        missing.push(path.join(" "));
        return;
    };
    let text: Vec<_> =
        std::iter::once(first).chain(lines.take_while(|line| !line.starts_with(".It Cm "))).collect();
    let text = text.join("\n");
    for option in command.get_arguments() {
        let long = option.get_long().map(|name| (format!("--{name}"), format!("Fl -{name}")));
        let short = option.get_short().map(|name| (format!("-{name}"), format!("Fl {name}")));
        for (name, set) in long.into_iter().chain(short) {
            let ends =
                |rest: &str| !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '-');
            if !text.match_indices(&set).any(|(at, _)| ends(&text[at + set.len()..])) {
                missing.push(format!("{} {name}", path.join(" ")));
            }
        }
    }
    for inner in command.get_subcommands() {
        told(page, &path, inner, missing);
    }
}
