//! One module for each verb of the command line.

pub(crate) mod cancel;
pub(crate) mod check;
pub(crate) mod claim;
pub(crate) mod init;
pub(crate) mod ls;
pub(crate) mod place;
pub(crate) mod retry;
pub(crate) mod send;
pub(crate) mod wait;
pub(crate) mod watch;
