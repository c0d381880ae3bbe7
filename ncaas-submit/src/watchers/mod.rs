//! The watchers of a bucket: their heartbeats, and which of them are dead.

pub(crate) mod dead_watchers;
pub(crate) mod heartbeat;
pub(crate) mod process;
