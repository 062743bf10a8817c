//! Everything of a start or reload that can fail, and what others can see of it last.
//!
//! Nothing is in force until `Daemon` commits it: dropping what was prepared closes its sockets and files.

use std::net::TcpListener;
use std::sync::Arc;

use crate::acme::target::Target;
use crate::clock;
use crate::config;
use crate::config::diff::Diff;
use crate::config::model::Config;
use crate::listener::sockets::SocketId;
use crate::os::{cores, socket};
use crate::provision::Provision;
use crate::snapshot::Snapshot;
use crate::supervisor::binds::{self, Bound, Opening, Plan};
use crate::supervisor::control_socket::Change;
use crate::supervisor::generation::Generation;
use crate::supervisor::leading::Role;
use crate::supervisor::logs::LogFiles;
use crate::supervisor::metrics;
use crate::supervisor::refusal::{AddressError, Fixed, Refusal};
use crate::supervisor::shape::{Machine, Shape};
use crate::supervisor::state::{self, State};
use crate::tls;
use crate::tls::load::Carried;
use crate::tls::store::Store;
use crate::upstream::group;

/// A generation that can be put in force without failing.
pub struct Prepared {
    /// What will be in force.
    pub generation: Generation,
    /// What requests will see.
    pub snapshot: Snapshot,
    /// The certificates that will be shown.
    pub store: Arc<Store>,
    /// Addresses that were opened, each with its sockets.
    pub opened: Opened,
    /// Addresses that will belong to another listener, which is named here.
    pub handed_over: Vec<Bound>,
    /// Addresses that will be closed.
    pub closing: Vec<Bound>,
    /// Log files that were opened.
    pub files: LogFiles,
    /// What becomes of the control socket.
    pub socket: Change,
    /// What becomes of the address of figures.
    pub metrics: metrics::Change,
    /// The certificates to order.
    pub target: Option<Target>,
    /// What there is to tell.
    pub notices: Notices,
}

/// What an operator is told of a new generation.
#[derive(Debug, Default)]
pub struct Notices {
    /// What is risky or did not work and is not in the way.
    pub warnings: Vec<String>,
    /// What differs from the generation before, one line each.
    pub changes: Vec<String>,
}

/// Addresses and their sockets.
pub type Opened = Vec<(Bound, Vec<TcpListener>)>;

/// Prepares what the configuration says now. A start is a reload without an `old` one.
pub fn prepare(
    provision: &mut dyn Provision,
    old: Option<&Generation>,
    state: &mut State,
    role: &Role,
) -> Result<Prepared, Refusal> {
    let (config, notices) = read(provision, old)?;
    prepare_for(config, notices, provision, old, state, role)
}

/// Prepares the configuration in force anew, for another role.
pub fn prepare_again(
    provision: &mut dyn Provision,
    old: &Generation,
    state: &mut State,
    role: &Role,
) -> Result<Prepared, Refusal> {
    prepare_for(old.config.clone(), Notices::default(), provision, Some(old), state, role)
}

fn prepare_for(
    config: Arc<Config>,
    mut notices: Notices,
    provision: &mut dyn Provision,
    old: Option<&Generation>,
    state: &mut State,
    role: &Role,
) -> Result<Prepared, Refusal> {
    role.allows(&config)?;
    let machine = old.map_or_else(machine, |old| old.machine);
    let shape = shape(old, &config, machine)?;
    let carried = old.map_or_else(Carried::fresh, |old| Ok(old.carried.clone()))?;
    if role.leads {
        state.open(provision, &config, &mut notices.warnings)?;
        state.open_for_incidents(provision, &config, &mut notices.warnings);
    } else {
        state.look(provision, &config, &mut notices.warnings)?;
    }
    let certificates = tls::load::load(&config, provision, &carried, state.managed(&config), clock::wall())?;
    notices.warnings.extend(certificates.warnings.iter().map(ToString::to_string));
    let store = Arc::new(certificates.store);
    let target = if role.leads { state::target(provision, &config, &store)? } else { None };
    let known = old.map_or(&[][..], |old| &old.groups);
    let groups = group::build(&config.upstreams, known, &mut |path| provision.public_file(path))?;
    let files = LogFiles::open(provision, old.map(|old| &old.config.log), &config.log)?;
    // Last, since strangers see it: a client that connects to a socket which is closed again is cut off.
    let next_socket = old.map_or(SocketId(1), |old| old.next_socket);
    let plan = binds::plan(old.map_or(&[], |old| &old.bounds), &config.listeners);
    let opened = open_all(provision, &plan, next_socket, shape.copies(), &mut notices)?;
    let in_force = old.and_then(|old| old.socket.as_deref());
    let read_at = old.and_then(|old| old.metrics);
    let (socket, metrics) = if role.leads {
        let socket =
            Change::prepare(provision, in_force, &config.admin, role.embedded, &mut notices.warnings)?;
        (socket, metrics::Change::prepare(provision, read_at.as_ref(), &config.admin)?)
    } else {
        (Change::Close, metrics::Change::Close)
    };
    notices.warnings.extend(provision.warnings().iter().map(ToString::to_string));
    let number = old.map_or(0, |old| old.number) + 1;
    let snapshot = Snapshot::new(number, config.clone(), groups.clone());
    let generation = Generation {
        number,
        config,
        machine,
        shape,
        bounds: [plan.keep, plan.hand_over.clone(), opened.iter().map(|(bound, _)| bound.clone()).collect()]
            .concat(),
        next_socket: SocketId(next_socket.0 + opened.len() as u64),
        groups,
        socket: socket.leads_to(in_force),
        metrics: metrics.leads_to(read_at),
        carried: carried.with(store.clone()),
    };
    let Plan { hand_over: handed_over, close: closing, .. } = plan;
    Ok(Prepared {
        generation,
        snapshot,
        store,
        opened,
        handed_over,
        closing,
        files,
        socket,
        metrics,
        target,
        notices,
    })
}

