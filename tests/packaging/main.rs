//! What packages carry, held to the program: completions, manual pages, the unit.
//!
//! `UPDATE_GOLDEN=1 cargo test --test packaging` writes anew what is made from the program; a reader of the diff
//! decides. Packages themselves are built and installed by `.ci/packages`.

mod commands;
mod completions;
mod keys;
mod mdoc;
mod paths;

use std::fs;
use std::path::{Path, PathBuf};

/// A path below the root of the house.
fn in_house(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of a file of the house.
fn text_of(path: &str) -> String {
    fs::read_to_string(in_house(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Holds the file at `path` to what the program makes of it now, or writes it.
fn agree(path: &str, made: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(in_house(path), made).unwrap_or_else(|error| panic!("{path}: {error}"));
        return;
    }
    assert!(
        fs::read_to_string(in_house(path)).unwrap_or_default() == made,
        "{path} is old: UPDATE_GOLDEN=1 cargo test --test packaging writes it anew"
    );
}
