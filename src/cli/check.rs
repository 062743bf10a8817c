//! `porchd check`: says what is wrong with the configuration, what is risky, and what it amounts to.
//!
//! The text is made by [`report`], which only knows what it is given; [`run`] reads the files and asks
//! home.

mod home_answer;
mod home_link;
mod order_files;
mod summary;
mod user;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use crate::acme::wanted;
use crate::cli::check::home_answer::Oddity;
use crate::cli::check::order_files::Fault;
use crate::cli::output;
use crate::clock;
use crate::config::model::acme::Acme;
use crate::config::model::home::Address;
use crate::config::model::{Certificate, Config, Upstream};
use crate::config::problem::{Problem, Severity};
use crate::config::{self, Anchor, Loaded};
use crate::provision::in_process::InProcess;
use crate::provision::{Provision, ProvisionError, ProvisionWarning};
use crate::tls::load::{self, Carried, CertificateError};
use crate::tls::made::MadeError;
use crate::tls::store::{Origin, ServedError, Store};
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

/// What certificates' files make of the configuration, or why they can't be served; and what is odd about the
/// files themselves.
type CertificateFacts = (Result<load::Loaded, Vec<CertificateError>>, Vec<ProvisionWarning>);

/// What to ask beside the text itself.
struct Asked<'a> {
    /// Loads the certificates.
    certificates: &'a mut dyn FnMut(&Config) -> CertificateFacts,
    /// Reads the files that orders need.
    orders: &'a mut dyn FnMut(&Acme) -> Vec<Fault>,
    /// Asks the backends of a home once; what is odd about them.
    home: &'a mut dyn FnMut(&Upstream) -> Vec<Oddity>,
    /// Asks for the address of home; what is odd about it.
    home_link: &'a mut dyn FnMut(&Address) -> Vec<home_link::Oddity>,
    /// Looks for the user of the edge, who may be named; what is odd about it.
    user: &'a mut dyn FnMut(Option<&str>) -> Option<user::Oddity>,
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
    let mut orders = |acme: &Acme| order_files::faults(acme, &mut InProcess::new(file.into()));
    let mut home = |upstream: &Upstream| {
        if offline { Vec::new() } else { home_answer::ask(upstream, &mut InProcess::new(file.into())) }
    };
    let mut home_link = |address: &Address| if offline { Vec::new() } else { home_link::look(address) };
    let mut asked = Asked {
        certificates: &mut certificates,
        orders: &mut orders,
        home: &mut home,
        home_link: &mut home_link,
        user: &mut user::look,
    };
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
    let store = certificates(&loaded, asked, &mut problems);
    problems.extend(of_orders(&loaded, asked));
    problems.extend(of_homes(&loaded, asked));
    problems.extend(of_home_link(&loaded, asked));
    problems.extend(of_user(&loaded, asked));
    let usable = problems.iter().all(|problem| problem.severity == Severity::Warning);
    let text = match (expand, usable) {
        (true, _) => loaded.expanded.clone(),
        (false, false) => String::new(),
        (false, true) => {
            let has_file = |host: &_| store.as_ref().is_some_and(|store| store.has_file_for(host));
            let ordered = wanted::wanted(&loaded.config, &has_file);
            summary::of(&loaded.config, name, problems.len(), &ordered)
        }
    };
    let problems = problems.iter().map(|problem| problem.render(colour) + "\n").collect();
    Outcome { text, problems, usable }
}

/// What certificates' files make of it; what is odd about them is appended to `problems`.
fn certificates(loaded: &Loaded, asked: &mut Asked<'_>, problems: &mut Vec<Problem>) -> Option<Store> {
    let tls = &loaded.config.tls;
    // Without any certificate the text's own warning has said all there is to say.
    if tls.certificates.is_empty() && !tls.internal_ca {
        return None;
    }
    let (found, odd) = (asked.certificates)(&loaded.config);
    problems.extend(odd.iter().map(|warning| loaded.warning(&Anchor::File, &warning.to_string())));
    match found {
        Ok(found) => {
            problems.extend(found.warnings.iter().map(|warning| certificate_warning(loaded, warning)));
            Some(found.store)
        }
        Err(told) => {
            problems.extend(told.iter().map(|error| certificate_error(loaded, error)));
            None
        }
    }
}

/// What the files make of it that orders need.
fn of_orders(loaded: &Loaded, asked: &mut Asked<'_>) -> Vec<Problem> {
    let faults = loaded.config.acme.as_ref().map_or_else(Vec::new, |acme| (asked.orders)(acme));
    let told = |fault: &Fault| {
        let about = Anchor::Authority(fault.authority);
        if fault.refused { loaded.error(&about, &fault.what) } else { loaded.warning(&about, &fault.what) }
    };
    faults.iter().map(told).collect()
}

