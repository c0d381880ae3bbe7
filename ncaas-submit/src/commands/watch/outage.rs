//! An outage of the bucket or its queue: reported once when it begins, and once when it is over.

use std::cell::RefCell;

use ncaas_core::failure::{Failure, Kind};
use ncaas_core::tool::Tool;

/// Whether there is an outage now.
pub(crate) struct OutageReporter {
    tool: Tool,
    /// The name of what may fail, for messages.
    subject: &'static str,
    current: RefCell<Option<Kind>>,
}

impl OutageReporter {
    pub(crate) fn new(tool: Tool, subject: &'static str) -> Self {
        OutageReporter { tool, subject, current: RefCell::new(None) }
    }

    /// Reports a failure, unless the last one was of the same kind.
    pub(crate) fn report(&self, failure: &Failure) {
        if self.current.replace(Some(failure.kind)) != Some(failure.kind) {
            self.tool.report_failure(failure);
            self.tool.note("still watching; retrying until the server answers");
        }
    }

    /// Reports the end of an outage, if there is one.
    pub(crate) fn end(&self) {
        if self.current.take().is_some() {
            self.tool.note(&format!("{} answers again", self.subject));
        }
    }
}
