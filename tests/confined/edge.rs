//! The same attempts from inside the edge of a porchd that serves: this program is that porchd, with a hook.
//!
//! A link to it lies in a folder beside what the edge is told, which it reads before its walls go up.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::attempts::{Targets, attempts};
use crate::inside::{outcome, tell};
use crate::lab::{Column, Lab, NOBODY, Told};

/// What the program is called where it is a porchd.
const NAME: &str = "porchd-tried";
const TARGETS: &str = "targets";

/// The last thing that is told.
const DONE: &str = "done";

static GIVEN: OnceLock<Targets> = OnceLock::new();

/// Whether this program was started as a porchd; its targets are read then.
pub(crate) fn is_porchd() -> bool {
    let Some(folder) = folder() else { return false };
    let text = fs::read_to_string(folder.join(TARGETS)).expect("targets");
    let mut lines = text.lines().map(str::to_owned);
    let mut next = || lines.next().expect("all targets");
    let targets =
        Targets { outside: next().into(), port: next().parse().expect("an address"), socket: next() };
    GIVEN.get_or_init(|| targets);
    true
}

fn folder() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let named = program.file_name().is_some_and(|name| name == NAME);
    named.then(|| program.parent().map(Path::to_owned)).flatten()
}

/// Called inside the edge, once it serves.
pub(crate) fn try_all() {
    let targets = GIVEN.get().expect("targets");
    for (what, came) in attempts(targets) {
        tell(&["tried", what, &outcome(came)]);
    }
    tell(&[DONE]);
}

/// Starts a porchd with this program, and has its edge try everything.
pub(crate) fn run(lab: Lab) -> Told {
    // On the file system of the program, so that a link to it can be made.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("edge-{:x}", porchd::clock::random()));
    fs::create_dir_all(&folder).expect("a folder");
    let program = folder.join(NAME);
    fs::hard_link(std::env::current_exe().expect("this program"), &program).expect("a link");
    let outside = lab.folder.join("outside");
    let port = lab.other.local_addr().expect("an address");
    let targets = format!("{}\n{port}\n{}\n", outside.display(), lab.hidden_name);
    fs::write(folder.join(TARGETS), targets).expect("targets");
    let file = lab.folder.join("porchd.yaml");
    let state = lab.folder.join("state");
    fs::write(&file, configuration(&state, &lab.folder.join("root"))).expect("a configuration");
    for part in [&outside, &outside.join("file")] {
        chown(part, Some(NOBODY), Some(NOBODY)).expect("to give it away");
    }
    let log = fs::File::create(lab.folder.join("log")).expect("a log");
    let mut command = Command::new(&program);
    command.arg0("porchd").arg("run").arg("-f").arg(&file).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("to start");
    let (still, tried) = (Vec::new(), Vec::new());
    let (held, log, ended) = (String::new(), String::new(), String::new());
    let mut told = Told { column: Column::Edge, held, still, tried, log, ended };
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    for line in lines.map_while(Result::ok) {
        let parts: Vec<_> = line.split('\t').map(str::to_owned).collect();
        match parts.as_slice() {
            [kind, what, came] if kind == "tried" => told.tried.push((what.clone(), came.clone())),
            [kind] if kind == DONE => {
                let stop = Command::new("kill").arg(child.id().to_string()).status().expect("kill");
                assert!(stop.success());
            }
            _ => {}
        }
    }
    told.ended = child.wait().expect("its end").to_string();
    told.log = fs::read_to_string(lab.folder.join("log")).expect("its log");
    let held = told.log.lines().find_map(|line| line.split_once("INFO  confined: "));
    told.held = held.map(|(_, held)| held.to_owned()).unwrap_or_default();
    let _ = fs::remove_dir_all(&folder);
    told
}

fn configuration(state: &Path, root: &Path) -> String {
    let (state, root) = (state.display(), root.display());
    format!(
        "listeners: {{ http: {{ bind: [ \"127.0.0.1:0\" ] }} }}\nstate_dir: {state}\nuser: nobody\nadmin: {{ socket: false }}\n\
         sites:\n  - hosts: [ a.example ]\n    listeners: [ http ]\n    routes: [ {{ path: /, files: {{ root: {root} }} }} ]\n"
    )
}
