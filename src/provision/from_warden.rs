//! `Provision` by asking the warden: what an edge has in place of privileges.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::clock;
use crate::config::model::home::{Address, WireGuard};
use crate::home::tunnel::Reading;
use crate::home::update::{Outcome, Step, UpdateError};
use crate::os::folder::Folder;
use crate::os::parcel::{self, Parcel};
use crate::provision::calls::{Answer, Call, Duty, MOST_OF_REPLY, Reply, VERSION};
use crate::provision::inventory::Inventory;
use crate::provision::{PemPair, Provision, ProvisionError, ProvisionWarning};

/// The warden answers at once; a slow disk may hold it up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A configuration and what it names.
#[derive(Debug)]
struct Named {
    number: u64,
    inventory: Inventory,
}

/// The warden, seen from the edge.
#[derive(Debug)]
pub struct FromWarden {
    socket: UnixStream,
    /// Answers that came too late for whoever had asked, and are still to come.
    owed: usize,
    patience: Duration,
    configuration: String,
    // Text that was asked for before the one who it is for asks.
    ahead: Option<String>,
    // The one that was asked for last, until it is in force or refused.
    asked: Option<Named>,
    in_force: Option<Named>,
    warnings: Vec<ProvisionWarning>,
}

impl FromWarden {
    /// Meets the warden at the other end of `socket`; with what this edge is there for, and the socket of orders.
    ///
    /// # Errors
    /// When nobody is there, or speaks another version.
    pub fn meet(socket: UnixStream) -> Result<(Self, Duty, UnixStream), ProvisionError> {
        let (asked, in_force) = (None, None);
        let (configuration, ahead, warnings) = (String::new(), None, Vec::new());
        let mut met =
            Self { socket, owed: 0, patience: PATIENCE, configuration, ahead, asked, in_force, warnings };
        let (answer, mut parcel) = met.call(&Call::Hello { version: VERSION })?;
        match (answer, parcel.descriptors.pop()) {
            (Answer::Duty(duty), Some(orders)) => {
                met.configuration.clone_from(&duty.configuration);
                Ok((met, duty, orders.into()))
            }
            _ => Err(misunderstood()),
        }
    }

    /// The configuration's text ahead of whoever asks for it next, who gets the same.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn configuration_ahead(&mut self) -> Result<&str, ProvisionError> {
        let text = self.configuration()?;
        Ok(self.ahead.insert(text))
    }

    fn call(&mut self, call: &Call) -> Result<(Answer, Parcel), ProvisionError> {
        let (reply, parcel) = self.exchange(call).map_err(|source| ProvisionError::Warden { source })?;
        for warning in reply.warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        Ok((reply.answer?, parcel))
    }

    fn exchange(&mut self, call: &Call) -> io::Result<(Reply, Parcel)> {
        let deadline = clock::now() + self.patience;
        let said = self.ask(call, deadline);
        let is_whole =
            |error: &io::Error| matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::QuotaExceeded);
        if said.as_ref().is_err_and(|error| !is_whole(error)) {
            // Cut in the midst of a message, nothing that follows could be told apart.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
        let parcel = said?;
        Ok((serde_json::from_slice(&parcel.head)?, parcel))
    }

    /// Asks; `TimedOut`: not answered yet.
    fn ask(&mut self, call: &Call, deadline: Instant) -> io::Result<Parcel> {
        while self.owed > 0 {
            self.receive(deadline)?;
        }
        let late = |error: io::Error| io::Error::new(ErrorKind::BrokenPipe, error);
        parcel::send(&self.socket, &serde_json::to_vec(call)?, &[], &[], deadline).map_err(late)?;
        self.owed += 1;
        self.receive(deadline)
    }

    fn receive(&mut self, deadline: Instant) -> io::Result<Parcel> {
        let received = parcel::receive(&self.socket, MOST_OF_REPLY, deadline);
        if !received.as_ref().is_err_and(|error| error.kind() == ErrorKind::TimedOut) {
            self.owed -= 1;
        }
        received?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    /// Calls for the thing at a place that `find` finds in the inventory.
    fn named<T>(
        &mut self,
        find: impl FnOnce(&Inventory) -> Option<T>,
        call: impl FnOnce(u64, T) -> Call,
    ) -> Result<(Answer, Parcel), ProvisionError> {
        let named = self.asked.as_ref().or(self.in_force.as_ref());
        let found = named.and_then(|named| Some((named.number, find(&named.inventory)?)));
        let Some((of, thing)) = found else {
            let source = io::Error::other("what is asked for is not in the configuration");
            return Err(ProvisionError::Warden { source });
        };
        self.call(&call(of, thing))
    }

    fn bytes(&mut self, found: Result<(Answer, Parcel), ProvisionError>) -> Result<Vec<u8>, ProvisionError> {
        match found? {
            (Answer::File, parcel) => Ok(parcel.bytes),
            _ => Err(misunderstood()),
        }
    }
}

