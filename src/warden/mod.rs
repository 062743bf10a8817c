//! The process that keeps the privileges: it starts the edge and opens for it what the configuration names.
