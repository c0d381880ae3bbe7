//! A bucket, or its queue, that fails for a while: it is said once, and once again when it is over.

use std::cell::RefCell;

use ncaas_core::failure::{Failure, Kind};
use ncaas_core::tool::Tool;

/// What is the matter, if anything.
pub(super) struct Trouble {
    tool: Tool,
    /// What it is the matter with, in words.
    with: &'static str,
    now: RefCell<Option<Kind>>,
}

impl Trouble {
    pub(super) fn new(tool: Tool, with: &'static str) -> Self {
        Trouble { tool, with, now: RefCell::new(None) }
    }

    /// Says what failed, unless it is what was said last.
    pub(super) fn tell(&self, failure: &Failure) {
        if self.now.replace(Some(failure.kind)) != Some(failure.kind) {
            self.tool.report_failure(failure);
            self.tool.note("the watch goes on, and takes up what it misses");
        }
    }

    /// Says that it answers again, if it did not.
    pub(super) fn is_over(&self) {
        if self.now.take().is_some() {
            self.tool.note(&format!("{} answers again", self.with));
        }
    }
}