fn read(provision: &mut dyn Provision, old: Option<&Generation>) -> Result<(Arc<Config>, Notices), Refusal> {
    let text = provision.configuration().map_err(Refusal::Unreadable)?;
    let loaded = config::load(&text, &provision.configuration_name())?;
    let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
    let diff = old.map(|old| Diff::between(&old.config, &loaded.config).to_string()).unwrap_or_default();
    let changes = diff.lines().map(str::to_owned).collect();
    Ok((Arc::new(loaded.config), Notices { warnings, changes }))
}

fn machine() -> Machine {
    let cores = cores::count();
    Machine { cores, balances: socket::BALANCES }
}

/// The shape that `config` asks for; refused if it, or what else is fixed, is not the one in force.
fn shape(old: Option<&Generation>, config: &Config, machine: Machine) -> Result<Shape, Refusal> {
    let shape = Shape::of(config, machine);
    let differences = old.map(|old| old.shape.differences(shape)).unwrap_or_default();
    let mut fixed: Vec<Fixed> =
        differences.into_iter().map(|(key, old, new)| Fixed { key, old, new }).collect();
    // The folder is held and locked: two of them would be two ledgers.
    if let Some(old) = old.filter(|old| old.config.state_dir != config.state_dir) {
        let path = |config: &Config| config.state_dir.display().to_string();
        fixed.push(Fixed { key: "state_dir", old: path(&old.config), new: path(config) });
    }
    // It can't become somebody else, nor can the state folder.
    if let Some(old) = old.filter(|old| old.config.user != config.user) {
        let name = |config: &Config| config.user.as_deref().unwrap_or("not named").to_owned();
        fixed.push(Fixed { key: "user", old: name(&old.config), new: name(config) });
    }
    if fixed.is_empty() { Ok(shape) } else { Err(Refusal::Fixed(fixed)) }
}

/// Opens what is not open yet. All errors are told at once.
fn open_all(
    provision: &mut dyn Provision,
    plan: &Plan,
    first: SocketId,
    copies: usize,
    notices: &mut Notices,
) -> Result<Opened, Refusal> {
    let (mut opened, mut errors) = (Vec::new(), Vec::new());
    for opening in &plan.open {
        let id = SocketId(first.0 + opened.len() as u64);
        match open(provision, plan, opening, id, copies) {
            Ok(open) => opened.push(open),
            Err(error) if opening.bind.best_effort => notices.warnings.push(error.to_string()),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(opened) } else { Err(Refusal::Addresses(errors)) }
}

fn open(
    provision: &mut dyn Provision,
    plan: &Plan,
    opening: &Opening,
    id: SocketId,
    copies: usize,
) -> Result<(Bound, Vec<TcpListener>), AddressError> {
    if let Some(in_the_way) = plan.in_the_way(opening) {
        return Err(in_the_way.into());
    }
    let Opening { listener, bind } = opening.clone();
    let sockets = provision
        .listen(bind.addr, copies)
        .map_err(|fault| AddressError::Bind { listener: listener.clone(), fault })?;
    let actual = match sockets.first().map(TcpListener::local_addr) {
        Some(Ok(actual)) => actual,
        Some(Err(source)) => return Err(AddressError::Unnamed { listener, addr: bind.addr, source }),
        None => bind.addr,
    };
    Ok((Bound { id, listener, configured: bind.addr, actual }, sockets))
}
