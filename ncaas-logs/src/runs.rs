//! What records say about runs. A pipe writes the record of a job when it runs, and again at its end; files may have
//! the two in any order.

use std::collections::HashMap;

use ncaas_core::record::Record;

/// Values for the runs of containers, in the order of their first records. A run has the value of its last record, or of
/// its last one that has its end.
#[derive(Debug)]
pub(crate) struct Runs<T> {
    /// Each with whether the run has ended.
    values: Vec<(T, bool)>,
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
        let container = record.container().unwrap_or_default();
        let has_ended = container.has_ended();
        let run = container.started_at.filter(|_| !container.id.is_empty()).map(|start| (container.id, start));
        let Some(run) = run else { return self.values.push((value, has_ended)) };
        let place = *self.places.entry(run).or_insert(self.values.len());
        match self.values.get_mut(place) {
            Some((_, true)) if !has_ended => {}
            Some(earlier) => *earlier = (value, has_ended),
            None => self.values.push((value, has_ended)),
        }
    }

    pub(crate) fn into_values(self) -> Vec<T> {
        self.values.into_iter().map(|(value, _)| value).collect()
    }
}
