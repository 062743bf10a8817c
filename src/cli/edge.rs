//! The edge: what the warden starts in place of a command. It meets the warden on its standard input, confines
//! itself, and serves.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use crate::cli::run::fail;
use crate::config;
use crate::os::confine::{self, Held};
use crate::os::waiting;
use crate::provision::calls::{self, Note};
use crate::provision::from_warden::FromWarden;
use crate::provision::{Provision, ProvisionError, walls};
use crate::supervisor;
use crate::supervisor::refusal::Refusal;

/// What a terminal, a service manager or an operator sends to the whole porchd: the warden hears it, and says what
/// the edge shall do.
const IGNORED: [i32; 5] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2];

/// Serves until the warden tells it to end. `inside` is called once it serves, confined; for tests of that.
pub(super) fn run(inside: fn()) -> ExitCode {
    // A signal that can't be ignored is one that ends it: it is said with the rest.
    let _ = waiting::ignore(&IGNORED);
    let met = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let met = met.map_err(|source| ProvisionError::Warden { source }).and_then(FromWarden::meet);
    let (mut provision, duty, orders) = match met {
        Ok(met) => met,
        Err(error) => return fail(&format!("an edge is started by porchd alone: {error}")),
    };
    let notes = orders.try_clone();
    let started = confine(&mut provision, duty.confine).and_then(|held| {
        let options = supervisor::Options::edge(orders, duty.leads, held);
        supervisor::start(Box::new(provision), options).map_err(|error| error.to_string())
    });
    match started {
        Ok(running) => {
            inside();
            running.wait()
        }
        Err(why) => {
            if let Ok(notes) = notes {
                tell(&notes, &why);
            }
            fail(&why)
        }
    }
}

/// Puts the walls up around what the configuration needs; they are what no reload can widen.
fn confine(provision: &mut FromWarden, confine: bool) -> Result<Option<Held>, String> {
    if !confine {
        return Ok(None);
    }
    let name = provision.configuration_name();
    let text = provision.configuration_ahead().map_err(|error| Refusal::Unreadable(error).to_string())?;
    // What is wrong with it is told by the one who it is for, in a moment; then nothing is served.
    let Ok(loaded) = config::load(text, &name) else { return Ok(None) };
    // A folder that is made later is beyond the walls.
    provision.state_folder(&loaded.config.state_dir).map_err(|error| error.to_string())?;
    let wanted = walls::wanted(&loaded.config);
    confine::edge(&walls::around(&wanted)).map(Some).map_err(|error| error.to_string())
}

/// Tells the warden, who tells whoever asked for an upgrade. A file with many errors makes a long text, of which the
/// begin is enough there: standard error has all of it.
fn tell(mut notes: &UnixStream, why: &str) {
    let note = Note::Failed(why.chars().take(MOST_TOLD).collect());
    if let Ok(line) = calls::line(&note) {
        let _ = notes.write_all(&line);
    }
}

/// Characters; written as JSON they fit into a line.
const MOST_TOLD: usize = 8_000;
