//! The resources that a container uses at one moment, and the summary of its whole run.

use std::collections::HashMap;

use bollard::models::{ContainerBlkioStats, ContainerMemoryStats, ContainerStatsResponse};
use jiff::Timestamp;
use ncaas_core::record::fields::Usage;
use schemars::JsonSchema;
use serde::Serialize;

/// The maximum number of points in the series of a run. With more, neighbours are merged.
const POINTS: usize = 120;

/// One sample.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Sample {
    /// When it was taken, by the engine's clock: RFC 3339 in UTC.
    #[schemars(with = "String")]
    pub(crate) time: Timestamp,
    /// Percent of one CPU since the sample before; null for the first.
    pub(crate) cpu_percent: Option<f64>,
    /// CPU time since the start, in seconds.
    pub(crate) cpu_s: f64,
    /// Memory in use, in bytes, as `docker stats` counts it.
    pub(crate) memory_bytes: u64,
    /// The maximum of all samples so far.
    pub(crate) memory_peak_bytes: u64,
    /// Read from disks since the start.
    pub(crate) read_bytes: u64,
    /// Written to disks since the start.
    pub(crate) written_bytes: u64,
    /// Received from the network since the start.
    pub(crate) received_bytes: u64,
    /// Sent to the network since the start.
    pub(crate) sent_bytes: u64,
    /// Processes and threads.
    pub(crate) processes: u64,
}

/// The engine's statistics of a running container.
#[derive(Debug, Clone)]
struct Reading {
    time: Timestamp,
    /// CPU time since the start, in nanoseconds.
    cpu_nanos: u64,
    memory_bytes: u64,
    read_bytes: u64,
    written_bytes: u64,
    received_bytes: u64,
    sent_bytes: u64,
    processes: u64,
}

/// A point of the series in [`Usage`]: seconds since the start, percent of one CPU, bytes of memory.
type Point = (f64, f64, u64);

/// Summarises samples.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    started: Option<Timestamp>,
    before: Option<Reading>,
    last: Option<Sample>,
    usage: Usage,
    /// How many samples make a point of the series, and the samples of the next point.
    per_point: usize,
    next_point: Vec<Point>,
}

impl Gauge {
    /// For a container that started at this time.
    pub(crate) fn new(started: Option<Timestamp>) -> Self {
        Gauge { started, per_point: 1, ..Gauge::default() }
    }

    /// Adds the engine's statistics. Returns none if there are none, because the container does not run.
    pub(crate) fn add(&mut self, stats: &ContainerStatsResponse) -> Option<&Sample> {
        let reading = Reading::from_stats(stats)?;
        let cpu_percent = self.before.as_ref().and_then(|before| reading.cpu_percent_since(before));
        let offset = self.started.map_or(0.0, |started| reading.time.duration_since(started).as_secs_f64());
        self.next_point.push((round(offset.max(0.0), 10.0), cpu_percent.unwrap_or_default(), reading.memory_bytes));
        self.merge_points();
        let usage = &mut self.usage;
        usage.cpu_s = round(reading.cpu_nanos as f64 / 1e9, 1000.0);
        usage.cpu_peak_percent = usage.cpu_peak_percent.max(cpu_percent.unwrap_or_default());
        usage.memory_peak_bytes = usage.memory_peak_bytes.max(reading.memory_bytes);
        usage.read_bytes = usage.read_bytes.max(reading.read_bytes);
        usage.written_bytes = usage.written_bytes.max(reading.written_bytes);
        usage.received_bytes = usage.received_bytes.max(reading.received_bytes);
        usage.sent_bytes = usage.sent_bytes.max(reading.sent_bytes);
        usage.processes_peak = usage.processes_peak.max(reading.processes);
        self.last = Some(Sample {
            time: reading.time,
            cpu_percent,
            cpu_s: usage.cpu_s,
            memory_bytes: reading.memory_bytes,
            memory_peak_bytes: usage.memory_peak_bytes,
            read_bytes: reading.read_bytes,
            written_bytes: reading.written_bytes,
            received_bytes: reading.received_bytes,
            sent_bytes: reading.sent_bytes,
            processes: reading.processes,
        });
        self.before = Some(reading);
        self.last.as_ref()
    }

    fn merge_points(&mut self) {
        if self.next_point.len() >= self.per_point {
            self.usage.series.extend(merged(&self.next_point));
            self.next_point.clear();
        }
        if self.usage.series.len() >= POINTS {
            self.usage.series = self.usage.series.chunks(2).filter_map(merged).collect();
            self.per_point *= 2;
        }
    }

    pub(crate) fn last(&self) -> Option<&Sample> {
        self.last.as_ref()
    }

    /// The summary of the run so far; none without a sample.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.last.as_ref()?;
        let mut usage = self.usage.clone();
        usage.series.extend(merged(&self.next_point));
        Some(usage)
    }
}

