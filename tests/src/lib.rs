//! How the end-to-end tests run the tools: as their users do, as programs, against a real engine and real buckets.
//!
//! - [`Run`]: one tool with its arguments and stdin; what came of it is compared whole
//! - [`pipe`]: a line of bash with the tools on its PATH
//! - [`record`]: the records declared anew, strictly, so that a renamed field shows
//! - [`bucket`]: buckets in a directory and on LocalStack
//! - [`engine`]: names, images and containers of a test, removed when it ends
//! - [`own_engine`]: an engine of a test's own
//! - [`ssh`]: the same engine as if it were on another machine
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

pub mod bucket;
pub mod engine;
pub mod own_engine;
pub mod record;
mod run;
pub mod ssh;

pub use run::{Ran, Run, pipe, pipe_in, tools, wait_until};

/// A name that no other test, and no other run of this one, has.
pub fn unique(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    format!("{name}-{:x}-{:x}-{}", now, std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
