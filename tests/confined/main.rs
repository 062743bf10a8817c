//! What a confined edge can't do, and what it still can: prints both as a table.
//!
//! A program of its own, without the test harness: walls hold one thread, and the harness has more. It runs itself
//! anew for each column of the table.

#![cfg(target_os = "linux")]

use std::process::ExitCode;

#[path = "../../src/os/confine/attempts.rs"]
mod attempts;
mod edge;
mod inside;
mod lab;
mod still;

use lab::{Column, Lab};

fn main() -> ExitCode {
    // This program is the warden and the edge of a porchd, too.
    if edge::is_porchd() {
        return porchd::cli::main_with(edge::try_all);
    }
    if let Some(trial) = inside::Trial::given() {
        return inside::run(&trial);
    }
    let root = inside::is_root();
    let mut columns = vec![];
    let kinds: &[Column] = match root {
        true => &[Column::Free, Column::Walled, Column::WalledUser, Column::NoSockets],
        // Whether an attempt could succeed at all only root can show.
        false => &[Column::Walled, Column::NoSockets],
    };
    for kind in kinds {
        columns.push(Lab::new().run(*kind));
    }
    if root {
        columns.push(edge::run(Lab::new()));
    }
    let complaints: Vec<_> = columns.iter().flat_map(lab::Told::complaints).collect();
    print!("{}", lab::table(&columns));
    for complaint in &complaints {
        println!("complaint: {complaint}");
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
