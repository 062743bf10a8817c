//! Stand-ins of pfctl and nft, which write down how they are called. The real nft is in tests/real.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

/// A folder with a stand-in, which goes away with its test.
struct Stand {
    folder: PathBuf,
    tools: Tools,
}

impl Stand {
    /// `script` is what the program does once it has written down its arguments and its input.
    fn new(program: &str, script: &str, deadline: Duration) -> Self {
        let folder = std::env::temp_dir().join(format!("porchd-tools-{:x}", crate::clock::random()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(program);
        let log = folder.join("calls");
        let text = format!(
            "#!/bin/sh\necho \"$@\" >>{log}\n[ \"$1\" = -f ] && cat >>{log}\n{script}\n",
            log = log.display()
        );
        // Written by another program: one that this one still has open can't be run.
        fs::write(folder.join("script"), text).unwrap();
        let copied = std::process::Command::new("cp").arg(folder.join("script")).arg(&path).status().unwrap();
        assert!(copied.success());
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Self { tools: Tools::of(folder.clone(), deadline), folder }
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const LONG: Duration = Duration::from_secs(30);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn set() -> NftSet {
    NftSet { family: "inet".into(), table: "filter".into(), set: "homeip".into() }
}

#[test]
fn pfctl_is_called_for_one_table_and_one_address() {
    let stand = Stand::new("pfctl", "[ \"$5\" != test ]", LONG);
    let home = ip("5.9.1.1");
    assert_eq!(pf(&stand.tools, "homeip", &Step::Add(home)), Ok(Outcome::Done));
    assert_eq!(pf(&stand.tools, "homeip", &Step::Remove(home)), Ok(Outcome::Done));
    let all = Step::Replace(vec![home, ip("2a01:4f8::1")]);
    assert_eq!(pf(&stand.tools, "homeip", &all), Ok(Outcome::Done));
    assert_eq!(
        stand.calls(),
        [
            "-q -t homeip -T test 5.9.1.1",
            "-q -t homeip -T add 5.9.1.1",
            "-q -t homeip -T delete 5.9.1.1",
            "-q -t homeip -T replace 5.9.1.1 2a01:4f8::1",
        ]
    );
}

#[test]
fn an_address_that_is_in_the_table_is_not_added() {
    let stand = Stand::new("pfctl", "exit 0", LONG);
    assert_eq!(pf(&stand.tools, "homeip", &Step::Add(ip("5.9.1.1"))), Ok(Outcome::Present));
    assert_eq!(stand.calls(), ["-q -t homeip -T test 5.9.1.1"]);
}

#[test]
fn what_pfctl_says_against_it_is_told() {
    let stand = Stand::new("pfctl", "echo 'pfctl: Table does not exist.' >&2; exit 255", LONG);
    let error = pf(&stand.tools, "homeip", &Step::Add(ip("5.9.1.1"))).unwrap_err();
    assert_eq!(error.to_string(), "pfctl says: pfctl: Table does not exist.");
    let stand = Stand::new("pfctl", "exit 3", LONG);
    let error = pf(&stand.tools, "homeip", &Step::Remove(ip("5.9.1.1"))).unwrap_err();
    assert_eq!(error.to_string(), "pfctl says: exit status: 3");
}

#[test]
fn a_program_that_hangs_is_killed() {
    // `exec`: the one that is killed is the one that hangs.
    let stand = Stand::new("pfctl", "exec sleep 600", Duration::from_millis(200));
    let began = crate::clock::now();
    let error = pf(&stand.tools, "homeip", &Step::Remove(ip("5.9.1.1"))).unwrap_err();
    assert!(matches!(error, UpdateError::TooSlow { .. }), "{error}");
    assert!(crate::clock::now().saturating_duration_since(began) < Duration::from_secs(60));
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let stand = Stand::new("other", "", LONG);
    let error = pf(&stand.tools, "homeip", &Step::Add(ip("5.9.1.1"))).unwrap_err();
    assert!(error.to_string().starts_with("there is no pfctl in /sbin"), "{error}");
    assert!(stand.tools.find("pfctl").is_none() && stand.tools.find("other").is_some());
}

#[test]
fn programs_inherit_nothing() {
    let stand = Stand::new("pfctl", "env >&2; pwd >&2; exit 1", LONG);
    let ran = stand.tools.run("pfctl", &[], "").unwrap();
    let mut lines: Vec<&str> = ran.said.lines().filter(|line| !line.starts_with('_')).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["/", "LC_ALL=C", "PATH=/sbin:/usr/sbin:/bin:/usr/bin", "PWD=/"]);
}

#[test]
fn nft_is_asked_before_an_element_is_put_there() {
    let stand = Stand::new("nft", "[ \"$1\" != get ]", LONG);
    assert_eq!(nft(&stand.tools, &set(), &Step::Add(ip("5.9.1.1"))), Ok(Outcome::Done));
    assert_eq!(nft(&stand.tools, &set(), &Step::Remove(ip("2a01:4f8::1"))), Ok(Outcome::Done));
    assert_eq!(
        stand.calls(),
        [
            "get element inet filter homeip { 5.9.1.1 }",
            "create element inet filter homeip { 5.9.1.1 }",
            "delete element inet filter homeip { 2a01:4f8::1 }",
        ]
    );
}

#[test]
fn an_element_that_is_there_is_not_added() {
    let stand = Stand::new("nft", "exit 0", LONG);
    assert_eq!(nft(&stand.tools, &set(), &Step::Add(ip("5.9.1.1"))), Ok(Outcome::Present));
    assert_eq!(stand.calls(), ["get element inet filter homeip { 5.9.1.1 }"]);
}

#[test]
fn an_element_that_is_gone_is_no_error_but_a_set_that_is_gone_is() {
    let stand = Stand::new("nft", "[ \"$2\" = list ]", LONG);
    assert_eq!(nft(&stand.tools, &set(), &Step::Remove(ip("5.9.1.1"))), Ok(Outcome::Done));
    let stand = Stand::new("nft", "echo 'Error: No such file or directory' >&2; exit 1", LONG);
    let error = nft(&stand.tools, &set(), &Step::Remove(ip("5.9.1.1"))).unwrap_err();
    assert_eq!(error.to_string(), "nft says: Error: No such file or directory");
}

/// An nft whose set has merged an address into `range`.
fn merged(range: &str) -> Stand {
    let script = format!(
        "case $1 in delete) echo 'Error: element does not exist' >&2; exit 1;; get) \
         printf 'table inet filter {{\\n\\tset homeip {{\\n\\t\\telements = {{ {range} }}\\n\\t}}\\n}}\\n';; esac"
    );
    Stand::new("nft", &script, LONG)
}

#[test]
fn an_address_that_was_merged_with_its_neighbour_is_taken_out_of_the_range() {
    let stand = merged("5.9.1.7-5.9.1.8");
    assert_eq!(nft(&stand.tools, &set(), &Step::Remove(ip("5.9.1.7"))), Ok(Outcome::Done));
    assert_eq!(
        stand.calls()[2..],
        [
            "-f -",
            "delete element inet filter homeip { 5.9.1.7-5.9.1.8 }",
            "add element inet filter homeip { 5.9.1.8 }",
        ]
    );
    for (range, known) in [("5.9.1.0/24", true), ("5.9.1.7", false)] {
        let stand = merged(range);
        let error = nft(&stand.tools, &set(), &Step::Remove(ip("5.9.1.7"))).unwrap_err();
        let told =
            if known { "5.9.1.7 is part of 5.9.1.0-5.9.1.255 there" } else { "nft says: Error: element" };
        assert!(error.to_string().starts_with(told), "{error}");
        assert_eq!(stand.calls().len(), 2, "nothing is done");
    }
}

/// An nft that knows one set, of IPv4.
const IPV4_SET: &str = "case \"$*\" in *'list set'*) \
    printf 'table inet filter {\\n\\tset homeip {\\n\\t\\ttype ipv4_addr\\n\\t}\\n}\\n';; *) \
    echo 'Error: no' >&2; exit 1;; esac";

#[test]
fn a_set_of_the_other_family_is_told_as_such() {
    let stand = Stand::new("nft", IPV4_SET, LONG);
    let error = nft(&stand.tools, &set(), &Step::Add(ip("2a01:4f8::1"))).unwrap_err();
    let unfit = UpdateError::Unfit { holds: "ipv4_addr".into(), address: ip("2a01:4f8::1") };
    assert_eq!(error, unfit);
    let error = nft(&stand.tools, &set(), &Step::Add(ip("5.9.1.1"))).unwrap_err();
    assert_eq!(error.to_string(), "nft says: Error: no");
    // Nor is it emptied.
    let stand = Stand::new("nft", &IPV4_SET.replace("exit 1", "exit 0"), LONG);
    let error = nft(&stand.tools, &set(), &Step::Replace(vec![ip("2a01:4f8::1")])).unwrap_err();
    assert_eq!(error, unfit);
    assert!(stand.calls().iter().all(|call| !call.contains("flush")), "{:?}", stand.calls());
}

#[test]
fn a_set_that_porchd_owns_takes_what_fits_in_one_transaction() {
    let script = IPV4_SET.replace("exit 1", "exit 0");
    let stand = Stand::new("nft", &script, LONG);
    let all = vec![ip("5.9.1.1"), ip("2a01:4f8::1"), ip("5.9.1.2")];
    assert_eq!(nft(&stand.tools, &set(), &Step::Replace(all)), Ok(Outcome::Done));
    assert_eq!(
        stand.calls()[1..],
        ["-f -", "flush set inet filter homeip", "add element inet filter homeip { 5.9.1.1, 5.9.1.2 }"]
    );
}

#[test]
fn types_of_sets_are_understood() {
    for (holds, v4, v6) in [
        ("ipv4_addr", true, false),
        ("ipv6_addr", false, true),
        ("ip saddr", true, false),
        ("ip6 saddr", false, true),
        ("", true, true),
        ("inet_service", true, true),
    ] {
        assert_eq!((fits(holds, ip("5.9.1.1")), fits(holds, ip("2a01::1"))), (v4, v6), "{holds}");
    }
}
