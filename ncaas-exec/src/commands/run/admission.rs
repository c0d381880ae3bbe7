//! How many jobs run at once.
//!
//! With `-j N`, at most N jobs of this command run at once. Otherwise the machine's CPUs limit the number: a job counts
//! as one CPU, or as `--cpus` says. Jobs with a memory limit or a GPU are also counted against the memory and the GPUs
//! of the engine's machine, together with jobs that other commands have started there. A job holds its slot from before
//! its start until it has ended, and so does a running job of an earlier command that this one adopts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::models::SystemInfo;
use ncaas_core::blocking::lock;
use ncaas_core::engine::{Engine, labels};
use ncaas_core::failure::Result;
use ncaas_core::quantity::format_count;
use ncaas_core::record::fields::RunSettings;
use tokio::sync::{Notify, OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::gpu::{GpuRequest, visible_gpus};

/// Permits for one CPU: `--cpus` is counted in hundredths.
const PERMITS_PER_CPU: u32 = 100;
/// How often to check whether jobs of other commands have ended.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Admits jobs as resources become free.
#[derive(Debug)]
pub(super) struct Admission {
    /// `-j`.
    jobs: Option<u16>,
    permits: OnceCell<(Arc<Semaphore>, u32)>,
    reservations: Arc<Reservations>,
    /// Counts running jobs: each holds one reference, and this field holds another.
    running: Arc<()>,
}

/// Memory and GPUs reserved by the jobs of this command, from before their start until their end.
#[derive(Debug, Default)]
struct Reservations {
    /// By container name.
    reserved: Mutex<HashMap<String, Reservation>>,
    changed: Notify,
}

/// Memory and GPU of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Reservation {
    memory: u64,
    gpu: Option<String>,
}

/// A job's slot. Dropping it frees the resources.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
    entry: Option<(Arc<Reservations>, String)>,
    /// The job's GPU.
    pub(super) gpu: Option<String>,
    /// A warning for the user.
    pub(super) warning: Option<String>,
}

impl Admission {
    pub(super) fn new(jobs: Option<u16>) -> Self {
        Admission { jobs, permits: OnceCell::new(), reservations: Arc::default(), running: Arc::default() }
    }

    /// Waits until a job may start. Fails with [`Kind::GpuUnavailable`](ncaas_core::failure::Kind::GpuUnavailable) if
    /// the job requires a GPU and the engine has none.
    pub(super) async fn wait_for_slot(
        &self,
        engine: &Engine,
        info: &SystemInfo,
        name: &str,
        settings: &RunSettings,
    ) -> Result<Slot> {
        let gpu = GpuRequest::new(settings.gpus, info)?;
        let needs_gpu = gpu == GpuRequest::One;
        let (permits, total) = self.permits(info).await;
        let permit = Arc::clone(permits).acquire_many_owned(self.permits_for(settings).min(*total)).await.ok();
        let memory = settings.memory.unwrap_or_default();
        let warning = gpu.warning().map(str::to_owned);
        let mut slot = Slot { _permit: permit, entry: None, gpu: None, warning };
        if memory == 0 && !needs_gpu {
            return Ok(slot);
        }
        loop {
            let changed = self.reservations.changed.notified();
            if let Some(reservation) = self.reserve(engine, info, name, memory, needs_gpu).await? {
                slot.gpu = reservation.gpu;
                slot.entry = Some((Arc::clone(&self.reservations), name.to_owned()));
                return Ok(slot);
            }
            // Check again after a change, and after the interval.
            let _ = tokio::time::timeout(CHECK_INTERVAL, changed).await;
        }
    }

    /// A slot for a job that runs already; an empty one if none is free.
    pub(super) async fn slot_for_running(&self, info: &SystemInfo, settings: &RunSettings) -> Slot {
        let (permits, total) = self.permits(info).await;
        let permit = Arc::clone(permits).try_acquire_many_owned(self.permits_for(settings).min(*total)).ok();
        Slot { _permit: permit, entry: None, gpu: None, warning: None }
    }

    /// Holds a slot until the container has ended. The wait also enforces the job's time limit.
    pub(super) fn hold_until_end(&self, slot: Slot, engine: &Engine, id: &str) {
        let (engine, id, running) = (engine.clone(), id.to_owned(), Arc::clone(&self.running));
        tokio::spawn(async move {
            // After a failed wait, nothing is known that the slot could be held for.
            let _ = engine.wait(&id).await;
            drop((slot, running));
        });
    }

    /// How many jobs of this command run.
    pub(super) fn running(&self) -> usize {
        Arc::strong_count(&self.running) - 1
    }

