//! The link home: how the tunnel stands, and where home is when its address moves.
//!
//! ```text
//! address.rs (P)  what is believed of a name's addresses
//! ask.rs          asks the nameserver; message.rs (P): the bytes
//! ledger.rs (P)   what was told where home is, and what is to be told next
//! update.rs       tells it: one act with a result; endpoint.rs: to a tunnel; firewall.rs: to pf tables and nft sets
//! tools.rs        the programs for that
//! standing.rs (P) how old a handshake may be; tunnel/: reads one, and moves an endpoint
//! ```

pub mod address;
pub mod ask;
pub mod endpoint;
pub mod firewall;
pub mod ledger;
pub mod message;
pub mod standing;
pub mod tools;
pub mod tunnel;
pub mod update;
