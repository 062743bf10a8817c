//! The edge: what the warden starts in place of a command. It meets the warden on its standard input, confines
//! itself, and serves.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use crate::cli::run::fail;
use crate::os::waiting;
use crate::provision::ProvisionError;
use crate::provision::calls::Note;
use crate::provision::from_warden::FromWarden;
use crate::supervisor;

/// What a terminal, a service manager or an operator sends to the whole porchd: the warden hears it, and says what
/// the edge shall do.
const IGNORED: [i32; 5] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2];

/// Serves until the warden tells it to end. `inside` is called once it serves, confined; for tests of that.
pub(super) fn run(inside: fn()) -> ExitCode {
    // A signal that can't be ignored is one that ends it: it is said with the rest.
    let _ = waiting::ignore(&IGNORED);
    let met = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let met = met.map_err(|source| ProvisionError::Warden { source }).and_then(FromWarden::meet);
    let (provision, duty, orders) = match met {
        Ok(met) => met,
        Err(error) => return fail(&format!("an edge is started by porchd alone: {error}")),
    };
    let notes = orders.try_clone();
    match supervisor::start(Box::new(provision), supervisor::Options::edge(orders, duty.leads)) {
        Ok(running) => {
            inside();
            running.wait()
        }
        Err(error) => {
            let why = error.to_string();
            if let Ok(notes) = notes {
                tell(&notes, &why);
            }
            fail(&why)
        }
    }
}

/// Tells the warden, who tells whoever asked for an upgrade.
fn tell(notes: &UnixStream, why: &str) {
    use std::io::Write;
    let mut line = serde_json::to_vec(&Note::Failed(why.to_owned())).unwrap_or_default();
    line.push(b'\n');
    let mut notes = notes;
    // Standard error has it all the same.
    let _ = notes.write_all(&line);
}
