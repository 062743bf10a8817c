//! `porchd`: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    porchd::cli::main()
}
