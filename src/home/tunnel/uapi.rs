//! WireGuard as a program (wireguard-go): lines of text on a unix socket, as its cross-platform interface has them.
//!
//! An answer has the interface's secret keys too. They are skipped, and what came is forgotten.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use socket2::{Domain, SockAddr, Socket, Type};

use super::peer::{Fault, KEY, MOST, Peer, moment};
use super::{ROOM, left};

/// Where such programs listen.
const FOLDER: &str = "/var/run/wireguard";

/// The socket of `interface`.
pub(super) fn path(interface: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{interface}.sock"))
}

/// The peers as whoever listens at `path` tells them; `Ok(None)`: nobody does.
pub(super) fn peers(path: &Path, until: Instant) -> Result<Option<Vec<Peer>>, Fault> {
    let answer = ask(path, "get=1\n\n", until)?;
    answer.map(|answer| parse(&answer)).transpose()
}

/// Gives a peer that is there another endpoint; `Ok(None)`: nobody listens at `path`.
pub(super) fn set_endpoint(
    path: &Path,
    key: &[u8; KEY],
    endpoint: SocketAddr,
    until: Instant,
) -> Result<Option<()>, Fault> {
    let Some(answer) = ask(path, &request(key, endpoint), until)? else { return Ok(None) };
    parse(&answer).map(|_| Some(()))
}

fn request(key: &[u8; KEY], endpoint: SocketAddr) -> String {
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("set=1\npublic_key={key}\nupdate_only=true\nendpoint={endpoint}\n\n")
}

/// One question and its answer, which ends with an empty line.
fn ask(path: &Path, question: &str, until: Instant) -> Result<Option<Vec<u8>>, Fault> {
    let address = SockAddr::unix(path)?;
    let mut socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match socket.connect_timeout(&address, left(until)?) {
        Ok(()) => {}
        // It has ended and left its socket behind, or never was.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    }
    socket.set_write_timeout(Some(left(until)?))?;
    socket.write_all(question.as_bytes())?;
    let (mut answer, mut piece) = (Vec::new(), [0; 8192]);
    while !answer.ends_with(b"\n\n") {
        socket.set_read_timeout(Some(left(until)?))?;
        let length = socket.read(&mut piece)?;
        if length == 0 || answer.len() + length > ROOM {
            return Err(Fault::Garbled);
        }
        answer.extend(&piece[..length]);
    }
    Ok(Some(answer))
}

/// The peers that an answer names.
///
/// # Errors
/// What the answer says against the question; `Garbled` when it is none.
pub fn parse(answer: &[u8]) -> Result<Vec<Peer>, Fault> {
    let text = std::str::from_utf8(answer).map_err(|_| Fault::Garbled)?;
    let (mut peers, mut result, mut seconds) = (Vec::new(), None, 0);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once('=').ok_or(Fault::Garbled)?;
        match name {
            "errno" => result = Some(number::<i32>(value)?),
            "public_key" if peers.len() >= MOST => return Err(Fault::Garbled),
            "public_key" => {
                seconds = 0;
                peers.push(Peer::new(key(value)?));
            }
            "last_handshake_time_sec" => seconds = number(value)?,
            _ => {
                if let Some(peer) = peers.last_mut() {
                    fact(peer, name, value, seconds)?;
                }
            }
        }
    }
    match result {
        Some(0) => Ok(peers),
        Some(number) => Err(Fault::Refused(number.saturating_abs())),
        None => Err(Fault::Garbled),
    }
}

