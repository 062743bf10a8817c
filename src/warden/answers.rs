//! What an edge is answered: nothing that its configuration does not name.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use zeroize::Zeroize;

use crate::clock;
use crate::os::folder::{self, Folder};
use crate::os::parcel::{self, Parcel};
use crate::provision::calls::{Answer, Call, Duty, Fault, MOST_OF_CALL, Reply, VERSION};
use crate::provision::inventory::Inventory;
use crate::provision::{Provision, ProvisionError};
use crate::warden::holdings::Holdings;
use crate::warden::member::{Member, Named};

/// Whoever asks has asked whole, and takes the answer whole. A taken-over edge can hold the warden up so long, twice.
const PATIENCE: Duration = Duration::from_secs(5);
/// More sockets than any machine has cores.
const MOST_COPIES: usize = 1024;

/// What answers.
pub struct Answers<'a> {
    /// Acts.
    pub provision: &'a mut dyn Provision,
    /// What is held for all edges.
    pub holdings: &'a mut Holdings,
    /// What the edge is there for.
    pub duty: Duty,
    /// The number of the next configuration.
    pub next_number: &'a mut u64,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// It was answered.
    Answered,
    /// It was answered, and the configuration that was asked for is in force there, or refused.
    Settled,
    /// Nobody is there to ask any more.
    Ended,
}

/// An answer and what goes with it.
struct Handed {
    answer: Answer,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Handed {
    fn plain(answer: Answer) -> Self {
        Self { answer, bytes: Vec::new(), descriptors: Vec::new() }
    }

    fn bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::plain(Answer::File) }
    }

    fn descriptor(answer: Answer, descriptor: impl Into<OwnedFd>) -> Self {
        Self { descriptors: vec![descriptor.into()], ..Self::plain(answer) }
    }
}

impl Answers<'_> {
    /// Reads one call of `member` and answers it.
    ///
    /// # Errors
    /// What is no call, or nobody takes the answer: the edge is not what it should be.
    pub fn answer(&mut self, member: &mut Member) -> std::io::Result<Called> {
        let Some(socket) = member.calls.take() else { return Ok(Called::Ended) };
        let deadline = clock::now() + PATIENCE;
        let Some(Parcel { head, .. }) = parcel::receive(&socket, MOST_OF_CALL, deadline)? else {
            return Ok(Called::Ended);
        };
        let call: Call = serde_json::from_slice(&head)?;
        let handed = self.act(&call, member);
        let warnings = self.provision.warnings();
        let (answer, mut bytes, descriptors) = match handed {
            Ok(Handed { answer, bytes, descriptors }) => (Ok(answer), bytes, descriptors),
            Err(error) => (Err(Fault::from(&error)), Vec::new(), Vec::new()),
        };
        let settled = matches!(call, Call::Settled { .. }) && answer.is_ok();
        let head = serde_json::to_vec(&Reply { answer, warnings })?;
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        // What was done may have taken long: a firewall's program that hangs, a disk that is slow.
        let sent = parcel::send(&socket, &head, &bytes, &borrowed, clock::now() + PATIENCE);
        // They may be a key.
        bytes.zeroize();
        sent?;
        member.calls = Some(socket);
        Ok(if settled { Called::Settled } else { Called::Answered })
    }

    fn act(&mut self, call: &Call, member: &mut Member) -> Result<Handed, ProvisionError> {
        match *call {
            Call::Tunnel { of } => {
                let link = &inventory(member, of)?.home_link;
                let reading = self.provision.tunnel(link.wireguard.as_ref().ok_or_else(not_named)?)?;
                Ok(Handed::plain(Answer::Tunnel(reading)))
            }
            Call::Home { of, which, ref step } => {
                let link = &inventory(member, of)?.home_link;
                let address = link.address.as_ref().ok_or_else(not_named)?;
                Ok(Handed::plain(Answer::Home(self.provision.home_address(address, which, step))))
            }
            Call::Hello { version } => self.hello(version, member),
            Call::Configuration => self.configuration(member),
            Call::Settled { in_force } => {
                let asked = member.asked.take();
                if in_force {
                    member.in_force = asked.or(member.in_force.take());
                }
                Ok(Handed::plain(Answer::Done))
            }
            Call::Listen { of, address, copies } => {
                let addr = *place(&inventory(member, of)?.addresses, address)?;
                let copies = copies.clamp(1, MOST_COPIES);
                let sockets = self.holdings.listen(member.id, addr, copies, self.provision)?;
                let descriptors = sockets.into_iter().map(OwnedFd::from).collect();
                Ok(Handed { descriptors, ..Handed::plain(Answer::Listening) })
            }
            Call::Pair { of, pair } => {
                let (cert, key) = place(&inventory(member, of)?.pairs, pair)?;
                let mut pair = self.provision.key_pair(cert, key)?;
                let mut bytes = std::mem::take(&mut pair.cert);
                let cert = bytes.len();
                bytes.reserve_exact(pair.key.len());
                bytes.extend_from_slice(&pair.key);
                pair.key.zeroize();
                Ok(Handed { bytes, ..Handed::plain(Answer::Pair { cert }) })
            }
            Call::Log { of, log } => {
                let file = self.provision.log_file(place(&inventory(member, of)?.logs, log)?)?;
                Ok(Handed::descriptor(Answer::File, file))
            }
            Call::Public { of, file } => {
                let path = place(&inventory(member, of)?.public, file)?;
                self.provision.public_file(path).map(Handed::bytes)
            }
            Call::Secret { of, file } => {
                let path = place(&inventory(member, of)?.secrets, file)?;
                self.provision.secret_file(path).map(Handed::bytes)
            }
            Call::State { of } => {
                let path = inventory(member, of)?.state.as_deref().ok_or_else(not_named)?;
                // Made and given to the edge's user it is in any case.
                let folder = self.provision.state_folder(path)?;
                Ok(Handed { descriptors: passed(folder, folder::IS_PASSED), ..Handed::plain(Answer::Folder) })
            }
            Call::Socket { of, held } => {
                let path = inventory(member, of)?.socket.as_deref().ok_or_else(not_named)?;
                let socket = self.holdings.control_socket(path, held, self.provision)?;
                let descriptors = socket.into_iter().map(OwnedFd::from).collect();
                Ok(Handed { descriptors, ..Handed::plain(Answer::Socket) })
            }
        }
    }

    fn hello(&self, version: u32, member: &mut Member) -> Result<Handed, ProvisionError> {
        if version != VERSION {
            let text = format!("version {version} of what edges speak is not known, only version {VERSION}");
            return Err(ProvisionError::Warden { source: std::io::Error::other(text) });
        }
        let orders = member.theirs.take().ok_or_else(not_named)?;
        Ok(Handed::descriptor(Answer::Duty(self.duty.clone()), orders))
    }

    fn configuration(&mut self, member: &mut Member) -> Result<Handed, ProvisionError> {
        let text = member.first.take().map_or_else(|| self.provision.configuration(), Ok)?;
        // What is wrong with it is told by the edge; it can ask for nothing then.
        let inventory = Inventory::of_text(&text, &self.duty.configuration);
        let number = *self.next_number;
        *self.next_number += 1;
        let bytes = text.clone().into_bytes();
        member.asked = Some(Named { number, inventory, text });
        Ok(Handed { bytes, ..Handed::plain(Answer::Configuration { number }) })
    }
}

