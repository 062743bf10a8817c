//! `porchd check`: says what is wrong with the configuration, what is risky, and what it amounts to.
//!
//! The text is made by [`report`], which only knows what it is given; [`run`] reads the files and asks
//! home.

mod home_answer;
mod summary;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::check::home_answer::Oddity;
use crate::cli::output;
use crate::clock;
use crate::config::model::{Certificate, Config, Upstream};
use crate::config::problem::{Problem, Severity};
use crate::config::{self, Anchor, Loaded};
use crate::provision::in_process::InProcess;
use crate::provision::{Provision, ProvisionError};
use crate::tls::load::{self, Carried, CertificateError};
use crate::tls::store::{Origin, ServedError};
use crate::tls::warnings::Warning;

/// What `check` prints, and whether the configuration can be used.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// For standard output.
    text: String,
    /// For standard error: problems.
    problems: String,
    /// Exit status 0 or 1.
    usable: bool,
}

/// What certificates' files say of the configuration: warnings, or why they can't be served.
type CertificateFacts = Result<Vec<Warning>, Vec<CertificateError>>;

/// What to ask beside the text itself.
struct Asked<'a> {
    /// Loads the certificates.
    certificates: &'a mut dyn FnMut(&Config) -> CertificateFacts,
    /// Asks the backends of a home once; what is odd about them.
    home: &'a mut dyn FnMut(&Upstream) -> Vec<Oddity>,
}

/// Checks the configuration in `file`. `offline`: home is not asked.
pub fn run(file: &Path, expand: bool, offline: bool) -> ExitCode {
    let mut provision = InProcess::new(file.into());
    let text = match provision.configuration() {
        Ok(text) => text,
        Err(error) => {
            output::complain(&unreadable(file, &error));
            return ExitCode::FAILURE;
        }
    };
    let mut certificates = |config: &Config| certificate_facts(config, &mut provision);
    let mut home = |upstream: &Upstream| {
        if offline { Vec::new() } else { home_answer::ask(upstream, &mut InProcess::new(file.into())) }
    };
    let mut asked = Asked { certificates: &mut certificates, home: &mut home };
    let colour = std::io::stderr().is_terminal();
    let outcome = report(&text, &file.display().to_string(), expand, colour, &mut asked);
    output::complain(&outcome.problems);
    let printed = output::print(&outcome.text);
    if outcome.usable { printed } else { ExitCode::FAILURE }
}

/// Checks `text`, which is called `name` in messages.
fn report(text: &str, name: &str, expand: bool, colour: bool, asked: &mut Asked<'_>) -> Outcome {
    let loaded = match config::load(text, name) {
        Ok(loaded) => loaded,
        Err(report) => {
            return Outcome { text: String::new(), problems: report.render(colour), usable: false };
        }
    };
    let mut problems = loaded.warnings.clone();
    problems.extend(beyond_the_text(&loaded, asked));
    let usable = problems.iter().all(|problem| problem.severity == Severity::Warning);
    let text = match (expand, usable) {
        (true, _) => loaded.expanded.clone(),
        (false, false) => String::new(),
        (false, true) => summary::of(&loaded.config, name, problems.len()),
    };
    let problems = problems.iter().map(|problem| problem.render(colour) + "\n").collect();
    Outcome { text, problems, usable }
}

/// What certificates and home say.
fn beyond_the_text(loaded: &Loaded, asked: &mut Asked<'_>) -> Vec<Problem> {
    let config = &loaded.config;
    let mut problems = Vec::new();
    // Without any certificate the text's own warning has said all there is to say.
    if !config.tls.certificates.is_empty() || config.tls.internal_ca {
        match (asked.certificates)(config) {
            Ok(told) => problems.extend(told.iter().map(|warning| certificate_warning(loaded, warning))),
            Err(told) => problems.extend(told.iter().map(|error| certificate_error(loaded, error))),
        }
    }
    let is_home = |upstream: &&Upstream| {
        config.homeservers.iter().any(|homeserver| homeserver.upstream == upstream.name)
    };
    for upstream in config.upstreams.iter().filter(is_home) {
        let about = Anchor::Upstream(upstream.name.to_string());
        for oddity in (asked.home)(upstream) {
            let mut problem = loaded.warning(&about, &oddity.to_string());
            problem.help.push(oddity.cure().into());
            problems.push(problem);
        }
    }
    problems
}

fn certificate_error(loaded: &Loaded, error: &CertificateError) -> Problem {
    let about = match error {
        CertificateError::Read { of, .. } | CertificateError::Unusable { of, .. } => {
            certificate(loaded, |certificate| certificate == &**of)
        }
        CertificateError::Sign(_) | CertificateError::Signed(_) => Anchor::File,
    };
    loaded.error(&about, &error.to_string())
}

