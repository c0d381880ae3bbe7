//! What records say about runs. A pipe writes the record of a job when it runs, and again at its end; files may have
//! the two in any order.

use std::collections::{HashMap, HashSet};

use ncaas_core::record::Record;

/// Values for the runs of containers, and for jobs that never ran, in the order of their first records. A run has the
/// value of its last record, or of its last one that has its end.
#[derive(Debug)]
pub(crate) struct Runs<T> {
    runs: Vec<JobRun<T>>,
    /// The place of each run, by its job (its container if it has none) and its start. The record of a job that is
    /// complete in its bucket names no container.
    places: HashMap<(String, String), usize>,
}

#[derive(Debug)]
struct JobRun<T> {
    value: T,
    job: Option<String>,
    has_started: bool,
    has_ended: bool,
}

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Runs { runs: Vec::new(), places: HashMap::new() }
    }
}

impl<T> Runs<T> {
    /// Adds what a record says.
    pub(crate) fn add(&mut self, record: &Record, value: T) {
        let container = record.container().unwrap_or_default();
        let (job, has_started) = (record.identity(), container.started_at.is_some());
        let run = JobRun { value, job: job.clone(), has_started, has_ended: container.has_ended() };
        let Some(job) = job.filter(|job| !job.is_empty()) else { return self.runs.push(run) };
        let key = (job, container.started_at.unwrap_or_default());
        let place = *self.places.entry(key).or_insert(self.runs.len());
        match self.runs.get_mut(place) {
            Some(earlier) if earlier.has_ended && !run.has_ended => {}
            Some(earlier) => *earlier = run,
            None => self.runs.push(run),
        }
    }

    /// The values, without those of records of a job that was waiting before it ran.
    pub(crate) fn into_values(self) -> Vec<T> {
        let started: HashSet<String> =
            self.runs.iter().filter(|run| run.has_started).filter_map(|run| run.job.clone()).collect();
        let is_known = |run: &JobRun<T>| run.has_started || run.job.as_ref().is_none_or(|job| !started.contains(job));
        self.runs.into_iter().filter(is_known).map(|run| run.value).collect()
    }
}
