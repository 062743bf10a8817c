//! Certificates by ACME (RFC 8555): what is due, how it is ordered, what is remembered.
//!
//! Inside, top reads down ("P" is pure):
//!
//! ```text
//! service/         the ACME thread: looks at the plan, starts what is due, publishes what it brings
//! tasks.rs         what it waits for; book.rs the ledger and its copy on disk; holdings.rs what is served
//! report.rs (P)    how a site stands, for people; looks.rs (P): what is known of names
//! preflight.rs     what would make an order fail, told before it is sent
//! attempt.rs       one order from newOrder to the chain: validation.rs proves the names, verify.rs (P) looks at
//!                  what came, key.rs makes keys; renewal_info.rs asks when to renew,
//!                  renewal_window.rs (P) reads what the CA says to that
//! account.rs       a CA with an account there; directory.rs (P) what it offers, jws.rs (P) what registers an account
//! patience.rs      waits for the CA and repeats what passes; problem.rs (P): errors as failures; names.rs (P)
//! client.rs        HTTPS within bounds; dial.rs: connections by name; answer.rs (P): what comes beside a body
//! vault/           the state folder: certificates, accounts, the ledger
//! schedule.rs (P)  what is due when; ledger.rs (P): attempts and failures; limits.rs (P): what CAs allow
//! wanted.rs (P)    which names are ordered for which site
//! failure.rs, records.rs, target.rs, status.rs, moment.rs: the words between them
//! ```

pub mod account;
pub mod answer;
pub mod attempt;
pub mod book;
pub mod client;
pub mod dial;
pub mod directory;
pub mod failure;
#[cfg(test)]
mod fake;
pub mod holdings;
pub mod jws;
pub mod key;
pub mod ledger;
pub mod limits;
pub mod looks;
pub mod moment;
pub mod names;
pub mod patience;
pub mod preflight;
pub mod problem;
pub mod records;
pub mod renewal_info;
pub mod renewal_window;
pub mod report;
pub mod schedule;
pub mod service;
pub mod status;
pub mod target;
pub mod tasks;
pub mod validation;
pub mod vault;
pub mod verify;
pub mod wanted;
