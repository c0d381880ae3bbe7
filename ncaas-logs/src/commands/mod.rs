//! One module for each verb of the command line.

pub(crate) mod compare;
pub(crate) mod lines;
pub(crate) mod plot;
pub(crate) mod report;
pub(crate) mod save;
pub(crate) mod state;
pub(crate) mod usage;
