//! What records say about runs. A pipe writes the record of a job when it runs, and again at its end.

use std::collections::HashMap;

use ncaas_core::record::Record;

/// Values for the runs of containers, in the order of their first records. A later record of a run replaces the value of
/// an earlier one.
#[derive(Debug)]
pub(crate) struct Runs<T> {
    values: Vec<T>,
    /// The place of the value of each run, by its container and its start.
    places: HashMap<(String, String), usize>,
}

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Runs { values: Vec::new(), places: HashMap::new() }
    }
}

impl<T> Runs<T> {
    /// Adds what a record says. A record of a job that never ran is a run of its own.
    pub(crate) fn add(&mut self, record: &Record, value: T) {
        let run = record.container().and_then(|container| Some((container.id, container.started_at?)));
        let Some(run) = run.filter(|(id, _)| !id.is_empty()) else { return self.values.push(value) };
        let place = *self.places.entry(run).or_insert(self.values.len());
        match self.values.get_mut(place) {
            Some(earlier) => *earlier = value,
            None => self.values.push(value),
        }
    }

    pub(crate) fn into_values(self) -> Vec<T> {
        self.values
    }
}
