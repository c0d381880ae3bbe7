//! The set-up log: the steps from finding a submit file to emitting its records. The certificate shows it.

use jiff::Timestamp;
use ncaas_core::record::fields::SetupEvent;

#[derive(Debug, Clone, Default)]
pub(crate) struct SetupLog(Vec<SetupEvent>);

impl SetupLog {
    pub(crate) fn add(&mut self, event: impl Into<String>) {
        self.add_at(Timestamp::now(), event);
    }

    pub(crate) fn add_at(&mut self, time: Timestamp, event: impl Into<String>) {
        self.0.push(SetupEvent { time: time.to_string(), event: event.into() });
    }

    pub(crate) fn events(&self) -> Vec<SetupEvent> {
        self.0.clone()
    }
}
