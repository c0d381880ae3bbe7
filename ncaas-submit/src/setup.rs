//! The set-up log: what was done for a submission before its container started, step by step. The certificate tells it.

use jiff::Timestamp;
use ncaas_core::record::fields::SetupEvent;

/// The steps so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct SetupLog(Vec<SetupEvent>);

impl SetupLog {
    /// Notes a step, done now.
    pub(crate) fn note(&mut self, event: impl Into<String>) {
        self.note_at(Timestamp::now(), event);
    }

    /// Notes a step that was done at that time.
    pub(crate) fn note_at(&mut self, time: Timestamp, event: impl Into<String>) {
        self.0.push(SetupEvent { time: time.to_string(), event: event.into() });
    }

    /// The steps, for a record.
    pub(crate) fn events(&self) -> Vec<SetupEvent> {
        self.0.clone()
    }
}
