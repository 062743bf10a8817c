//! Asked of a nameserver that a test plays, over real sockets; and any bytes as an answer.

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use proptest::prelude::*;
use tokio::net::TcpListener;

use super::*;

const NAME: &str = "myhomeip.example.com";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// The answer to `question` with these records, each of an owner.
fn answer(question: &[u8], records: &[(&str, RData)]) -> Message {
    let mut message = Message::from_vec(question).unwrap();
    message.metadata.message_type = MessageType::Response;
    for (owner, data) in records {
        message.add_answer(Record::from_rdata(name(owner), 60, data.clone()));
    }
    message
}

fn a(text: &str) -> RData {
    RData::A(A(text.parse().unwrap()))
}

/// Plays a nameserver over UDP: `plays` makes its datagrams of each question.
async fn nameserver(plays: impl Fn(&[u8]) -> Vec<Vec<u8>> + 'static) -> SocketAddr {
    serve(UdpSocket::bind("127.0.0.1:0").await.unwrap(), plays)
}

/// The same at `socket`.
fn serve(socket: UdpSocket, plays: impl Fn(&[u8]) -> Vec<Vec<u8>> + 'static) -> SocketAddr {
    let place = socket.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        let mut room = vec![0; 600];
        loop {
            let (read, from) = socket.recv_from(&mut room).await.unwrap();
            for datagram in plays(&room[..read]) {
                socket.send_to(&datagram, from).await.unwrap();
            }
        }
    });
    place
}

async fn asked(place: SocketAddr) -> [Answer; 2] {
    both(&Nameserver::Socket(place), NAME).await
}

async fn in_a_set<T>(work: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(work).await
}

#[tokio::test]
async fn each_family_has_its_answer_and_aliases_are_followed() {
    in_a_set(async {
        let place = nameserver(|question| {
            let asked = Message::from_vec(question).unwrap().queries[0].query_type;
            let records = match asked {
                RecordType::A => vec![
                    (NAME, RData::CNAME(CNAME(name("Box.example.com.")))),
                    ("box.example.com.", a("5.9.1.1")),
                    ("box.example.com.", a("5.9.1.2")),
                    ("other.example.com.", a("5.9.1.3")),
                ],
                _ => vec![(NAME, RData::AAAA(AAAA("2a01:4f8::1".parse().unwrap())))],
            };
            vec![answer(question, &records).to_vec().unwrap()]
        })
        .await;
        let wanted = [Ok(vec![ip("5.9.1.1"), ip("5.9.1.2")]), Ok(vec![ip("2a01:4f8::1")])];
        assert_eq!(asked(place).await, wanted);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_answer_to_the_question_is_passed_over() {
    in_a_set(async {
        let place = nameserver(|question| {
            let right = answer(question, &[(NAME, a("5.9.1.1"))]);
            let mut other_id = answer(question, &[(NAME, a("5.9.1.9"))]);
            other_id.metadata.id ^= 1;
            let mut other_name = answer(question, &[("evil.example.com", a("5.9.1.9"))]);
            other_name.queries[0].set_name(name("evil.example.com."));
            let mut a_question = answer(question, &[(NAME, a("5.9.1.9"))]);
            a_question.metadata.message_type = MessageType::Query;
            let all = [other_id, other_name, a_question, right];
            all.iter().map(|message| message.to_vec().unwrap()).collect()
        })
        .await;
        assert_eq!(asked(place).await[0], Ok(vec![ip("5.9.1.1")]));
    })
    .await;
}

#[tokio::test]
async fn what_a_nameserver_says_instead_of_an_address_is_a_fault() {
    for (code, fault) in [
        (ResponseCode::NXDomain, Fault::NoSuchName),
        (ResponseCode::ServFail, Fault::Failing),
        (ResponseCode::Refused, Fault::Refused),
        (ResponseCode::NotImp, Fault::Code(ResponseCode::NotImp)),
        (ResponseCode::NoError, Fault::Empty),
    ] {
        in_a_set(async {
            let place = nameserver(move |question| {
                let mut message = answer(question, &[]);
                message.metadata.response_code = code;
                vec![message.to_vec().unwrap()]
            })
            .await;
            assert_eq!(asked(place).await, [Err(fault.clone()), Err(fault)]);
        })
        .await;
    }
}

/// Sockets of one port: what is free for the one need not be for the other.
async fn both_kinds() -> (UdpSocket, TcpListener) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
            return (socket, listener);
        }
    }
}

#[tokio::test]
async fn what_does_not_fit_is_asked_for_over_tcp() {
    in_a_set(async {
        let (socket, listener) = both_kinds().await;
        let place = serve(socket, |question| {
            let mut message = answer(question, &[]);
            message.metadata.truncation = true;
            vec![message.to_vec().unwrap()]
        });
        tokio::task::spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let length = stream.read_u16().await.unwrap();
                let mut question = vec![0; length.into()];
                stream.read_exact(&mut question).await.unwrap();
                let bytes = answer(&question, &[(NAME, a("5.9.1.1"))]).to_vec().unwrap();
                stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
            }
        });
        assert_eq!(asked(place).await[0], Ok(vec![ip("5.9.1.1")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn silence_ends_after_a_few_tries() {
    in_a_set(async {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let began = clock::now();
        assert_eq!(asked(silent.local_addr().unwrap()).await, [Err(Fault::Silent), Err(Fault::Silent)]);
        let took = clock::now().saturating_duration_since(began);
        assert_eq!(took.as_secs(), TRIES as u64 * DEADLINE.as_secs());
    })
    .await;
}

#[tokio::test]
async fn a_closed_port_is_told_as_such() {
    in_a_set(async {
        let place = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let refused = Err(Fault::Unreachable(io::ErrorKind::ConnectionRefused));
        assert_eq!(asked(place).await, [refused.clone(), refused]);
    })
    .await;
}

#[test]
fn aliases_that_lead_nowhere_end() {
    let question = Question::new(7, NAME, Family::V4).unwrap();
    let bytes = question.bytes().unwrap();
    let round = answer(&bytes, &[(NAME, RData::CNAME(CNAME(name("MYHOMEIP.example.com."))))]);
    assert_eq!(question.judge(&round.to_vec().unwrap()), Heard::Answer(Err(Fault::Garbled)));
    let out = answer(&bytes, &[(NAME, RData::CNAME(CNAME(name("box.example.net."))))]);
    let fault = Fault::Alias("box.example.net.".into());
    assert_eq!(question.judge(&out.to_vec().unwrap()), Heard::Answer(Err(fault)));
}

proptest! {
    #[test]
    fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..300), keep in any::<bool>()) {
        let question = Question::new(0x1234, NAME, Family::V6).unwrap();
        let mut bytes = bytes;
        if keep && bytes.len() > 2 {
            bytes[..2].copy_from_slice(&[0x12, 0x34]);
        }
        let _ = question.judge(&bytes);
    }

    #[test]
    fn a_damaged_answer_is_judged(at in 2_usize..120, byte in any::<u8>()) {
        let question = Question::new(0x1234, NAME, Family::V4).unwrap();
        let mut bytes = answer(&question.bytes().unwrap(), &[(NAME, a("5.9.1.1"))]).to_vec().unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = question.judge(&bytes);
    }
}