/// What each home answers.
fn of_homes(loaded: &Loaded, asked: &mut Asked<'_>) -> Vec<Problem> {
    let config = &loaded.config;
    let mut problems = Vec::new();
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

/// What the nameserver of home's address answers, and what its updates need.
fn of_home_link(loaded: &Loaded, asked: &mut Asked<'_>) -> Vec<Problem> {
    let oddities =
        loaded.config.home_link.address.as_ref().map_or_else(Vec::new, |one| (asked.home_link)(one));
    let told = |oddity: home_link::Oddity| {
        let mut problem = loaded.warning(&Anchor::HomeAddress, &oddity.what);
        problem.help.push(oddity.cure);
        problem
    };
    oddities.into_iter().map(told).collect()
}

/// Whether the edge has somebody to run as.
fn of_user(loaded: &Loaded, asked: &mut Asked<'_>) -> Option<Problem> {
    let oddity = (asked.user)(loaded.config.user.as_deref())?;
    let mut problem = loaded.warning(&Anchor::User, &oddity.what);
    problem.help.push(oddity.cure);
    Some(problem)
}

fn certificate_error(loaded: &Loaded, error: &CertificateError) -> Problem {
    let about = match error {
        CertificateError::Read { of, .. } | CertificateError::Unusable { of, .. } => {
            certificate(loaded, |certificate| certificate == &**of)
        }
        CertificateError::Made(_) => Anchor::File,
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
        | Warning::Unusable { of, .. }
        | Warning::Unused { of } => match of {
            Origin::File(path) => certificate(loaded, |certificate| certificate.cert == *path),
            Origin::Acme(site) => Anchor::Site(site.to_string()),
            Origin::InternalCa | Origin::StandIn => Anchor::File,
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
    let failed = |error| MadeError::Unusable { of: Origin::InternalCa, fault: ServedError::Tls(error) };
    let loaded = match Carried::fresh() {
        Ok(carried) => load::load(config, provision, &carried, &[], clock::wall()),
        Err(error) => Err(vec![failed(error).into()]),
    };
    (loaded, provision.warnings())
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
            true => {
                let store = Store::new(Vec::new(), Vec::new(), None);
                (Ok(load::Loaded { store, warnings: Vec::new() }), Vec::new())
            }
            false => certificate_facts(config, &mut InProcess::new(PathBuf::new())),
        };
        let mut orders = |acme: &Acme| order_files::faults(acme, &mut InProcess::new(PathBuf::new()));
        let mut home = |_: &Upstream| home.to_vec();
        let mut home_link = |_: &Address| Vec::new();
        let mut asked = Asked {
            certificates: &mut certificates,
            orders: &mut orders,
            home: &mut home,
            home_link: &mut home_link,
            user: &mut |_| None,
        };
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
    fn orders_are_told_with_their_place() {
        let outcome = check(MINIMAL, true, &[]);
        assert!(outcome.usable && outcome.problems.is_empty(), "{outcome:?}");
        let told = "  acme        from letsencrypt by http-01, then tls-alpn-01, for admin@example.com\n\
                    \x20               example.com\n  state       ";
        assert!(outcome.text.contains(told), "{}", outcome.text);
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
    fn a_key_that_is_open_to_others_is_told() {
        let path = PathBuf::from("/etc/ssl/a.key");
        let mut certificates = |_: &Config| {
            let store = Store::new(Vec::new(), Vec::new(), None);
            let open = ProvisionWarning::KeyOpenToOthers { path: path.clone() };
            (Ok(load::Loaded { store, warnings: Vec::new() }), vec![open])
        };
        let (mut orders, mut home) = (|_: &Acme| Vec::new(), |_: &Upstream| Vec::new());
        let mut home_link = |_: &Address| Vec::new();
        let mut asked = Asked {
            certificates: &mut certificates,
            orders: &mut orders,
            home: &mut home,
            home_link: &mut home_link,
            user: &mut |_| None,
        };
        let outcome = report(WITH_CERTIFICATE, "porchd.yaml", false, false, &mut asked);
        assert!(outcome.usable && outcome.problems.contains("chmod o= /etc/ssl/a.key"), "{outcome:?}");
    }

    #[test]
    fn a_file_that_orders_need_and_that_is_not_there_fails_at_its_place() {
        let text = format!(
            "{MINIMAL}  fallback:\n    - {{ directory: https://ca.example/d, ca_file: /no/where }}\n"
        );
        let outcome = check(&text, true, &[]);
        assert!(!outcome.usable && outcome.text.is_empty(), "{outcome:?}");
        assert!(outcome.problems.starts_with("error: /no/where: no such file"), "{}", outcome.problems);
        let line = MINIMAL.lines().count() + 2;
        assert!(outcome.problems.contains(&format!("porchd.yaml:{line}:")), "{}", outcome.problems);
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
    fn a_user_that_is_missing_is_told_where_it_is_named() {
        let no_one = || user::Oddity { what: "nobody".into(), cure: "useradd".into() };
        let told = |text: &str| {
            let (mut orders, mut home) = (|_: &Acme| Vec::new(), |_: &Upstream| Vec::new());
            let mut certificates = |_: &Config| {
                let store = Store::new(Vec::new(), Vec::new(), None);
                (Ok(load::Loaded { store, warnings: Vec::new() }), Vec::new())
            };
            let mut asked = Asked {
                certificates: &mut certificates,
                orders: &mut orders,
                home: &mut home,
                home_link: &mut |_| Vec::new(),
                user: &mut |_| Some(no_one()),
            };
            report(text, "porchd.yaml", false, false, &mut asked)
        };
        let named = told(&format!("{WITH_CERTIFICATE}user: somebody\n"));
        assert!(named.usable && named.text.starts_with("porchd.yaml: ok, with 1 warning"), "{named:?}");
        assert!(
            named.problems.starts_with("warning: nobody\n") && named.problems.contains("porchd.yaml:3:7")
        );
        assert!(named.problems.contains("help: useradd"), "{}", named.problems);
        let unnamed = told(WITH_CERTIFICATE);
        assert!(unnamed.usable && unnamed.problems.contains("nobody"), "{unnamed:?}");
    }

    #[test]
    fn without_a_file_the_least_one_is_shown() {
        let text = no_file(Path::new("/etc/porchd/porchd.yaml"));
        assert!(text.contains("server_name:") && text.contains("/etc/porchd/porchd.yaml"), "{text}");
        assert!(text.lines().count() <= 24, "more than a screen");
    }
}
