//! The verbs of the command line, one module each.

pub(crate) mod base;
pub(crate) mod check;
pub(crate) mod commit;
pub(crate) mod image;
pub(crate) mod load;
pub(crate) mod ls;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rm;
pub(crate) mod save;
pub(crate) mod tag;
