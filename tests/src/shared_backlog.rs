//! A backlog of submissions that several machines share, and how they shared it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cluster_lab::{IMAGE, Lab};

/// How one machine worked on its share.
#[derive(Debug, Default)]
pub struct Share {
    /// When each of its jobs started and ended, in seconds since the first start of all, by start.
    pub jobs: Vec<(f64, f64)>,
}

impl Share {
    /// The longest time without a running job before `until`, in seconds.
    pub fn longest_idle(&self, until: f64) -> f64 {
        let mut idle = 0_f64;
        let mut busy_until = 0_f64;
        for &(start, end) in &self.jobs {
            idle = idle.max(start.min(until) - busy_until.min(until));
            busy_until = busy_until.max(end);
        }
        idle.max(until - busy_until)
    }
}

/// How machines shared a backlog.
#[derive(Debug)]
pub struct SharedBacklog {
    /// By watcher.
    pub shares: BTreeMap<String, Share>,
    /// When each submission's job started, in the order of the submissions.
    pub starts: Vec<f64>,
    /// From the first start to the last end, in seconds.
    pub duration: f64,
    /// How long the engines took meanwhile for a container that does nothing, in seconds: how slow the machines are.
    pub bare_runs: Vec<f64>,
}

impl SharedBacklog {
    /// How long a slot for a job was free between two jobs, in seconds, on average.
    pub fn mean_pause(&self, jobs: usize) -> f64 {
        let busy: f64 = self.shares.values().flat_map(|share| &share.jobs).map(|(start, end)| end - start).sum();
        ((self.shares.len() * jobs) as f64 * self.duration - busy) / self.starts.len() as f64
    }

    /// The longest and the mean time of a container that does nothing.
    pub fn bare_run(&self) -> (f64, f64) {
        let longest = self.bare_runs.iter().copied().fold(0.0, f64::max);
        (longest, self.bare_runs.iter().sum::<f64>() / self.bare_runs.len() as f64)
    }
}

impl SharedBacklog {
    /// Runs `count` jobs of some seconds on all nodes of a lab, `jobs` at once on each.
    ///
    /// # Panics
    /// When they do not end.
    pub fn run(lab: &Lab, count: usize, seconds: u32, jobs: usize) -> Self {
        let timestamps: Vec<String> = (0..count).map(|number| format!("{number:03}")).collect();
        for timestamp in &timestamps {
            lab.submit(timestamp, &[(&format!("d{timestamp}.txt"), &format!("{seconds}\nd"))]);
        }
        let pipes: Vec<_> = lab.cluster.nodes().iter().map(|node| lab.serve(node, 2 * jobs, jobs)).collect();
        let bare_runs = measure_bare_runs(lab, || lab.wait_for_end(&timestamps, Duration::from_secs(300)));
        for (node, mut pipe) in lab.cluster.nodes().iter().zip(pipes) {
            lab.cluster.bash(node, "pkill -TERM '^ncaas-'");
            pipe.wait().unwrap();
        }
        let time = |value: &serde_json::Value| value.as_str().map(seconds_of_day).unwrap();
        let mut shares: BTreeMap<String, Share> = BTreeMap::new();
        let mut starts = Vec::new();
        for timestamp in &timestamps {
            let record = lab.saved_record(timestamp, &format!("d{timestamp}.txt"));
            let container = &record["container"];
            let (start, end) = (time(&container["started_at"]), time(&container["finished_at"]));
            starts.push(start);
            let watcher = record["job"]["claim"]["watcher"].as_str().unwrap().to_owned();
            shares.entry(watcher).or_default().jobs.push((start, end));
        }
        let first = starts.iter().copied().fold(f64::INFINITY, f64::min);
        let mut last = 0_f64;
        for share in shares.values_mut() {
            share.jobs.iter_mut().for_each(|(start, end)| (*start, *end) = (*start - first, *end - first));
            share.jobs.sort_by(|a, b| a.0.total_cmp(&b.0));
            last = share.jobs.iter().map(|job| job.1).fold(last, f64::max);
        }
        let starts = starts.iter().map(|start| start - first).collect();
        SharedBacklog { shares, starts, duration: last, bare_runs }
    }
}

/// Runs a container that does nothing on one node after the other while `work` lasts. The time of each, in seconds.
fn measure_bare_runs(lab: &Lab, work: impl FnOnce()) -> Vec<f64> {
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let measured = scope.spawn(|| {
            let mut times = Vec::new();
            for node in lab.cluster.nodes().iter().cycle() {
                if has_ended.load(Ordering::Relaxed) {
                    break;
                }
                let began = Instant::now();
                lab.cluster.run(node, Path::new("/"), &["docker", "run", "--rm", "--entrypoint", "true", IMAGE]);
                times.push(began.elapsed().as_secs_f64());
                std::thread::sleep(Duration::from_millis(500));
            }
            times
        });
        work();
        has_ended.store(true, Ordering::Relaxed);
        measured.join().unwrap()
    })
}

/// The seconds since midnight of an RFC 3339 time in UTC.
fn seconds_of_day(time: &str) -> f64 {
    let clock = time.split('T').nth(1).unwrap().trim_end_matches('Z');
    clock.split(':').fold(0.0, |seconds, part| seconds * 60.0 + part.parse::<f64>().unwrap())
}
