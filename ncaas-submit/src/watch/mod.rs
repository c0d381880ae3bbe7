//! The parts of a running watch.
//!
//! Submit files are found by listing and by [`notifications`], and wait in a [`submit_queue`]. Each is read, claimed,
//! validated, and its records are emitted ([`hand_over`]). [`maintenance`] renews this watcher's claims, takes over those of
//! dead watchers, and lets go of submissions that have ended. [`session`] is the state that they share.

pub(crate) mod claims;
pub(crate) mod hand_over;
pub(crate) mod heartbeat;
mod inotify;
pub(crate) mod lost_watchers;
pub(crate) mod maintenance;
pub(crate) mod notifications;
pub(crate) mod outage;
pub(crate) mod process;
pub(crate) mod session;
pub(crate) mod submit_queue;
