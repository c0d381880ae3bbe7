//! End-to-end tests: the tools as their users run them. A folder for each tool, a file for each verb in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot continue has failed")]

mod build;
mod crate_dependencies;
mod exec;
mod help;
mod logs;
mod misspelt_names;
mod pipe;
mod readme;
mod submit;
mod sync;
mod terminal;
