//! One edge as the warden has it: its process, the two sockets, what it may ask for.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::os::children::{self, ProcessId};
use crate::os::users::User;
use crate::provision::calls::{self, LONGEST_LINE, Note, Order};
use crate::provision::inventory::Inventory;
use crate::warden::plan::EdgeId;

/// What an edge is called in the list of processes.
pub const TITLE: &str = "porchd: edge";

/// A configuration that was handed out, and what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its number.
    pub number: u64,
    /// What may be asked for.
    pub inventory: Inventory,
    /// Its text.
    pub text: String,
}

/// An edge.
#[derive(Debug)]
pub struct Member {
    /// Which.
    pub id: EdgeId,
    /// Its process.
    pub process: ProcessId,
    /// Where it asks; `None`: it has closed it.
    pub calls: Option<UnixStream>,
    /// Where it is told, and tells.
    pub orders: UnixStream,
    /// The other end of that, until the edge has said hello.
    pub theirs: Option<UnixStream>,
    /// What it has told and is no whole line yet.
    pub heard: Vec<u8>,
    /// The text with which it begins, if not with the file of now.
    pub first: Option<String>,
    /// What it has asked for last and not settled.
    pub asked: Option<Named>,
    /// What is in force there.
    pub in_force: Option<Named>,
    /// Why it can't serve, as it said.
    pub failed: Option<String>,
    /// Whether it tells nothing any more.
    pub gone: bool,
}

/// How an edge is started.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The binary.
    pub program: &'a Path,
    /// As whom; `None`: as the warden.
    pub user: Option<User>,
}

impl Member {
    /// Starts an edge: fork and exec of `start.program`, with nothing but a socket to ask on.
    ///
    /// # Errors
    /// Those of socketpair(2), fork(2) and execve(2).
    pub fn start(id: EdgeId, start: Start<'_>, first: Option<String>) -> io::Result<Self> {
        let (calls, asking) = UnixStream::pair()?;
        let (orders, theirs) = UnixStream::pair()?;
        orders.set_nonblocking(true)?;
        let mut command = Command::new(start.program);
        command.arg0(TITLE).current_dir("/").stdin(Stdio::from(OwnedFd::from(asking))).env_clear();
        if let Some(backtrace) = std::env::var_os("RUST_BACKTRACE") {
            command.env("RUST_BACKTRACE", backtrace);
        }
        if let Some(user) = start.user {
            children::run_as(&mut command, user);
        }
        let child = command.spawn()?;
        let process = ProcessId(child.id().try_into().map_err(|_| ErrorKind::InvalidData)?);
        Ok(Self {
            id,
            process,
            calls: Some(calls),
            orders,
            theirs: Some(theirs),
            heard: Vec::new(),
            first,
            asked: None,
            in_force: None,
            failed: None,
            gone: false,
        })
    }

    /// What may be asked for as of configuration `number`.
    pub fn named(&self, number: u64) -> Option<&Named> {
        self.asked.iter().chain(&self.in_force).find(|named| named.number == number)
    }

    /// Tells it something. It reads when it can; an edge that does not is ended by its deadline.
    ///
    /// # Errors
    /// When it is gone, or does not read.
    pub fn tell(&self, order: &Order) -> io::Result<()> {
        (&self.orders).write_all(&calls::line(order)?)
    }

    /// What it has told.
    ///
    /// # Errors
    /// `InvalidData` for what no edge says; `UnexpectedEof`: it is gone.
    pub fn notes(&mut self) -> io::Result<Vec<Note>> {
        let mut bytes = [0; 16 * 1024];
        let mut notes = Vec::new();
        match (&self.orders).read(&mut bytes) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.heard.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        while let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.heard.drain(..=end).collect();
            notes.push(serde_json::from_slice(&line).map_err(io::Error::from)?);
        }
        if self.heard.len() > LONGEST_LINE {
            return Err(io::Error::new(ErrorKind::InvalidData, "a note is longer than any may be"));
        }
        Ok(notes)
    }
}
