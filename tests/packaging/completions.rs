//! Completions of the shells are those of the command line as it is.

use clap_complete::{Shell, generate};

use super::agree;

/// What the shell would be told. Lines end without blanks, as everywhere in this house.
fn made(shell: Shell) -> String {
    let mut bytes = Vec::new();
    generate(shell, &mut porchd::cli::command(), "porchd", &mut bytes);
    let text = String::from_utf8(bytes).expect("completions are text");
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

#[test]
fn completions_are_those_of_the_command_line() {
    agree("packaging/completions/porchd.bash", &made(Shell::Bash));
    agree("packaging/completions/_porchd", &made(Shell::Zsh));
    agree("packaging/completions/porchd.fish", &made(Shell::Fish));
}