/// What of a folder goes beside the answer: its descriptor, where folders are passed.
fn passed(folder: Folder, is_passed: bool) -> Vec<OwnedFd> {
    is_passed.then(|| folder.into()).into_iter().collect()
}

fn inventory(member: &Member, number: u64) -> Result<&Inventory, ProvisionError> {
    member.named(number).map(|named| &named.inventory).ok_or_else(not_named)
}

fn place<T>(named: &[T], place: usize) -> Result<&T, ProvisionError> {
    named.get(place).ok_or_else(not_named)
}

fn not_named() -> ProvisionError {
    ProvisionError::Warden { source: std::io::Error::other("the configuration does not name it") }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::thread;

    use super::*;
    use crate::provision::from_warden::FromWarden;

    /// Answers an edge that asks for its folder, and passes no folder.
    fn answer(socket: &UnixStream, path: &Path) {
        let deadline = clock::now() + PATIENCE;
        for _ in 0..3 {
            let asked = parcel::receive(socket, MOST_OF_CALL, deadline).unwrap().unwrap();
            let text = format!(
                "state_dir: {}\nsites: [ {{ hosts: [ a.test ], routes: [ {{ path: /, respond: {{ status: 404 }} }} ] }} ]\n",
                path.display()
            );
            let handed = match serde_json::from_slice(&asked.head).unwrap() {
                Call::Hello { .. } => {
                    let configuration = String::from("porchd.yaml");
                    let duty = Duty { leads: true, confine: false, configuration };
                    Handed::descriptor(Answer::Duty(duty), UnixStream::pair().unwrap().0)
                }
                Call::Configuration => {
                    let answer = Answer::Configuration { number: 1 };
                    Handed { bytes: text.into_bytes(), ..Handed::plain(answer) }
                }
                Call::State { .. } => {
                    let folder = Folder::make(path).unwrap();
                    Handed { descriptors: passed(folder, false), ..Handed::plain(Answer::Folder) }
                }
                call => unreachable!("{call:?}"),
            };
            let head =
                serde_json::to_vec(&Reply { answer: Ok(handed.answer), warnings: Vec::new() }).unwrap();
            let descriptors: Vec<_> = handed.descriptors.iter().map(AsFd::as_fd).collect();
            parcel::send(socket, &head, &handed.bytes, &descriptors, deadline).unwrap();
        }
    }

    #[test]
    fn folder_that_is_not_passed_is_opened_by_the_edge() {
        let path = std::env::temp_dir().join(format!("porchd-answers-{:x}", clock::random()));
        let (warden, edge) = UnixStream::pair().unwrap();
        let answering = path.clone();
        let answering = thread::spawn(move || answer(&warden, &answering));
        let (mut provision, _, _orders) = FromWarden::meet(edge).unwrap();
        provision.configuration().unwrap();
        provision.state_folder(&path).unwrap().write("file", b"x").unwrap();
        answering.join().unwrap();
        assert_eq!(fs::read(path.join("file")).unwrap(), b"x");
        assert_eq!(passed(Folder::open(&path).unwrap(), true).len(), 1);
        fs::remove_dir_all(&path).unwrap();
    }
}
