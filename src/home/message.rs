//! Questions to a nameserver and its answers, as bytes. Pure; the bytes are the library's, what they mean is decided here.

use std::io::ErrorKind;
use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

use crate::home::address::Family;

/// Most names that lead from one to the next.
const MOST_ALIASES: usize = 8;

/// Why nothing was learned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The nameserver itself was not found.
    #[error("the name of the nameserver does not resolve")]
    Unresolved,
    /// It can't be reached.
    #[error("the nameserver cannot be reached: {0}")]
    Unreachable(ErrorKind),
    /// It does not answer.
    #[error("the nameserver does not answer")]
    Silent,
    /// What it says is no answer.
    #[error("what the nameserver says makes no sense")]
    Garbled,
    /// It says that there is no such name.
    #[error("the nameserver says that there is no such name (NXDOMAIN)")]
    NoSuchName,
    /// It has a fault of its own.
    #[error("the nameserver has a fault of its own (SERVFAIL)")]
    Failing,
    /// It does not answer this.
    #[error("the nameserver does not answer this (REFUSED), as one without authority over the name does")]
    Refused,
    /// It says something else.
    #[error("the nameserver says no: {0}")]
    Code(ResponseCode),
    /// There is no address.
    #[error("the name has no address")]
    Empty,
    /// The name is another one, of which this nameserver has no address.
    #[error("the name leads to {0}, of which this nameserver has no address")]
    Alias(String),
    /// It can't be home's.
    #[error("{address} is not believed: it is {why}")]
    Unwanted {
        /// The address.
        address: IpAddr,
        /// What it is.
        why: &'static str,
    },
    /// A crowd.
    #[error("{0} addresses are more than one home has")]
    TooMany(usize),
    /// No two answers are equal.
    #[error("the nameserver answers otherwise each time")]
    Unsteady,
}

/// What a datagram, or a message over TCP, turns out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Not the answer to this question.
    Foreign,
    /// The answer, but for what did not fit: to be asked for over TCP.
    Truncated,
    /// The answer.
    Answer(Result<Vec<IpAddr>, Fault>),
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    id: u16,
    query: Query,
}

impl Question {
    /// For the addresses of `name`. `None`: no question can hold this name.
    pub fn new(id: u16, name: &str, family: Family) -> Option<Self> {
        let mut name = Name::from_ascii(name).ok()?;
        name.set_fqdn(true);
        let record = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        Some(Self { id, query: Query::query(name, record) })
    }

    /// As it is sent. `None`: it can't be written.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let mut message = Message::new(self.id, MessageType::Query, OpCode::Query);
        // One with authority does not care; of a cache that was named by mistake it makes an answer.
        message.metadata.recursion_desired = true;
        message.add_query(self.query.clone());
        message.to_vec().ok()
    }

    /// What `bytes` are to this question.
    pub fn judge(&self, bytes: &[u8]) -> Heard {
        // Who does not know the number can't speak for the nameserver: such bytes are not even a fault.
        if bytes.get(..2) != Some(&self.id.to_be_bytes()[..]) {
            return Heard::Foreign;
        }
        let Ok(message) = Message::from_vec(bytes) else { return Heard::Answer(Err(Fault::Garbled)) };
        let head = message.metadata;
        let answers = head.message_type == MessageType::Response && head.op_code == OpCode::Query;
        match &message.queries[..] {
            [query] if answers && self.is_asked_by(query) => {}
            // RFC 1035 leaves a nameserver that understood nothing the way out to repeat nothing.
            [] if answers && head.response_code != ResponseCode::NoError => {}
            _ => return Heard::Foreign,
        }
        if head.truncation {
            return Heard::Truncated;
        }
        Heard::Answer(match head.response_code {
            ResponseCode::NoError => self.addresses(&message),
            ResponseCode::NXDomain => Err(Fault::NoSuchName),
            ResponseCode::ServFail => Err(Fault::Failing),
            ResponseCode::Refused => Err(Fault::Refused),
            code => Err(Fault::Code(code)),
        })
    }

    fn is_asked_by(&self, query: &Query) -> bool {
        // Names are equal whatever their case (RFC 4343).
        let Query { name, query_type, query_class, .. } = query;
        *name == self.query.name && *query_type == self.query.query_type && *query_class == DNSClass::IN
    }

    fn addresses(&self, message: &Message) -> Result<Vec<IpAddr>, Fault> {
        let mut name = &self.query.name;
        for _ in 0..=MOST_ALIASES {
            let own =
                || message.answers.iter().filter(|one| one.name == *name && one.dns_class == DNSClass::IN);
            let found: Vec<IpAddr> = own().filter_map(|one| self.address(&one.data)).collect();
            if !found.is_empty() {
                return Ok(found);
            }
            let alias = own().find_map(|one| match &one.data {
                RData::CNAME(alias) => Some(&alias.0),
                _ => None,
            });
            match alias {
                Some(alias) => name = alias,
                None if *name == self.query.name => return Err(Fault::Empty),
                None => return Err(Fault::Alias(name.to_ascii())),
            }
        }
        Err(Fault::Garbled)
    }

    fn address(&self, data: &RData) -> Option<IpAddr> {
        match data {
            RData::A(ip) if self.query.query_type == RecordType::A => Some(ip.0.into()),
            RData::AAAA(ip) if self.query.query_type == RecordType::AAAA => Some(ip.0.into()),
            _ => None,
        }
    }
}
