//! Packages and units name the paths that the program knows.

use porchd::cli::DEFAULT_FILE;

use super::{in_house, text_of};

#[test]
fn services_name_the_configuration() {
    for path in ["packaging/systemd/porchd.service", "packaging/openbsd/porchd.rc", "packaging/man/porchd.8"]
    {
        assert!(text_of(path).contains(DEFAULT_FILE), "{path} does not name {DEFAULT_FILE}");
    }
}

#[test]
fn a_fresh_configuration_is_refused_with_the_cure() {
    let fresh = text_of("packaging/debian/porchd.yaml");
    let written: String = fresh.lines().filter_map(uncommented).flat_map(|line| [line, "\n"]).collect();
    let refused = porchd::config::load(&fresh, DEFAULT_FILE).expect_err("nothing is written there");
    assert!(refused.render(false).contains("`server_name`"), "{}", refused.render(false));
    if let Err(report) = porchd::config::load(&written, DEFAULT_FILE) {
        panic!("the lines to uncomment are no configuration:\n{}", report.render(false));
    }
}

/// A line to uncomment: a `#` right before a key, or before the blanks of a key below it.
fn uncommented(line: &str) -> Option<&str> {
    line.strip_prefix('#')
        .filter(|rest| !rest.starts_with("   ") && rest.contains(": ") | rest.ends_with(':'))
        .filter(|rest| !rest.starts_with(' ') || rest.starts_with("  "))
}

#[test]
fn what_the_debian_package_carries_is_there() {
    let manifest = text_of("Cargo.toml");
    let assets = manifest.split("[package.metadata.deb]").nth(1).expect("a Debian package");
    let named = assets.lines().filter_map(|line| line.trim().strip_prefix("[\"")?.split('"').next());
    let missing: Vec<_> = named
        .filter(|path| !path.contains(['*']) && !path.starts_with("target/") && !in_house(path).exists())
        .collect();
    assert!(missing.is_empty(), "Cargo.toml names {missing:?}, which are not there");
}
