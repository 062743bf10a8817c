//! How many threads serve and how connections reach them: fixed from start to end, a pure decision.

use crate::config::model::Config;
use crate::config::model::threads::{AcceptMode, Threads};

/// The shape of the process. It does not change by a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Serving threads, at least 1.
    pub threads: usize,
    /// How connections reach them.
    pub accept: Accept,
}

/// How connections reach the serving threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// Each thread accepts from sockets of its own.
    PerThread,
    /// One more thread accepts and deals out.
    Single,
}

/// What the machine offers, as it was at the start: a container's share of cores may change at any time, and
/// that must not refuse a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// Whether the system balances connections over several sockets on one address.
    pub balances: bool,
}

impl Shape {
    /// What `config` asks for on `machine`.
    pub fn of(config: &Config, machine: Machine) -> Self {
        let Machine { cores, balances } = machine;
        let threads = match config.threads {
            Threads::Auto => cores.max(1),
            Threads::Count(count) => count.max(1),
        };
        let accept = match config.accept {
            AcceptMode::PerThread => Accept::PerThread,
            AcceptMode::Single => Accept::Single,
            // One thread has nobody to share a socket with.
            AcceptMode::Auto if balances || threads == 1 => Accept::PerThread,
            AcceptMode::Auto => Accept::Single,
        };
        Self { threads, accept }
    }

    /// Sockets that are needed for each address.
    pub fn copies(self) -> usize {
        match self.accept {
            Accept::PerThread => self.threads,
            Accept::Single => 1,
        }
    }

    /// What a reload from this shape to `other` would have to change, by its key and values.
    pub fn differences(self, other: Self) -> Vec<(&'static str, String, String)> {
        let mut found = Vec::new();
        if self.threads != other.threads {
            found.push(("threads", self.threads.to_string(), other.threads.to_string()));
        }
        if self.accept != other.accept {
            found.push(("accept", self.accept.to_string(), other.accept.to_string()));
        }
        found
    }
}

impl std::fmt::Display for Accept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PerThread => "per-thread",
            Self::Single => "single",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn shape(text: &str, cores: usize, balances: bool) -> String {
        let config =
            config::load(&format!("matrix: {{ server_name: a.example, home: 127.0.0.1:1 }}\n{text}"), "t");
        let shape = Shape::of(&config.unwrap().config, Machine { cores, balances });
        format!("{} {} {}", shape.threads, shape.accept, shape.copies())
    }

    #[test]
    fn machine_decides_what_the_file_leaves_open() {
        assert_eq!(shape("", 4, true), "4 per-thread 4");
        assert_eq!(shape("", 4, false), "4 single 1");
        assert_eq!(shape("", 1, false), "1 per-thread 1");
        assert_eq!(shape("threads: 3", 8, true), "3 per-thread 3");
        assert_eq!(shape("threads: 3\naccept: per-thread", 1, false), "3 per-thread 3");
        assert_eq!(shape("accept: single", 2, true), "2 single 1");
    }
}
