//! Files and TCP ports by landlock(7), as far as the kernel has it.
//!
//! It is asked for what was tried: ABI 7. Kernels that can do more (unix sockets by path, since ABI 9) are not asked.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};

use crate::os::confine::linux::names;
use crate::os::confine::{ConfineError, Held, Walls};

/// The newest that was tried.
const TRIED: ABI = ABI::V7;

/// What an ABI brought, in the words of the log.
const BROUGHT: [(ABI, &str); 5] = [
    (ABI::V2, "walls around renaming between folders"),
    (ABI::V3, "walls around truncation"),
    (ABI::V4, "walls around TCP ports"),
    (ABI::V5, "walls around devices"),
    (ABI::V6, "walls around signals and abstract sockets"),
];

pub(super) fn restrict(held: &mut Held) -> Result<(), ConfineError> {
    let status = ruleset(&held.walls)?.restrict_self().map_err(refused)?;
    let LandlockStatus::Available { effective_abi, .. } = status.landlock else {
        held.walls = Walls { sockets: held.walls.sockets.clone(), ..Walls::none() };
        held.lacking.push("landlock (walls around files and TCP ports)".to_owned());
        return Ok(());
    };
    let what = if effective_abi < ABI::V4 {
        held.walls.connect = None;
        "files"
    } else {
        "files and TCP ports"
    };
    held.in_force.push(format!("{what} by landlock (ABI {effective_abi})"));
    let missing = BROUGHT.iter().filter(|(abi, _)| effective_abi < *abi);
    held.lacking.extend(missing.map(|(_, what)| (*what).to_owned()));
    Ok(())
}

fn ruleset(walls: &Walls) -> Result<RulesetCreated, ConfineError> {
    let mut asked = Ruleset::default()
        .handle_access(AccessFs::from_all(TRIED))
        .and_then(|asked| asked.handle_access(AccessNet::BindTcp))
        .and_then(|asked| asked.scope(Scope::from_all(TRIED)))
        .map_err(refused)?;
    if walls.connect.is_some() {
        asked = asked.handle_access(AccessNet::ConnectTcp).map_err(refused)?;
    }
    let mut made = asked.create().map_err(refused)?;
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    for path in walls.read.iter().chain(&names::files()) {
        made = open(made, path, reading)?;
    }
    for path in &walls.write {
        made = open(made, path, reading | writing())?;
    }
    for port in walls.connect.iter().flatten() {
        made = made.add_rule(NetPort::new(*port, AccessNet::ConnectTcp)).map_err(refused)?;
    }
    Ok(made)
}

/// What `os::folder` does. No links, sockets, FIFOs and devices, nothing to execute, no way from folder to folder.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::MakeDir | AccessFs::RemoveFile
}

fn open(
    made: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, ConfineError> {
    let failed = |source| ConfineError::Path { path: path.to_owned(), source };
    // To name it is all that is needed, and it may be anything: a FIFO is not waited for.
    let place = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path).map_err(failed)?;
    let is_folder = place.metadata().map_err(failed)?.is_dir();
    let access = if is_folder { access } else { access & AccessFs::from_file(TRIED) };
    made.add_rule(PathBeneath::new(place, access)).map_err(refused)
}

fn refused(error: RulesetError) -> ConfineError {
    ConfineError::Refused { wall: "landlock", source: error.into() }
}
