//! The command line: one file per subcommand. Arguments in, exit status out.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::running::Running;
use crate::warden::member;
use crate::warden::trial::{self, Understood};

pub mod certs;
pub mod check;
mod columns;
pub mod demo;
mod edge;
pub mod explain;
pub mod incidents;
mod output;
pub mod reload;
pub mod run;
pub mod running;
pub mod schema;
mod stand_in;
pub mod status;
pub mod upgrade;

/// Where the configuration is when nobody says otherwise.
pub const DEFAULT_FILE: &str = "/etc/porchd/porchd.yaml";

/// The front porch of a Matrix homeserver that lives at home.
#[derive(Parser)]
#[command(name = "porchd", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve, in the foreground, until SIGTERM. SIGHUP reloads, SIGUSR1 opens the logs again, SIGUSR2 upgrades.
    Run {
        /// The configuration.
        #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
        file: PathBuf,
        #[command(flatten)]
        manner: run::Manner,
    },
    /// Validate the configuration and warn of what is risky; exit 0 or 1.
    Check {
        /// The configuration.
        #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
        file: PathBuf,
        /// Print the effective configuration: every default, and what a preset made.
        #[arg(long)]
        expand: bool,
        /// Do not ask the homeserver whether it answers.
        #[arg(long)]
        offline: bool,
    },
    /// Have the running porchd take the new configuration; print what changed, or every error and exit 1.
    Reload {
        #[command(flatten)]
        running: Running,
    },
    /// Have the binary on disk take over from the running porchd without a dropped connection.
    Upgrade {
        #[command(flatten)]
        running: Running,
    },
    /// Show how all stands: home, who waits, what is asked, certificates, the last reload, the last incidents.
    Status {
        #[command(flatten)]
        running: Running,
        #[command(flatten)]
        status: status::Arguments,
    },
    /// Show when home was away, why, and what became of the requests that came meanwhile.
    Incidents {
        #[command(flatten)]
        running: Running,
        #[command(flatten)]
        incidents: incidents::Arguments,
    },
    /// Say what would become of a request: who takes it, how it is forwarded, what is answered right now.
    Explain {
        #[command(flatten)]
        running: Running,
        #[command(flatten)]
        explain: explain::Arguments,
    },
    /// Show the certificates of the running porchd, renew or revoke them.
    Certs {
        #[command(flatten)]
        running: Running,
        #[command(flatten)]
        certs: certs::Arguments,
    },
    /// Print a JSON Schema of the configuration, for editors.
    Schema,
    /// Try porchd: own CA, free ports, a stand-in home inside. Needs nothing, touches nothing.
    Demo {
        /// First port to try for https; the others follow.
        #[arg(long, default_value_t = 10443)]
        port: u16,
    },
    /// Print the version.
    Version,
}

/// The definitions of the command line, for shell completions and for what holds the manual to them.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    main_with(|| {})
}

/// The same; `inside` is called in an edge once it serves, confined. For programs that try what it can do there.
pub fn main_with(inside: fn()) -> ExitCode {
    // What the warden starts is named, and told nothing on its command line.
    match std::env::args_os().next().as_deref().and_then(|name| name.to_str()) {
        Some(member::TITLE) => return edge::run(inside),
        Some(trial::TRIAL) => return output::print(&running::as_json(&Understood::own(std::io::stdin()))),
        _ => {}
    }
    match Arguments::parse().command {
        Command::Run { file, manner } => run::run(&file, &manner),
        Command::Check { file, expand, offline } => check::run(&file, expand, offline),
        Command::Reload { running } => reload::run(&running),
        Command::Upgrade { running } => upgrade::run(&running),
        Command::Status { running, status } => status::run(&running, &status),
        Command::Incidents { running, incidents } => incidents::run(&running, &incidents),
        Command::Explain { running, explain } => explain::run(&running, &explain),
        Command::Certs { running, certs } => certs::run(&running, certs),
        Command::Schema => schema::run(),
        Command::Demo { port } => demo::run(port),
        Command::Version => output::print(concat!("porchd ", env!("CARGO_PKG_VERSION"), "\n")),
    }
}