fn certificate_warning(loaded: &Loaded, warning: &Warning) -> Problem {
    let about = match warning {
        Warning::Expired { of, .. }
        | Warning::Expiring { of, .. }
        | Warning::NotYetValid { of, .. }
        | Warning::LeafAlone { of, .. }
        | Warning::Disordered { of }
        | Warning::Unused { of } => match of {
            Origin::File(path) => certificate(loaded, |certificate| certificate.cert == *path),
            Origin::InternalCa => Anchor::File,
        },
        Warning::LacksHosts { site, .. } | Warning::Uncovered { site, .. } => Anchor::Site(site.clone()),
    };
    loaded.warning(&about, &warning.to_string())
}

fn certificate(loaded: &Loaded, is_it: impl Fn(&Certificate) -> bool) -> Anchor {
    let index = loaded.config.tls.certificates.iter().position(is_it);
    index.map_or(Anchor::File, Anchor::Certificate)
}

fn certificate_facts(config: &Config, provision: &mut dyn Provision) -> CertificateFacts {
    let signed = |error| vec![CertificateError::Signed(ServedError::Tls(error))];
    let carried = Carried::fresh().map_err(signed)?;
    load::load(config, provision, &carried, clock::wall()).map(|loaded| loaded.warnings)
}

/// Where the configuration goes and what is the least in it, or why it can't be read.
fn unreadable(file: &Path, error: &ProvisionError) -> String {
    match error {
        ProvisionError::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => no_file(file),
        _ => format!("error: {error}\n"),
    }
}

/// One screen for a person who has no configuration yet.
pub fn no_file(file: &Path) -> String {
    format!(
        "There is no configuration at {file}. This is the least that makes sense; put it there:

{minimal}
Then `porchd check` says whether it is right, and `porchd run` serves it.
`porchd demo` needs no configuration at all.
",
        file = file.display(),
        minimal = indented(MINIMAL),
    )
}

/// The same text as the example that is delivered.
const MINIMAL: &str = include_str!("../../config/minimal.yaml");

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| if line.is_empty() { String::from("\n") } else { format!("    {line}\n") })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const WITH_CERTIFICATE: &str = "matrix: { server_name: example.com, home: 10.77.0.2:8008 }\n\
        tls: { certificates: [ { cert: /etc/ssl/a.crt, key: /etc/ssl/a.key } ] }\n";

    fn check(text: &str, readable: bool, home: &[Oddity]) -> Outcome {
        let mut certificates = |config: &Config| match readable {
            true => Ok(Vec::new()),
            false => certificate_facts(config, &mut InProcess::new(PathBuf::new())),
        };
        let mut home = |_: &Upstream| home.to_vec();
        let mut asked = Asked { certificates: &mut certificates, home: &mut home };
        report(text, "porchd.yaml", false, false, &mut asked)
    }

    #[test]
    fn a_good_file_is_summed_up() {
        let outcome = check(WITH_CERTIFICATE, true, &[]);
        assert!(outcome.usable && outcome.problems.is_empty(), "{outcome:?}");
        assert!(outcome.text.starts_with("porchd.yaml: ok\n"), "{}", outcome.text);
        assert!(outcome.text.contains("example.com"), "{}", outcome.text);
    }

    #[test]
    fn a_broken_file_fails_with_its_report() {
        let outcome = check("matrixx: {}\n", true, &[]);
        assert!(!outcome.usable && outcome.text.is_empty());
        assert!(outcome.problems.contains("did you mean `matrix`?"), "{}", outcome.problems);
    }

    #[test]
    fn a_certificate_that_cannot_be_served_fails() {
        let text = WITH_CERTIFICATE.replace("/etc/ssl/", "/nowhere/at/all/");
        let outcome = check(&text, false, &[]);
        assert!(!outcome.usable && outcome.text.is_empty());
        assert!(
            outcome.problems.contains("error: certificate: /nowhere/at/all/a.crt"),
            "{}",
            outcome.problems
        );
        assert!(outcome.problems.contains("porchd.yaml:2:24"), "{}", outcome.problems);
    }

    #[test]
    fn a_home_that_is_odd_is_told_at_its_address() {
        let oddity = Oddity::NoProbePath { backend: "10.77.0.2:8008".into(), path: "/health".into() };
        let outcome = check(WITH_CERTIFICATE, true, &[oddity]);
        assert!(outcome.usable);
        assert!(outcome.problems.contains("porchd.yaml:1:43"), "{}", outcome.problems);
        assert!(outcome.text.starts_with("porchd.yaml: ok, with 1 warning"), "{}", outcome.text);
    }

    #[test]
    fn without_a_file_the_least_one_is_shown() {
        let text = no_file(Path::new("/etc/porchd/porchd.yaml"));
        assert!(text.contains("server_name:") && text.contains("/etc/porchd/porchd.yaml"), "{text}");
        assert!(text.lines().count() <= 24, "more than a screen");
    }
}