    /// The limits on the number of jobs, in words.
    pub(super) fn describe_limit(&self, info: &SystemInfo) -> String {
        match self.jobs {
            Some(jobs) => format!("at most {} at once (`-j`)", format_count(jobs, "job")),
            None => format!(
                "jobs start as they fit into {}, the engine's memory and its GPUs (`-j` sets another limit)",
                format_count(info.ncpu.unwrap_or(1), "CPU")
            ),
        }
    }

    async fn permits(&self, info: &SystemInfo) -> &(Arc<Semaphore>, u32) {
        let make = async || {
            let cpus = info.ncpu.and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1).max(1);
            let total = self.jobs.map_or(cpus * PERMITS_PER_CPU, u32::from);
            (Arc::new(Semaphore::new(total as usize)), total)
        };
        self.permits.get_or_init(make).await
    }

    fn permits_for(&self, settings: &RunSettings) -> u32 {
        match self.jobs {
            Some(_) => 1,
            None => (settings.cpus.unwrap_or(1.0) * f64::from(PERMITS_PER_CPU)).ceil().max(1.0) as u32,
        }
    }

    /// Reserves memory and GPU if they are free. A job with a memory limit above the machine's memory runs alone.
    async fn reserve(
        &self,
        engine: &Engine,
        info: &SystemInfo,
        name: &str,
        memory: u64,
        needs_gpu: bool,
    ) -> Result<Option<Reservation>> {
        let others = engine.list_labelled(&[labels::JOB]).await?;
        let mut reserved = lock(&self.reservations.reserved);
        let mut all: Vec<Reservation> = reserved.values().cloned().collect();
        for other in others.iter().filter(|other| other.state == "running" && !reserved.contains_key(&other.name)) {
            let settings = other.record().and_then(|record| record.fields().ok()?.run).unwrap_or_default();
            let gpu = other.labels.get(labels::GPU).cloned();
            all.push(Reservation { memory: settings.memory.unwrap_or_default(), gpu });
        }
        let total_memory = info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(u64::MAX);
        let reservation = reserve_from_rest(&all, memory, total_memory, needs_gpu.then(|| gpu_ids(engine)).as_deref());
        if let Some(reservation) = &reservation {
            reserved.insert(name.to_owned(), reservation.clone());
        }
        Ok(reservation)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some((reservations, name)) = &self.entry {
            lock(&reservations.reserved).remove(name);
            reservations.changed.notify_waiters();
        }
    }
}

/// A reservation from the resources that the others leave, if they suffice. `gpus` are all GPUs, for a job that needs
/// one.
fn reserve_from_rest(
    others: &[Reservation],
    memory: u64,
    total_memory: u64,
    gpus: Option<&[String]>,
) -> Option<Reservation> {
    let used: u64 = others.iter().map(|other| other.memory).sum();
    if memory > 0 && used > 0 && used.saturating_add(memory) > total_memory {
        return None;
    }
    let gpu = match gpus {
        None => None,
        Some(gpus) => {
            let in_use = |id: &String| others.iter().any(|other| other.gpu.as_ref() == Some(id));
            Some(gpus.iter().find(|id| !in_use(id))?.clone())
        }
    };
    Some(Reservation { memory, gpu })
}

/// The GPUs of the engine's machine that jobs may use. The engine does not report them: a remote one is assumed to have
/// one.
fn gpu_ids(engine: &Engine) -> Vec<String> {
    if let Some(visible) = visible_gpus() {
        return visible;
    }
    let here = || std::fs::read_dir("/proc/driver/nvidia/gpus").map(Iterator::count).unwrap_or_default();
    let count = if engine.is_remote() { 1 } else { here().max(1) };
    (0..count).map(|id| id.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(memory: u64, gpu: Option<&str>) -> Reservation {
        Reservation { memory, gpu: gpu.map(str::to_owned) }
    }

    #[test]
    fn memory_limits_are_counted_against_the_machines_memory() {
        assert!(reserve_from_rest(&[job(6, None)], 4, 10, None).is_some());
        assert!(reserve_from_rest(&[job(6, None), job(1, None)], 4, 10, None).is_none());
        assert!(
            reserve_from_rest(&[job(0, None)], 40, 10, None).is_some(),
            "a job above the machine's memory runs alone"
        );
        assert!(reserve_from_rest(&[job(10, None)], 0, 10, None).is_some(), "a job without a limit is not counted");
    }

    #[test]
    fn each_job_gets_its_own_gpu() {
        let two: &[String] = &["0".to_owned(), "1".to_owned()];
        assert_eq!(reserve_from_rest(&[], 0, 1, Some(two)), Some(job(0, Some("0"))));
        assert_eq!(reserve_from_rest(&[job(0, Some("0"))], 0, 1, Some(two)), Some(job(0, Some("1"))));
        assert_eq!(reserve_from_rest(&[job(0, Some("0")), job(0, Some("1"))], 0, 1, Some(two)), None);
    }
}
