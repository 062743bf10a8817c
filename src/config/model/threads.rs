//! How many threads serve, and how connections reach them.

/// Number of serving threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One for each core that this process may use.
    Auto,
    /// Exactly so many, at least 1.
    Count(usize),
}

/// How accepted connections are spread over the threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptMode {
    /// A socket for each thread where the system balances them (Linux), else one loop.
    Auto,
    /// A listening socket for each thread, by SO_REUSEPORT.
    PerThread,
    /// One accept loop that deals connections out in turn.
    Single,
}
