//! The integration suite: porchd in this process, scripted homes and raw clients on loopback.
//!
//! No sleeps and no shared state: each test has its own porch and home on free ports.

mod access_log;
mod asking;
mod challenges;
mod client;
mod control;
mod discovery;
mod files;
mod floods;
mod forwarding;
mod front;
mod home;
mod http2;
mod limits;
mod metrics;
mod parking;
mod patience;
mod porch;
mod process;
#[cfg(target_os = "linux")]
mod processes;
mod proxy_protocol;
mod rates;
mod reload;
mod retries;
mod routes;
mod stopping;
mod streams;
mod tls;
mod tunnels;
mod view;
