//! From a connection to answered requests.
//!
//! `connection` takes what the listener hands over; the fronts adapt hyper; `request` is the life of a
//! request and sees requests and bodies, never hyper's connection types.

mod arrival;
pub mod connection;
mod front;
mod held_timer;
mod lines;
mod linger;
mod order;
mod outgoing;
mod pieces;
mod progress;
mod request;
pub mod seat;
mod shares;
pub mod stream;
mod streams;
mod watched;
pub mod worker;
