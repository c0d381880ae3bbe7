//! End-to-end tests: the tools as their users run them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod exec_end;
mod exec_inside;
mod exec_remote;
mod exec_run;
mod pipe;
mod pipe_rules;
mod rules;
mod submit;
mod submit_jobs;
mod submit_watch;