impl Provision for FromWarden {
    fn configuration(&mut self) -> Result<String, ProvisionError> {
        if let Some(text) = self.ahead.take() {
            return Ok(text);
        }
        let (Answer::Configuration { number }, parcel) = self.call(&Call::Configuration)? else {
            return Err(misunderstood());
        };
        let text = String::from_utf8(parcel.bytes).map_err(|_| misunderstood())?;
        // What is wrong with it is told by whoever asked; nothing can be asked for then.
        let inventory = Inventory::of_text(&text, &self.configuration);
        self.asked = Some(Named { number, inventory });
        Ok(text)
    }

    fn configuration_name(&self) -> String {
        self.configuration.clone()
    }

    fn listen(&mut self, addr: SocketAddr, copies: usize) -> Result<Vec<TcpListener>, ProvisionError> {
        let find = |inventory: &Inventory| inventory.address(addr);
        match self.named(find, |of, address| Call::Listen { of, address, copies })? {
            (Answer::Listening, parcel) if !parcel.descriptors.is_empty() => {
                Ok(parcel.descriptors.into_iter().map(TcpListener::from).collect())
            }
            _ => Err(misunderstood()),
        }
    }

    fn key_pair(&mut self, cert: &Path, key: &Path) -> Result<PemPair, ProvisionError> {
        let find = |inventory: &Inventory| inventory.pair(cert, key);
        match self.named(find, |of, pair| Call::Pair { of, pair })? {
            (Answer::Pair { cert }, mut parcel) if cert <= parcel.bytes.len() => {
                let key = parcel.bytes.split_off(cert);
                Ok(PemPair { cert: parcel.bytes, key })
            }
            _ => Err(misunderstood()),
        }
    }

    fn log_file(&mut self, path: &Path) -> Result<File, ProvisionError> {
        let find = |inventory: &Inventory| inventory.log(path);
        let (answer, parcel) = self.named(find, |of, log| Call::Log { of, log })?;
        one(answer == Answer::File, parcel).map(File::from)
    }

    fn public_file(&mut self, path: &Path) -> Result<Vec<u8>, ProvisionError> {
        let find = |inventory: &Inventory| inventory.public(path);
        let found = self.named(find, |of, file| Call::Public { of, file });
        self.bytes(found)
    }

    fn secret_file(&mut self, path: &Path) -> Result<Vec<u8>, ProvisionError> {
        let find = |inventory: &Inventory| inventory.secret(path);
        let found = self.named(find, |of, file| Call::Secret { of, file });
        self.bytes(found)
    }

    fn state_folder(&mut self, path: &Path) -> Result<Folder, ProvisionError> {
        let find = |inventory: &Inventory| (inventory.state.as_deref() == Some(path)).then_some(());
        match self.named(find, |of, ()| Call::State { of })? {
            (Answer::Folder, mut parcel) => match parcel.descriptors.pop() {
                Some(folder) => Ok(Folder::held(folder, path)),
                // Where folders are not passed. It was made, and is this user's to open.
                None => Folder::open(path)
                    .map_err(|source| ProvisionError::StateFolder { path: path.to_owned(), source }),
            },
            _ => Err(misunderstood()),
        }
    }

    fn control_socket(&mut self, path: &Path, held: bool) -> Result<Option<UnixListener>, ProvisionError> {
        let find = |inventory: &Inventory| (inventory.socket.as_deref() == Some(path)).then_some(());
        match self.named(find, |of, ()| Call::Socket { of, held })? {
            (Answer::Socket, mut parcel) => Ok(parcel.descriptors.pop().map(UnixListener::from)),
            _ => Err(misunderstood()),
        }
    }

