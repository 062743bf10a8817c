//! `porchd incidents`: when home was away, why, and what became of the requests that came meanwhile.
//!
//! Without a porchd that runs it reads the state folder itself.

mod table;

use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;

use crate::acme::moment::Moment;
use crate::admin::protocol::{Answer, Question};
use crate::cli::output;
use crate::cli::running::{self, Running, Unanswered};
use crate::clock;
use crate::config::scalar::quantity::Time;
use crate::incidents::journal::Journal;
use crate::incidents::keeper;
use crate::incidents::record::Incident;
use crate::os::disk_fault;
use crate::os::folder::Folder;

/// What is wanted.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only what lasted within this time, such as 24h or 7d.
    #[arg(long, value_name = "TIME")]
    since: Option<Time>,
    /// Print the list as JSON.
    #[arg(long)]
    json: bool,
}

/// Shows them.
pub fn run(running: &Running, arguments: &Arguments) -> ExitCode {
    let wall = clock::wall();
    let since = arguments.since.map(|time| Moment::of(wall).before(time.0));
    let incidents = match running.answer(&Question::Incidents { since }) {
        Ok(Answer::Incidents(incidents)) => incidents,
        Ok(_) => return running::another_answer(),
        Err(unanswered) => match from_disk(running, &unanswered, wall) {
            Ok(incidents) => within(incidents, since),
            Err(status) => return status,
        },
    };
    output::print(&if arguments.json {
        running::as_json(&incidents)
    } else {
        table::of(&incidents, arguments.since.map(|time| time.to_string()).as_deref())
    })
}

/// What the state folder has, where no porchd runs. What can't be read is told.
fn from_disk(
    running: &Running,
    unanswered: &Unanswered,
    wall: SystemTime,
) -> Result<Vec<Incident>, ExitCode> {
    if !unanswered.nobody_runs() {
        return Err(unanswered.complain());
    }
    let Ok(config) = running.configuration() else { return Err(unanswered.complain()) };
    let path = &config.state_dir;
    let read = Folder::open(path)
        .map_err(|error| format!("{}: {}", path.display(), disk_fault::reason(&error)))
        .and_then(|folder| keeper::read(&folder).map_err(|error| error.to_string()));
    match read {
        Ok(kept) => {
            let text = format!("no porchd answers: this is what {} remembers\n", path.display());
            output::complain(&running::printable(&text));
            // What lasted when porchd ended is told as the next start will see it.
            Ok(Journal::restore(kept, wall).0.all().cloned().collect())
        }
        Err(error) => {
            unanswered.complain();
            output::complain(&running::printable(&format!("{error}\n")));
            Err(ExitCode::FAILURE)
        }
    }
}

fn within(mut incidents: Vec<Incident>, since: Option<Moment>) -> Vec<Incident> {
    if let Some(since) = since {
        incidents.retain(|incident| incident.is_within(since));
    }
    incidents
}
