//! The warden's place is taken by the binary on disk: same process id, same sockets, same edges.
//!
//! What is left are descriptors, and a file without a name that says which is what.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::os::children::ProcessId;
use crate::os::users::User;
use crate::os::waiting::{self, inherited};
use crate::provision::inventory::Inventory;
use crate::warden::holdings::{Address, Control, Holdings};
use crate::warden::member::{Member, Named};
use crate::warden::plan::edge::Edge;
use crate::warden::plan::{EdgeId, Place};
use crate::warden::trial;

/// Where the descriptor of what is left is said.
pub const LEFT_AT: &str = "PORCHD_SUCCEEDS";
/// The version of what is left. One is added when an older binary would misunderstand.
pub const VERSION: u32 = 1;
/// How a service manager says which sockets it has left (sd_listen_fds(3)).
const ACTIVATION: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
/// The longest text that is taken over.
pub const LONGEST: u64 = 32 << 20;

/// What a warden leaves to its successor. Descriptors are numbers that stay the same.
#[derive(Debug, Serialize, Deserialize)]
struct Left {
    version: u32,
    program: PathBuf,
    /// Signals that came and were not looked at.
    #[serde(default)]
    signals: VecDeque<i32>,
    text: String,
    user: Option<(u32, u32)>,
    next_number: u64,
    addresses: Vec<LeftAddress>,
    control: Option<LeftControl>,
    edges: Vec<LeftEdge>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LeftAddress {
    configured: SocketAddr,
    actual: SocketAddr,
    sockets: Vec<RawFd>,
    given: Vec<EdgeId>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LeftControl {
    path: PathBuf,
    entry: (u64, u64),
    listener: RawFd,
}

#[derive(Debug, Serialize, Deserialize)]
struct LeftEdge {
    id: EdgeId,
    process: i32,
    place: Place,
    serves: bool,
    leads: bool,
    /// In how many milliseconds it is to be ended.
    #[serde(default)]
    ends_in_ms: Option<u64>,
    /// How many milliseconds its connections may take to drain.
    drain_ms: u64,
    calls: Option<RawFd>,
    orders: RawFd,
    heard: Vec<u8>,
    asked: Option<LeftText>,
    in_force: Option<LeftText>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LeftText {
    number: u64,
    text: String,
}

/// What a successor begins with.
#[derive(Debug)]
pub struct Succession {
    /// The binary.
    pub program: PathBuf,
    /// Signals that came and were not looked at.
    pub signals: VecDeque<i32>,
    /// The configuration in force.
    pub text: String,
    /// Whom its edges ran as; `None`: as itself.
    pub user: Option<User>,
    /// The number of the next configuration.
    pub next_number: u64,
    /// What is held.
    pub holdings: Holdings,
    /// The edges, for the plan.
    pub edges: Vec<Edge>,
    /// The same, as processes.
    pub members: Vec<Member>,
}

/// What is left, borrowed from the warden that leaves it.
#[derive(Debug, Clone, Copy)]
pub struct Estate<'a> {
    /// The binary.
    pub program: &'a Path,
    /// Signals that came and were not looked at.
    pub signals: &'a VecDeque<i32>,
    /// The configuration in force.
    pub text: &'a str,
    /// Whom edges run as; `None`: as the warden.
    pub user: Option<User>,
    /// The number of the next configuration.
    pub next_number: u64,
    /// What is held.
    pub holdings: &'a Holdings,
    /// The edges, of the plan.
    pub edges: &'a [Edge],
    /// The same, as processes.
    pub members: &'a [Member],
}

/// Has `estate.program` take this process over. Returns only when that fails, and then nothing has changed.
pub fn replace(estate: Estate<'_>) -> io::Error {
    let descriptors = descriptors(&estate);
    let left = match serde_json::to_vec(&left(&estate))
        .map_err(io::Error::from)
        .and_then(|all| trial::nameless(&all))
    {
        Ok(left) => left,
        Err(error) => return error,
    };
    let keep = |keep: bool| {
        let mut all = descriptors.iter().copied().chain([left.as_raw_fd()]);
        all.try_for_each(|descriptor| waiting::keep_open(descriptor, keep))
    };
    if let Err(error) = keep(true) {
        let _ = keep(false);
        return error;
    }
    let mut arguments = std::env::args_os();
    let mut command = Command::new(estate.program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Sockets of a service manager are among what is left: their numbers mean something else by now.
    for name in ACTIVATION {
        command.env_remove(name);
    }
    let error = command.args(arguments).env(LEFT_AT, left.as_raw_fd().to_string()).exec();
    let _ = keep(false);
    error
}

fn descriptors(estate: &Estate<'_>) -> Vec<RawFd> {
    let sockets = estate.holdings.addresses.iter().flat_map(|held| &held.sockets).map(AsRawFd::as_raw_fd);
    let control = estate.holdings.control.iter().map(|control| control.listener.as_raw_fd());
    let members = estate
        .members
        .iter()
        .flat_map(|member| member.calls.iter().map(AsRawFd::as_raw_fd).chain([member.orders.as_raw_fd()]));
    sockets.chain(control).chain(members).collect()
}

fn text_of(named: &Named) -> LeftText {
    LeftText { number: named.number, text: named.text.clone() }
}

fn left(estate: &Estate<'_>) -> Left {
    let now = clock::now();
    let ms = |span: Duration| span.as_millis().try_into().unwrap_or(u64::MAX);
    let address = |held: &Address| LeftAddress {
        configured: held.configured,
        actual: held.actual,
        sockets: held.sockets.iter().map(AsRawFd::as_raw_fd).collect(),
        given: held.given.iter().copied().collect(),
    };
    let control = |control: &Control| LeftControl {
        path: control.path.clone(),
        entry: control.entry,
        listener: control.listener.as_raw_fd(),
    };
    let edge = |member: &Member| {
        let edge = estate.edges.iter().find(|edge| edge.id == member.id)?;
        Some(LeftEdge {
            id: member.id,
            process: member.process.0,
            place: edge.place,
            serves: edge.ready.is_some(),
            leads: edge.leads,
            ends_in_ms: edge.deadline.map(|deadline| ms(deadline.saturating_duration_since(now))),
            drain_ms: ms(edge.drain),
            calls: member.calls.as_ref().map(AsRawFd::as_raw_fd),
            orders: member.orders.as_raw_fd(),
            heard: member.heard.clone(),
            asked: member.asked.as_ref().map(text_of),
            in_force: member.in_force.as_ref().map(text_of),
        })
    };
    Left {
        version: VERSION,
        program: estate.program.to_owned(),
        signals: estate.signals.clone(),
        text: estate.text.to_owned(),
        user: estate.user.map(|user| (user.uid, user.gid)),
        next_number: estate.next_number,
        addresses: estate.holdings.addresses.iter().map(address).collect(),
        control: estate.holdings.control.as_ref().map(control),
        edges: estate.members.iter().filter_map(edge).collect(),
    }
}

/// What another warden has left to this process; `None`: there was none.
///
/// # Errors
/// What is left can't be read: it is not from a porchd.
pub fn begin(now: Instant) -> io::Result<Option<Succession>> {
    let Some(at) = std::env::var_os(LEFT_AT) else { return Ok(None) };
    let at = at.to_str().and_then(|at| at.parse().ok()).filter(|at| *at > 2).ok_or(ErrorKind::InvalidData)?;
    let mut text = Vec::new();
    File::from(inherited(at)?).take(LONGEST).read_to_end(&mut text)?;
    let left: Left = serde_json::from_slice(&text)?;
    if left.version != VERSION {
        return Err(ErrorKind::Unsupported.into());
    }
    let mut holdings = Holdings::default();
    for address in left.addresses {
        let LeftAddress { configured, actual, sockets, given } = address;
        let sockets = sockets.into_iter().map(|at| inherited(at).map(Into::into));
        let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
        let given = given.into_iter().collect();
        holdings.addresses.push(Address { configured, actual, sockets, given });
    }
    if let Some(LeftControl { path, entry, listener }) = left.control {
        holdings.control = Some(Control { path, entry, listener: inherited(listener)?.into() });
    }
    let (mut edges, mut members) = (Vec::new(), Vec::new());
    for edge in left.edges {
        let LeftEdge { id, place, leads, ends_in_ms, drain_ms, .. } = edge;
        let ready = edge.serves.then_some(now);
        let deadline = ends_in_ms.and_then(|ms| now.checked_add(Duration::from_millis(ms)));
        edges.push(Edge { id, place, deadline, ready, leads, drain: Duration::from_millis(drain_ms) });
        members.push(member(edge)?);
    }
    let Left { program, signals, text, next_number, .. } = left;
    let user = left.user.map(|(uid, gid)| User { uid, gid });
    Ok(Some(Succession { program, signals, text, user, next_number, holdings, edges, members }))
}

fn member(edge: LeftEdge) -> io::Result<Member> {
    Ok(Member {
        id: edge.id,
        process: ProcessId(edge.process),
        calls: edge.calls.map(|at| inherited(at).map(Into::into)).transpose()?,
        orders: inherited(edge.orders)?.into(),
        theirs: None,
        heard: edge.heard,
        first: None,
        asked: edge.asked.map(named),
        in_force: edge.in_force.map(named),
        failed: None,
        gone: false,
    })
}

/// What it names is read anew: this program may know it by other keys.
fn named(left: LeftText) -> Named {
    let LeftText { number, text } = left;
    Named { number, inventory: Inventory::of_text(&text, "porchd.yaml"), text }
}
