//! End-to-end tests: the tools as their users run them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod build;
mod exec_end;
mod exec_engine;
mod exec_inside;
mod exec_preflight;
mod exec_remote;
mod exec_replay;
mod exec_run;
mod help;
mod logs;
mod logs_follow;
mod logs_save;
mod pipe;
mod pipe_rules;
mod readme;
mod rules;
mod submit;
mod submit_jobs;
mod submit_serve;
mod submit_watch;
mod sync;
