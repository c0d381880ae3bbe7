//! One module for each verb of the command line.

pub(crate) mod du;
pub(crate) mod r#in;
pub(crate) mod ls;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod shell;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod wait;