/// Takes one line of a peer; what porchd does not use is skipped.
fn fact(peer: &mut Peer, name: &str, value: &str, seconds: i64) -> Result<(), Fault> {
    match name {
        // One of a form that is not known here ([fe80::1%eth0]:51820) is none: the other peers are to be read.
        "endpoint" => peer.endpoint = value.parse().ok(),
        "last_handshake_time_nsec" => peer.handshake = moment(seconds, number(value)?),
        "tx_bytes" => peer.sent = number(value)?,
        "rx_bytes" => peer.received = number(value)?,
        "persistent_keepalive_interval" => {
            peer.keepalive = Some(number(value)?).filter(|seconds| *seconds > 0);
        }
        _ => {}
    }
    Ok(())
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, Fault> {
    value.parse().map_err(|_| Fault::Garbled)
}

/// 32 bytes in hexadecimal digits.
fn key(value: &str) -> Result<[u8; KEY], Fault> {
    let digits = value.as_bytes();
    let mut key = [0; KEY];
    if digits.len() != 2 * KEY {
        return Err(Fault::Garbled);
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(Fault::Garbled);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).map_err(|_| Fault::Garbled)?;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::os::unix::net::UnixListener;
    use std::thread;
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;
    use crate::clock;

    // As wireguard-go answers, with other keys.
    const ANSWER: &str = "private_key=e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a\n\
        listen_port=12912\n\
        public_key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n\
        preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52\n\
        protocol_version=1\nendpoint=192.0.2.10:51820\nlast_handshake_time_sec=1795874531\n\
        last_handshake_time_nsec=250000000\ntx_bytes=38333\nrx_bytes=2224\npersistent_keepalive_interval=25\n\
        allowed_ip=10.77.0.2/32\n\
        public_key=646566676869706b6c6d6e6f707172737475767778797a7b7c7d7e7f80818283\n\
        endpoint=[2001:db8::1]:51821\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=148\n\
        rx_bytes=0\npersistent_keepalive_interval=0\nsomething_new=1\nerrno=0\n\n";

    /// A socket that goes away with its test, and says `answer` to the first question.
    struct Program {
        path: PathBuf,
        asked: Option<thread::JoinHandle<String>>,
    }

    impl Program {
        fn new(answer: &'static str) -> Self {
            let path = std::env::temp_dir().join(format!("porchd-wg-{:x}", clock::random()));
            let listener = UnixListener::bind(&path).unwrap();
            let asked = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut lines = std::io::BufReader::new(stream.try_clone().unwrap()).lines();
                let question: Vec<String> =
                    lines.by_ref().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
                stream.write_all(answer.as_bytes()).unwrap();
                question.join("\n")
            });
            Self { path, asked: Some(asked) }
        }

        fn asked(&mut self) -> String {
            self.asked.take().unwrap().join().unwrap()
        }
    }

    impl Drop for Program {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn soon() -> Instant {
        clock::now() + Duration::from_secs(10)
    }

    #[test]
    fn peers_are_read_from_a_program() {
        let mut program = Program::new(ANSWER);
        let peers = peers(&program.path, soon()).unwrap().unwrap();
        assert_eq!(program.asked(), "get=1");
        let [home, silent] = &*peers else { panic!("{peers:?}") };
        let wanted = Peer {
            key: std::array::from_fn(|at| at as u8),
            handshake: Some(UNIX_EPOCH + Duration::from_millis(1_795_874_531_250)),
            endpoint: Some("192.0.2.10:51820".parse().unwrap()),
            received: 2_224,
            sent: 38_333,
            keepalive: Some(25),
        };
        assert_eq!(*home, wanted);
        let wanted = Peer {
            endpoint: Some("[2001:db8::1]:51821".parse().unwrap()),
            sent: 148,
            ..Peer::new(silent.key)
        };
        assert_eq!(*silent, wanted);
    }

    #[test]
    fn only_the_endpoint_of_a_peer_that_is_there_is_changed() {
        let mut program = Program::new("errno=0\n\n");
        let key = std::array::from_fn(|at| at as u8);
        let done = set_endpoint(&program.path, &key, "[2001:db8::7]:51820".parse().unwrap(), soon());
        assert!(matches!(done, Ok(Some(()))), "{done:?}");
        let wanted = "set=1\npublic_key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n\
                      update_only=true\nendpoint=[2001:db8::7]:51820";
        assert_eq!(program.asked(), wanted);
    }

    #[test]
    fn nobody_there_is_not_an_error() {
        let path = std::env::temp_dir().join(format!("porchd-wg-{:x}", clock::random()));
        assert!(matches!(peers(&path, soon()), Ok(None)));
        drop(UnixListener::bind(&path).unwrap());
        assert!(matches!(peers(&path, soon()), Ok(None)));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_program_that_hangs_is_not_waited_for() {
        // Its queue has room, and it never accepts.
        let path = std::env::temp_dir().join(format!("porchd-wg-{:x}", clock::random()));
        let listener = UnixListener::bind(&path).unwrap();
        let fault = peers(&path, clock::now() + Duration::from_millis(50)).unwrap_err();
        let late = |fault: &Fault| match fault {
            Fault::Io(error) => error.kind() == ErrorKind::TimedOut,
            Fault::Refused(number) => *number == libc::EAGAIN,
            Fault::Garbled => false,
        };
        assert!(late(&fault), "{fault:?}");
        let fault = peers(&path, clock::now()).unwrap_err();
        assert!(late(&fault), "{fault:?}");
        drop(listener);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn an_endpoint_with_a_scope_is_none_and_the_rest_is_read() {
        let answer = ANSWER.replace("192.0.2.10:51820", "[fe80::1%eth0]:51820");
        let (found, known) = (parse(answer.as_bytes()).unwrap(), parse(ANSWER.as_bytes()).unwrap());
        assert_eq!(found[0].endpoint, None);
        assert_eq!((found[0].sent, found[1].endpoint), (known[0].sent, known[1].endpoint));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for (answer, wanted) in [
            ("errno=-22\n\n", Some(22)),
            ("errno=22\n\n", Some(22)),
            ("errno=x\n\n", None),
            ("listen_port=1\n\n", None),
            ("endpoint\nerrno=0\n\n", None),
            ("public_key=00\nerrno=0\n\n", None),
            ("\n\n", None),
        ] {
            match (parse(answer.as_bytes()), wanted) {
                (Err(Fault::Refused(number)), Some(wanted)) => assert_eq!(number, wanted),
                (Err(Fault::Garbled), None) => {}
                (found, _) => panic!("{answer:?}: {found:?}"),
            }
        }
        let mut cut = Program::new("errno=0\n");
        assert!(matches!(peers(&cut.path, soon()), Err(Fault::Garbled)));
        cut.asked();
        let many = format!("{}errno=0\n\n", format!("public_key={}\n", "00".repeat(KEY)).repeat(MOST + 1));
        assert!(matches!(parse(many.as_bytes()), Err(Fault::Garbled)));
    }

    proptest! {
        #[test]
        fn no_answer_is_feared(answer in prop::collection::vec(any::<u8>(), 0..200), at in 0..ANSWER.len(), byte: u8) {
            let _ = parse(&answer);
            let mut damaged = ANSWER.as_bytes().to_vec();
            damaged[at] = byte;
            let _ = parse(&damaged);
        }
    }
}
