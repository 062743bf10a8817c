//! Any bytes as what name servers and WireGuard answer: no panic, never more than was asked for, and an answer that does
//! not know the question's number is nobody's.

#![no_main]

use house::home::address::Family;
use house::home::message::{Heard, Question};
use house::home::tunnel::message::Answer;
use house::home::tunnel::{uapi, wg_io};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    match which % 4 {
        0 => name_server(bytes),
        1 => drop(uapi::parse(bytes)),
        2 => drop(wg_io::peers(bytes)),
        _ => netlink(bytes),
    }
});

fn name_server(bytes: &[u8]) {
    for family in [Family::V4, Family::V6] {
        let id = bytes.get(..2).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
        let question = Question::new(id, "home.example.com", family).expect("a name");
        match question.judge(bytes) {
            Heard::Answer(Ok(addresses)) => {
                assert!(addresses.iter().all(|one| one.is_ipv4() == (family == Family::V4)));
                // With another number it is foreign.
                let mut other = bytes.to_vec();
                other[0] ^= 1;
                assert!(matches!(question.judge(&other), Heard::Foreign));
            }
            Heard::Answer(Err(_)) | Heard::Foreign | Heard::Truncated => {}
        }
        // What is asked is no answer to it.
        let own = question.bytes().expect("a question");
        assert!(matches!(question.judge(&own), Heard::Foreign));
    }
}

/// The same datagrams give the same peers however often they are told.
fn netlink(bytes: &[u8]) {
    let told = || {
        let mut answer = Answer::default();
        let ended = bytes.chunks(512).map(|part| answer.take(part, 1)).find(|one| !matches!(one, Ok(false)));
        (format!("{ended:?}"), answer.peers.len(), answer.family)
    };
    assert_eq!(told(), told());
}
