//! `porchd schema`: a JSON Schema of the configuration, for editors.

use std::process::ExitCode;

use crate::cli::output;
use crate::config;

/// Prints the schema.
pub fn run() -> ExitCode {
    output::print(config::schema())
}
