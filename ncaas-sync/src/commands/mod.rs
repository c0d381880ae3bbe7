//! The verbs of the command line, one module each.

pub(crate) mod collect;
pub(crate) mod diff;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod status;
pub(crate) mod uploads;
pub(crate) mod verify;
