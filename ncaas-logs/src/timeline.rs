//! When jobs ran, and the resources that they used together at each moment.

use std::collections::HashMap;

use jiff::Timestamp;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Status, Usage};

/// One job's run.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The dataset's name, or the job's id. Distinct from that of other rows.
    pub(crate) name: String,
    /// The name without the beginning that all job ids have. Distinct as well.
    pub(crate) label: String,
    job_id: Option<String>,
    /// Seconds since 1970.
    pub(crate) start: f64,
    pub(crate) end: f64,
    /// None while it runs.
    pub(crate) status: Option<Status>,
    /// None if the engine was not asked while it ran.
    usage: Option<Usage>,
}

impl Row {
    /// The run of a record's job; none if it never ran.
    pub(crate) fn from_record(record: &Record) -> Option<Self> {
        let container = record.container()?;
        let start = unix_seconds(container.started_at.as_deref())?;
        let usage = record.fields().ok().and_then(|known| known.usage).map(with_peak);
        let last_seen = usage.as_ref().and_then(|usage| usage.series.last()).map_or(start, |point| start + point.0);
        let end = unix_seconds(container.finished_at.as_deref()).unwrap_or(last_seen).max(start);
        let job_id = record.job().map(|job| job.id);
        let name = record.dataset_name().or_else(|| job_id.clone()).unwrap_or(container.name);
        Some(Row { label: name.clone(), name, job_id, start, end, status: container.status, usage })
    }

    /// Whether the job ended badly.
    pub(crate) fn has_failed(&self) -> bool {
        self.status.is_some_and(|status| status != Status::Success)
    }

    /// Whether the resources that it used are known.
    pub(crate) fn has_samples(&self) -> bool {
        self.usage.is_some()
    }

    /// Percent of one CPU and bytes of memory at a moment of its run; none without samples.
    fn resources_at(&self, at: f64) -> Option<(f64, f64)> {
        let usage = self.usage.as_ref()?;
        let after = usage.series.partition_point(|point| point.0 <= at - self.start);
        Some(match usage.series.get(after.saturating_sub(1)) {
            Some(&(_, cpu, memory)) => (cpu, memory as f64),
            None => {
                let length = (self.end - self.start).max(1e-3);
                (usage.cpu_s / length * 100.0, usage.memory_peak_bytes as f64)
            }
        })
    }
}

/// The usage with the peak of the memory in its series, whose points are averages.
fn with_peak(mut usage: Usage) -> Usage {
    if let Some(largest) = usage.series.iter_mut().max_by_key(|point| point.2) {
        largest.2 = largest.2.max(usage.memory_peak_bytes);
    }
    usage
}

/// An RFC 3339 time in seconds since 1970.
pub(crate) fn unix_seconds(time: Option<&str>) -> Option<f64> {
    Some(time?.parse::<Timestamp>().ok()?.as_nanosecond() as f64 / 1e9)
}

/// A time in seconds since 1970 as text, in UTC: `2026-11-22 10:24:55`.
pub(crate) fn format_utc(seconds: f64) -> String {
    let time = Timestamp::from_second(seconds as i64).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// All runs, ordered by start.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) rows: Vec<Row>,
    pub(crate) start: f64,
    pub(crate) end: f64,
}

/// The resources that all jobs use in one slice of the time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Slice {
    /// The maximum number of jobs at once.
    pub(crate) running: u32,
    pub(crate) cpu: f64,
    pub(crate) memory: f64,
    /// Whether a job without samples ran: CPU and memory are not known.
    pub(crate) is_unknown: bool,
}

impl Timeline {
    pub(crate) fn new(mut rows: Vec<Row>) -> Self {
        rows.sort_by(|a, b| a.start.total_cmp(&b.start).then(a.end.total_cmp(&b.end)));
        let start = rows.iter().map(|row| row.start).reduce(f64::min).unwrap_or_default();
        let end = rows.iter().map(|row| row.end).reduce(f64::max).unwrap_or_default();
        make_names_distinct(&mut rows);
        Timeline { rows, start, end: end.max(start + 1e-3) }
    }

    /// The whole time in `count` slices.
    pub(crate) fn slices(&self, count: usize) -> Vec<Slice> {
        let width = (self.end - self.start) / count as f64;
        let slice_of = |time: f64| (((time - self.start) / width) as usize).min(count - 1);
        let mut slices = vec![Slice::default(); count];
        for row in &self.rows {
            for (at, slice) in slices.iter_mut().enumerate().take(slice_of(row.end) + 1).skip(slice_of(row.start)) {
                let from = self.start + at as f64 * width;
                // The part of the slice in which it ran.
                let share = (row.end.min(from + width) - row.start.max(from)).max(0.0) / width;
                match row.resources_at(row.start.max(from + width / 2.0).min(row.end)) {
                    Some((cpu, memory)) => {
                        slice.cpu += cpu * share;
                        slice.memory += memory * share;
                    }
                    None => slice.is_unknown = true,
                }
            }
        }
        // Jobs within one slice may have run one after the other.
        let ends = |row: &Row| row.end.max(row.start + 1e-6);
        let changes = self.rows.iter().flat_map(|row| [(row.start, 1), (ends(row), -1)]);
        let mut changes: Vec<(f64, i64)> = changes.collect();
        changes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut running = 0;
        let mut last = 0;
        for (time, change) in changes {
            let at = slice_of(time);
            for slice in &mut slices[last..=at] {
                slice.running = slice.running.max(u32::try_from(running).unwrap_or_default());
            }
            running += change;
            slices[at].running = slices[at].running.max(u32::try_from(running).unwrap_or_default());
            last = at;
        }
        slices
    }
}

