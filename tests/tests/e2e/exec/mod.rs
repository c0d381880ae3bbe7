//! `ncaas-exec`: a file or folder for each verb.

mod r#in;
mod ls;
mod rm;
mod run;
mod shell;
mod start;
mod stop;
mod wait;
