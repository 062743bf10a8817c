//! `porchd certs`: shows the certificates of the running porchd, renews and revokes them.

mod table;

use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Subcommand};

use crate::acme::moment::Moment;
use crate::acme::status::Reason;
use crate::admin::protocol::{Answer, Question, Which};
use crate::cli::output;
use crate::cli::running::{self, Running};
use crate::clock;

/// What is wanted.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print the list as JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Order a certificate now, whatever its age. Waits after failures end; the CA's limits hold.
    #[command(group(ArgGroup::new("which").args(["name", "all"]).required(true)))]
    Renew {
        /// The site, or one of its hosts.
        name: Option<String>,
        /// All certificates that porchd orders.
        #[arg(long)]
        all: bool,
        /// Wait for the outcome; without it the command ends when the order is queued.
        #[arg(long)]
        wait: bool,
    },
    /// Revoke a certificate at its CA. Nobody can take that back.
    Revoke {
        /// The site, or one of its hosts.
        name: String,
        /// Why.
        #[arg(long, default_value = Reason::Unspecified.word(), value_parser = reasons())]
        reason: Reason,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}

fn reasons() -> impl TypedValueParser<Value = Reason> {
    let named = |word: String| Reason::ALL.into_iter().find(|reason| reason.word() == word);
    PossibleValuesParser::new(Reason::ALL.map(Reason::word))
        .try_map(move |word| named(word).ok_or("no such reason"))
}

/// Shows them, or does what is asked; exit status 1 when that was refused.
pub fn run(running: &Running, arguments: Arguments) -> ExitCode {
    let Some(act) = arguments.act else { return show(running, arguments.json) };
    if arguments.json {
        output::complain("--json is for the list alone: `porchd certs --json`\n");
        return ExitCode::FAILURE;
    }
    match act {
        Act::Revoke { name, yes: false, .. } => {
            output::complain(&unconfirmed(&name));
            ExitCode::FAILURE
        }
        Act::Revoke { name, reason, yes: true } => {
            let nothing = format!("{name}: revoked\n");
            running.ask(&Question::Revoke { name, reason }, |answer| running::tell_done(answer, &nothing))
        }
        Act::Renew { name, wait, .. } => {
            let which = name.map_or(Which::All, Which::Name);
            let nothing = if wait { "renewed\n" } else { "queued; `porchd certs` shows what comes of it\n" };
            running.ask(&Question::Renew { which, wait }, |answer| running::tell_done(answer, nothing))
        }
    }
}

fn show(running: &Running, json: bool) -> ExitCode {
    running.ask(&Question::Certs, |answer| {
        let list = match answer {
            Answer::Certificates(list) => list,
            other => return running::tell_done(other, ""),
        };
        output::print(&if json {
            running::as_json(&list)
        } else {
            table::of(&list, Moment::of(clock::wall()))
        })
    })
}

fn unconfirmed(name: &str) -> String {
    format!(
        "revoking the certificate of {name} cannot be taken back: clients that check refuse it from then on. \
         Say --yes if that is meant. To replace it, `porchd certs renew {name}` is enough\n"
    )
}