/// Adds the job's id to names that occur more than once, and a number if that is not enough.
fn make_names_distinct(rows: &mut [Row]) {
    let count = |rows: &[Row]| {
        let mut counts: HashMap<String, usize> = HashMap::new();
        rows.iter().for_each(|row| *counts.entry(row.name.clone()).or_default() += 1);
        counts
    };
    let counts = count(rows);
    let is_repeated = |row: &&mut Row| counts[&row.name] > 1 && row.job_id.as_ref().is_some_and(|id| *id != row.name);
    let ids: Vec<String> = rows.iter_mut().filter(is_repeated).filter_map(|row| row.job_id.clone()).collect();
    let common = common_beginning(&ids);
    for row in rows.iter_mut().filter(is_repeated) {
        if let Some(id) = &row.job_id {
            row.label = format!("{} …{}", row.name, &id[common..]);
            row.name = format!("{} {id}", row.name);
        }
    }
    let counts = count(rows);
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for row in rows.iter_mut().filter(|row| counts[&row.name] > 1) {
        let number = numbers.entry(row.name.clone()).or_default();
        *number += 1;
        row.name = format!("{} #{number}", row.name);
        row.label = format!("{} #{number}", row.label);
    }
}

/// The length of the beginning that all job ids have, up to a `_`; 0 if they are the same.
fn common_beginning(ids: &[String]) -> usize {
    let Some(first) = ids.first() else { return 0 };
    let common = |id: &String| first.bytes().zip(id.bytes()).take_while(|(a, b)| a == b).count();
    let length = ids.iter().map(common).min().unwrap_or_default();
    if length == first.len() { 0 } else { first[..length].rfind('_').map_or(0, |at| at + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(start: u32, end: u32, cpu: f64) -> Row {
        let record = format!(
            r#"{{"dataname":"lab/inputs/a.npy","container":{{"status":"success","started_at":"2026-11-22T10:00:{start:02}Z",
            "finished_at":"2026-11-22T10:00:{end:02}Z"}},"usage":{{"cpu_s":1,"series":[[0,{cpu},1000]]}}}}"#
        );
        Row::from_record(&Record::parse(record.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn resources_of_jobs_that_run_at_once_are_added() {
        let timeline = Timeline::new(vec![row(5, 10, 50.0), row(0, 10, 100.0)]);
        assert_eq!(timeline.rows[0].name, "a.npy #1");
        let slices = timeline.slices(10);
        assert_eq!(slices[0], Slice { running: 1, cpu: 100.0, memory: 1000.0, is_unknown: false });
        assert_eq!(slices[7], Slice { running: 2, cpu: 150.0, memory: 2000.0, is_unknown: false });
    }

    #[test]
    fn a_job_without_samples_is_unknown_and_the_peak_of_memory_is_in_the_series() {
        let unknown = Row { usage: None, ..row(5, 10, 0.0) };
        let slices = Timeline::new(vec![row(0, 4, 100.0), unknown]).slices(10);
        assert_eq!([slices[0].is_unknown, slices[7].is_unknown], [false, true]);
        let usage = Usage { memory_peak_bytes: 9, series: vec![(0.0, 0.0, 2), (1.0, 0.0, 4)], ..Usage::default() };
        assert_eq!(with_peak(usage).series, [(0.0, 0.0, 2), (1.0, 0.0, 9)]);
    }

    #[test]
    fn runs_of_the_same_dataset_have_distinct_names() {
        let named = |id: &str| Row { job_id: Some(id.to_owned()), ..row(0, 1, 1.0) };
        let timeline = Timeline::new(vec![named("job__a_1"), named("job__a_2"), named("job__a_2")]);
        let names: Vec<&str> = timeline.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["a.npy job__a_1", "a.npy job__a_2 #1", "a.npy job__a_2 #2"]);
        let labels: Vec<&str> = timeline.rows.iter().map(|row| row.label.as_str()).collect();
        assert_eq!(labels, ["a.npy …1", "a.npy …2 #1", "a.npy …2 #2"]);
    }

    #[test]
    fn jobs_that_run_one_after_the_other_do_not_run_at_once() {
        let timeline = Timeline::new(vec![row(0, 1, 1.0), row(1, 2, 1.0), row(2, 3, 1.0)]);
        assert_eq!(timeline.slices(1)[0].running, 1);
    }

    #[test]
    fn no_jobs_and_a_job_of_length_zero_have_a_timeline() {
        assert_eq!(Timeline::new(Vec::new()).slices(5), vec![Slice::default(); 5]);
        assert!(Timeline::new(vec![row(3, 3, 1.0)]).slices(5).iter().any(|slice| slice.running == 1));
    }
}
