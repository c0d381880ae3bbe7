//! Runs the tools as their users do: as programs, against a real engine and real buckets.
//!
//! - [`Run`]: one tool with its arguments and stdin; its status, stdout and stderr are compared whole
//! - [`pipe`]: a line of bash with the tools on its PATH
//! - [`record`]: the records declared anew, strictly, so that a renamed field fails a test
//! - [`bucket`], [`submissions`], [`bucket_job`]: buckets in a directory and on LocalStack, and what a user puts into
//!   them
//! - [`engine`], [`own_engine`], [`engine_without_buildkit`], [`tcp_engine`], [`ssh`]: the engines that tests use
//! - [`end_command`]: a command that runs when a test ends or is killed
//! - [`batch_service`]: AWS Batch, whose jobs are containers here
//! - [`cluster`], [`cluster_lab`], [`shared_backlog`]: a small Slurm cluster, and a bucket whose submissions run there
//! - [`terminal`]: a line of bash on a terminal
//! - [`workspace`], [`dev_container`], [`ended_job`], [`started_submission`]: jobs and containers, removed when a test
//!   ends
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot continue has failed")]

pub mod background_pipe;
pub mod batch_service;
pub mod bucket;
pub mod bucket_job;
pub mod build_context;
pub mod certificate;
pub mod cluster;
pub mod cluster_lab;
pub mod dev_container;
pub mod end_command;
pub mod ended_job;
pub mod engine;
pub mod engine_without_buildkit;
pub mod engine_workspace;
pub mod logs;
pub mod machine;
pub mod own_engine;
pub mod pipeline;
pub mod record;
pub mod registry;
mod run;
pub mod s3_proxy;
pub mod shared_backlog;
pub mod ssh;
pub mod started_submission;
pub mod submissions;
pub mod sync;
pub mod tcp_engine;
pub mod terminal;
pub mod verbs;
pub mod watch_process;
pub mod workspace;

pub use run::{Ran, Run, pipe, pipe_in, tools, wait_until};

/// A name that no other test, and no other run of this one, has.
pub fn unique(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    format!("{name}-{:x}-{:x}-{}", now, std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
