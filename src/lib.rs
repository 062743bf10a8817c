//! porchd: the front porch of a Matrix homeserver that lives at home.
//!
//! Folders are floors. A module imports only from floors below it, and siblings on one floor do not
//! import each other; `tests/tidy.rs` holds the code to this picture (top reads down, "P" is pure: no
//! tokio, sockets, files or clock):
//!
//! ```text
//! main.rs       args -> exit code; nothing else
//! cli/          run | check | reload | upgrade | status | incidents | explain | certs | schema | demo | version
//! warden/       the process with privileges: starts the edge, opens for it what the configuration names
//! supervisor/   start-up order and event loop; reload (load, diff, bind, build, swap, retire); drain; signals
//! admin/        control socket: versioned JSON lines; asks the supervisor for actions; /metrics
//! listener/     worker threads, accept loops, PROXY protocol, TLS handshake under a deadline, connection limits
//! serve/        hyper per connection; THE life of a request as one readable function; access records
//! handler/      one file per action: forward, files, well_known, redirect, respond, upgrade
//! snapshot.rs   one immutable generation of the configuration + the swap (`Live`)
//! incidents/    when home was away and why: journal (P), its file
//! upstream/     HTTP/1.1 client, pool, prober, health (P), select (P), retry rules (P)
//! acme/         account, order, schedule (P: what is due when), ledger of attempts (P: rate-limit protection)
//! tls/          certificate store, SNI resolution, server configs, tickets, the internal CA
//! provision/    everything that needs privileges, behind one trait: listeners, key material, log sinks
//! home/         the link home: the tunnel's state, the address that moves (P), pf table, nft set, endpoint
//! http/         authority (P), headers (P), head scanner (P), faults: one table (P), replies (P)
//! route/        (P) host and path match; deny wins; decoded copy to match, original bytes to forward
//! telemetry/    diagnostics and access lines, and where they go; counts of requests, rates of them (P)
//! config/       file mirror -> resolved types, valid by construction (P); all errors at once, with carets; diff (P)
//! matrix/       (P) endpoint classes, error bodies, well-known documents, redaction of secrets
//! os/           the system's own calls behind same-named functions; the only unsafe code
//! clock.rs      the only reader of time and randomness
//! ```
//!
//! `matrix/` is below `config/` because a preset is a matter of the grammar: the resolved
//! configuration holds finished well-known documents (decision record 0001).

pub mod acme;
pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod handler;
pub mod home;
pub mod http;
pub mod incidents;
pub mod listener;
pub mod matrix;
pub mod os;
pub mod provision;
pub mod route;
pub mod serve;
pub mod snapshot;
pub mod supervisor;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod warden;
