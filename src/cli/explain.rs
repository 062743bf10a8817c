//! `porchd explain URL`: what would become of a request.
//!
//! Without a porchd that runs, or where that is asked for, the configuration alone answers.

mod page;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use clap::Args;

use crate::acme::moment::Moment;
use crate::admin::explain::{self, Asked, SOMEBODY, World};
use crate::admin::explanation::Explanation;
use crate::admin::protocol::{Answer, Question};
use crate::cli::output;
use crate::cli::running::{self, Running};
use crate::clock;
use crate::config::model::Config;
use crate::route::Table;

/// What is wanted.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The URL.
    url: String,
    /// The method.
    #[arg(long, value_name = "M", default_value = "GET")]
    method: String,
    /// The client's address.
    #[arg(long, value_name = "ADDRESS", default_value_t = SOMEBODY)]
    from: IpAddr,
    /// Ask the configuration's file, and not the porchd that runs.
    #[arg(long)]
    offline: bool,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// Explains.
pub fn run(running: &Running, arguments: &Arguments) -> ExitCode {
    let told = if arguments.offline { by_file(running, arguments) } else { by_porchd(running, arguments) };
    match told {
        Ok(told) if arguments.json => output::print(&running::as_json(&told)),
        Ok(told) => output::print(&page::of(&told)),
        Err(status) => status,
    }
}

fn by_porchd(running: &Running, arguments: &Arguments) -> Result<Explanation, ExitCode> {
    let Arguments { url, method, from, .. } = arguments;
    let question = Question::Explain { url: url.clone(), method: method.clone(), from: *from };
    match running.answer(&question) {
        Ok(Answer::Explanation(told)) => Ok(*told),
        Ok(_) => Err(running::another_answer()),
        Err(unanswered) if unanswered.nobody_runs() && running.file().exists() => {
            let text = format!("no porchd answers: this is what {} says\n", running.file().display());
            output::complain(&running::printable(&text));
            by_file(running, arguments)
        }
        Err(unanswered) => Err(unanswered.complain()),
    }
}

fn by_file(running: &Running, arguments: &Arguments) -> Result<Explanation, ExitCode> {
    let failed = |text: String| {
        output::complain(&running::printable(&text));
        ExitCode::FAILURE
    };
    let config = running.configuration().map_err(failed)?;
    let world = World {
        config: &config,
        routes: &Table::new(&config),
        addresses: &addresses(&config),
        standing: &|_| None,
        now: Moment::of(clock::wall()),
    };
    let Arguments { url, method, from, .. } = arguments;
    explain::explain(&world, &Asked { url, method, from: *from })
        .map_err(|error| failed(format!("{error}\n")))
}

fn addresses(config: &Config) -> Vec<(String, Vec<SocketAddr>)> {
    let listeners = config.listeners.iter();
    listeners
        .map(|listener| (listener.name.to_string(), listener.binds.iter().map(|bind| bind.addr).collect()))
        .collect()
}