    fn tunnel(&mut self, wireguard: &WireGuard) -> Result<Reading, ProvisionError> {
        let find =
            |inventory: &Inventory| (inventory.home_link.wireguard.as_ref() == Some(wireguard)).then_some(());
        match self.named(find, |of, ()| Call::Tunnel { of })? {
            (Answer::Tunnel(reading), _) => Ok(reading),
            _ => Err(misunderstood()),
        }
    }

    fn home_address(&mut self, address: &Address, which: usize, step: &Step) -> Result<Outcome, UpdateError> {
        let find =
            |inventory: &Inventory| (inventory.home_link.address.as_ref() == Some(address)).then_some(());
        let answer = self.named(find, |of, ()| Call::Home { of, which, step: step.clone() });
        match answer {
            Ok((Answer::Home(outcome), _)) => outcome,
            Ok(_) => Err(unasked(&misunderstood())),
            Err(error) => Err(unasked(&error)),
        }
    }

    fn settled(&mut self, in_force: bool) {
        let asked = self.asked.take();
        if in_force && asked.is_some() {
            self.in_force = asked;
        }
        if let Err(error) = self.call(&Call::Settled { in_force }) {
            tracing::error!("the warden does not know which configuration is in force: {error}");
        }
    }

    fn warnings(&mut self) -> Vec<ProvisionWarning> {
        std::mem::take(&mut self.warnings)
    }
}

fn one(expected: bool, mut parcel: Parcel) -> Result<OwnedFd, ProvisionError> {
    parcel.descriptors.pop().filter(|_| expected).ok_or_else(misunderstood)
}

fn unasked(error: &ProvisionError) -> UpdateError {
    UpdateError::NotRun { program: String::from("the warden"), why: error.to_string() }
}

fn misunderstood() -> ProvisionError {
    ProvisionError::Warden { source: io::Error::new(ErrorKind::Unsupported, "it answers something else") }
}

#[cfg(test)]
mod tests {
    use crate::provision::calls::MOST_OF_CALL;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn edge() -> (FromWarden, UnixStream) {
        let (socket, warden) = UnixStream::pair().unwrap();
        let (configuration, warnings) = (String::new(), Vec::new());
        let (patience, owed) = (Duration::from_millis(1), 0);
        let (ahead, asked, in_force) = (None, None, None);
        (FromWarden { socket, owed, patience, configuration, ahead, asked, in_force, warnings }, warden)
    }

    fn reads(warden: &UnixStream) -> Call {
        let parcel = parcel::receive(warden, MOST_OF_CALL, clock::now() + SOON).unwrap().unwrap();
        serde_json::from_slice(&parcel.head).unwrap()
    }

    fn answers(warden: &UnixStream, answer: Answer, bytes: &[u8]) {
        let reply = serde_json::to_vec(&Reply { answer: Ok(answer), warnings: Vec::new() }).unwrap();
        parcel::send(warden, &reply, bytes, &[], clock::now() + SOON).unwrap();
    }

    #[test]
    fn answer_that_is_late_is_not_taken_for_the_next_one() {
        let (mut edge, warden) = edge();
        assert!(edge.configuration().is_err(), "nobody answers");
        assert_eq!(reads(&warden), Call::Configuration);
        answers(&warden, Answer::Configuration { number: 1 }, b"late");
        answers(&warden, Answer::Configuration { number: 2 }, b"in time");
        edge.patience = SOON;
        assert_eq!(edge.configuration().unwrap(), "in time");
        assert_eq!(edge.asked.as_ref().map(|asked| asked.number), Some(2));
    }

    #[test]
    fn nothing_is_asked_after_an_answer_that_was_cut() {
        use std::io::Write;

        let (mut edge, mut warden) = edge();
        warden.write_all(&[1, 0, 0]).unwrap();
        assert!(edge.configuration().is_err());
        assert_eq!(reads(&warden), Call::Configuration);
        assert!(
            parcel::receive(&warden, MOST_OF_CALL, clock::now() + SOON).unwrap().is_none(),
            "it has closed"
        );
        assert!(edge.configuration().is_err());
    }
}
