//! The commands that ask a running porchd, as real processes before a control socket with a scripted supervisor.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use porchd::acme::moment::Moment;
use porchd::acme::status::{CertificateStatus, Next, Reason, Source, State};
use porchd::admin::protocol::{Answer, Question, Which};
use porchd::admin::server;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::unbounded_channel;

use crate::patience::PATIENCE;

/// A control socket, and what was asked on it.
struct Supervisor {
    folder: PathBuf,
    asked: Receiver<Question>,
}

impl Supervisor {
    /// Answers every question with this.
    fn that_says(answer: Answer) -> Self {
        let folder = std::env::temp_dir().join(format!("porchd-asking-{:016x}", porchd::clock::random()));
        std::fs::create_dir(&folder).expect("a folder");
        let listener = UnixListener::bind(folder.join("s")).expect("a socket");
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            runtime.expect("a runtime").block_on(async {
                let (asks, mut questions) = unbounded_channel();
                let _server = server::serve(listener, asks);
                while let Some(server::Ask { question, reply }) = questions.recv().await {
                    let _ = reply.send(answer.clone());
                    if tell.send(question).is_err() {
                        return;
                    }
                }
            });
        });
        Self { folder, asked }
    }

    /// Exit status, standard output and standard error of `porchd ARGUMENTS -s SOCKET`.
    fn hears(&self, arguments: &[&str]) -> (i32, String, String) {
        let socket = self.folder.join("s");
        let mut command = Command::new(env!("CARGO_BIN_EXE_porchd"));
        command.args(arguments).arg("-s").arg(socket).stdin(Stdio::null());
        let Output { status, stdout, stderr } = command.output().expect("the binary starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (status.code().expect("it exits by itself"), text(stdout), text(stderr))
    }

    /// What it was asked next.
    fn asked(&self) -> Question {
        self.asked.recv_timeout(PATIENCE).expect("a question")
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn done(lines: &[&str], warnings: &[&str]) -> Answer {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Answer::Done { lines: owned(lines), warnings: owned(warnings) }
}

#[test]
fn a_reload_says_what_changed() {
    let said = |answer| {
        let supervisor = Supervisor::that_says(answer);
        let heard = supervisor.hears(&["reload"]);
        assert_eq!(supervisor.asked(), Question::Reload);
        heard
    };
    let (code, out, err) = said(done(&["site a.test: added", "drain.stop: 20s -> 5s"], &["no IPv6 here"]));
    assert_eq!((code, &*out), (0, "site a.test: added\ndrain.stop: 20s -> 5s\n"));
    assert_eq!(err, "warning: no IPv6 here\n");
    assert_eq!(said(done(&[], &[])), (0, "nothing changed\n".into(), String::new()));
}

#[test]
fn a_refused_reload_says_every_error_and_fails() {
    let report = "error: there is no upstream `hoem`\n --> porchd.yaml:3:7\n\nporchd.yaml: 2 errors";
    let supervisor = Supervisor::that_says(Answer::Refused(report.into()));
    assert_eq!(supervisor.hears(&["reload"]), (1, String::new(), format!("{report}\n")));
}

#[test]
fn certificates_are_listed_for_people_and_for_programs() {
    let at = Moment::parse("2020-01-01T00:00:00Z").expect("a time");
    let status = CertificateStatus {
        name: "a.test".into(),
        state: State::Missing,
        source: Source::Acme,
        names: vec!["a.test".into(), "b.test".into()],
        left_out: Vec::new(),
        issuer: None,
        from: None,
        to: None,
        next: Some(Next { at, why: "there is none".into() }),
        last_error: None,
    };
    let supervisor = Supervisor::that_says(Answer::Certificates(vec![status.clone()]));
    let (code, out, err) = supervisor.hears(&["certs"]);
    assert_eq!((code, &*err), (0, ""));
    assert_eq!(
        out,
        "a.test: MISSING; a self-signed stand-in answers\n  names    a.test, b.test\n  order    now: there is none\n"
    );
    assert_eq!(supervisor.asked(), Question::Certs);
    let (code, out, err) = supervisor.hears(&["certs", "--json"]);
    assert_eq!((code, &*err), (0, ""));
    let list: Vec<CertificateStatus> = serde_json::from_str(&out).expect("JSON");
    assert_eq!(list, [status]);
}

#[test]
fn certificates_are_renewed_by_name_or_all() {
    let supervisor = Supervisor::that_says(done(&["a.test: queued"], &[]));
    let name = || Which::Name("a.test".into());
    for (arguments, which, wait) in [
        (&["certs", "renew", "a.test"][..], name(), false),
        (&["certs", "renew", "--wait", "a.test"], name(), true),
        (&["certs", "renew", "--all"], Which::All, false),
        (&["certs", "renew", "--all", "--wait"], Which::All, true),
    ] {
        assert_eq!(supervisor.hears(arguments), (0, "a.test: queued\n".into(), String::new()));
        assert_eq!(supervisor.asked(), Question::Renew { which, wait });
    }
    for arguments in [&["certs", "renew"][..], &["certs", "renew", "--all", "a.test"]] {
        let (code, _, err) = supervisor.hears(arguments);
        assert!(code == 2 && err.contains("--all"), "{err}");
    }
}

#[test]
fn a_certificate_is_revoked_only_by_a_clear_word() {
    let supervisor = Supervisor::that_says(done(&[], &[]));
    let (code, out, err) = supervisor.hears(&["certs", "revoke", "a.test"]);
    assert_eq!((code, &*out), (1, ""));
    assert!(err.contains("--yes"), "{err}");
    let (code, _, err) = supervisor.hears(&["certs", "revoke", "a.test", "--yes", "--reason", "mood"]);
    assert!(code == 2 && err.contains("key-compromise"), "{err}");
    for (more, reason) in
        [(&[][..], Reason::Unspecified), (&["--reason", "key-compromise"], Reason::KeyCompromise)]
    {
        let arguments = [&["certs", "revoke", "a.test", "--yes"], more].concat();
        assert_eq!(supervisor.hears(&arguments), (0, "a.test: revoked\n".into(), String::new()));
        assert_eq!(supervisor.asked(), Question::Revoke { name: "a.test".into(), reason });
    }
}

#[test]
fn without_a_running_porchd_a_command_says_how_to_start_it() {
    let supervisor = Supervisor::that_says(done(&[], &[]));
    std::fs::remove_file(supervisor.folder.join("s")).expect("it was there");
    for arguments in [&["reload"][..], &["certs"], &["certs", "renew", "--all"]] {
        let (code, out, err) = supervisor.hears(arguments);
        assert_eq!((code, &*out), (1, ""));
        assert!(err.contains("is porchd running?") && err.contains("start porchd"), "{err}");
    }
}