impl Reading {
    /// None if the container does not run.
    fn from_stats(stats: &ContainerStatsResponse) -> Option<Self> {
        let time: Timestamp = stats.read.as_deref()?.parse().ok()?;
        let cpu_nanos = stats.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
        let is_running =
            time > Timestamp::UNIX_EPOCH && (cpu_nanos > 0 || stats.memory_stats.as_ref()?.usage.is_some());
        if !is_running {
            return None;
        }
        let (read_bytes, written_bytes) = stats.blkio_stats.as_ref().map(blocks).unwrap_or_default();
        let networks = || stats.networks.iter().flat_map(HashMap::values);
        Some(Reading {
            time,
            cpu_nanos,
            memory_bytes: stats.memory_stats.as_ref().map(memory).unwrap_or_default(),
            read_bytes,
            written_bytes,
            received_bytes: networks().filter_map(|network| network.rx_bytes).sum(),
            sent_bytes: networks().filter_map(|network| network.tx_bytes).sum(),
            processes: stats.pids_stats.as_ref().and_then(|pids| pids.current).unwrap_or_default(),
        })
    }

    /// Percent of one CPU since an earlier reading; none if both have the same time.
    fn cpu_percent_since(&self, before: &Reading) -> Option<f64> {
        let wall = self.time.duration_since(before.time).as_secs_f64();
        let cpu = self.cpu_nanos.saturating_sub(before.cpu_nanos) as f64 / 1e9;
        (wall > 0.0).then(|| round(cpu / wall * 100.0, 10.0))
    }
}

/// Merges points: the time of the first, the mean CPU, the maximum memory.
fn merged(points: &[Point]) -> Option<Point> {
    let first = points.first()?;
    let cpu = points.iter().map(|point| point.1).sum::<f64>() / points.len() as f64;
    let memory = points.iter().map(|point| point.2).max()?;
    Some((first.0, round(cpu, 10.0), memory))
}

fn round(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

/// Memory in use without the file cache that the kernel can drop, as the docker CLI counts it, by the names of cgroups
/// v2 and v1.
fn memory(stats: &ContainerMemoryStats) -> u64 {
    let usage = stats.usage.unwrap_or_default();
    let of = |name: &str| stats.stats.as_ref().and_then(|stats| stats.get(name)).copied();
    let cache = of("total_inactive_file").or_else(|| of("inactive_file")).unwrap_or_default();
    if cache < usage { usage - cache } else { usage }
}

fn blocks(stats: &ContainerBlkioStats) -> (u64, u64) {
    let entries = || stats.io_service_bytes_recursive.iter().flatten();
    let sum = |wanted: &str| {
        let of = entries().filter(|entry| entry.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(wanted)));
        of.filter_map(|entry| entry.value).sum()
    };
    (sum("read"), sum("write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(second: u32, cpu_ms: u64, memory: u64) -> ContainerStatsResponse {
        serde_json::from_value(serde_json::json!({
            "read": format!("2026-11-22T10:{:02}:{:02}.5Z", second / 60, second % 60),
            "cpu_stats": {"cpu_usage": {"total_usage": cpu_ms * 1_000_000}},
            "memory_stats": {"usage": memory + 1000, "stats": {"total_inactive_file": 1000, "inactive_file": 1}},
            "networks": {"eth0": {"rx_bytes": 5, "tx_bytes": 6}, "eth1": {"rx_bytes": 1, "tx_bytes": 1}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"major": 8, "minor": 0, "op": "Read", "value": 7}, {"major": 8, "minor": 0, "op": "write", "value": 8},
                {"major": 8, "minor": 0, "op": "Total", "value": 15}]},
            "pids_stats": {"current": 3},
        }))
        .unwrap()
    }

    #[test]
    fn cpu_is_percent_of_one_cpu_and_memory_is_without_cache() {
        let mut gauge = Gauge::new("2026-11-22T10:00:00.5Z".parse().ok());
        assert_eq!(gauge.add(&stats(1, 1000, 500)).unwrap().cpu_percent, None);
        let sample = gauge.add(&stats(3, 4000, 400)).unwrap().clone();
        assert_eq!((sample.cpu_percent, sample.memory_bytes, sample.memory_peak_bytes), (Some(150.0), 400, 500));
        assert_eq!((sample.received_bytes, sample.sent_bytes), (6, 7));
        assert_eq!((sample.read_bytes, sample.written_bytes, sample.processes), (7, 8, 3));
        let usage = gauge.usage().unwrap();
        assert_eq!((usage.cpu_s, usage.cpu_peak_percent, usage.memory_peak_bytes), (4.0, 150.0, 500));
        assert_eq!(usage.series, [(1.0, 0.0, 500), (3.0, 150.0, 400)]);
    }

    #[test]
    fn the_series_of_a_long_run_is_bounded_and_covers_the_run() {
        let mut gauge = Gauge::new("2026-11-22T10:00:00.5Z".parse().ok());
        for second in 0..3500 {
            gauge.add(&stats(second, u64::from(second) * 500, 100));
        }
        let series = gauge.usage().unwrap().series;
        assert!(series.len() <= POINTS + 1 && series.len() >= POINTS / 2, "{}", series.len());
        assert!(series[0].0 == 0.0 && series.last().unwrap().0 > 3400.0);
        assert!(series[1..].iter().all(|point| point.1 == 50.0));
    }

    #[test]
    fn a_container_that_does_not_run_has_no_sample() {
        let mut gauge = Gauge::default();
        let stopped = serde_json::json!({"read": "0001-01-01T00:00:00Z", "cpu_stats": {"cpu_usage": {"total_usage": 0}},
            "memory_stats": {}});
        assert!(gauge.add(&serde_json::from_value(stopped).unwrap()).is_none());
        assert_eq!(gauge.usage(), None);
    }
}
