//! How many jobs run at once.
//!
//! With `-j N` that many of this command's own; else as many as there are processors for: a job counts for one, or for
//! what `--cpus` says. Jobs that name memory or get a GPU are counted beyond that against what the engine's machine has,
//! together with those that other commands have started there. A place is held from before the start until the job has
//! ended, also by a job that an earlier command has started and this one has come across again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::models::SystemInfo;
use ncaas_core::engine::{Engine, labels};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::record::fields::{Gpus, RunSettings};
use tokio::sync::{Notify, OnceCell, OwnedSemaphorePermit, Semaphore};

/// A processor's places: `--cpus` is counted to the hundredth.
const PLACES_OF_A_CPU: u32 = 100;
/// How often to look whether jobs that other commands have started have ended.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Who runs, and what is left.
#[derive(Debug)]
pub(super) struct Admission {
    /// `-j`.
    jobs: Option<u16>,
    places: OnceCell<(Arc<Semaphore>, u32)>,
    ledger: Arc<Ledger>,
}

/// What the jobs of this command take of the memory and the GPUs, from before their start to their end.
#[derive(Debug, Default)]
struct Ledger {
    /// By the container's name.
    taken: Mutex<HashMap<String, Share>>,
    changed: Notify,
}

/// What a job takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Share {
    memory: u64,
    gpu: Option<String>,
}

/// A job's place. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    entry: Option<(Arc<Ledger>, String)>,
    /// The GPU that the job is to have.
    pub(super) gpu: Option<String>,
    /// What the user should know.
    pub(super) warning: Option<String>,
}

impl Admission {
    pub(super) fn new(jobs: Option<u16>) -> Self {
        Admission { jobs, places: OnceCell::new(), ledger: Arc::default() }
    }

    /// Waits until there is room for a job.
    ///
    /// # Errors
    /// [`Kind::GpuUnavailable`] where it asks for a GPU and the engine has none.
    pub(super) async fn enter(
        &self,
        engine: &Engine,
        info: &SystemInfo,
        name: &str,
        settings: &RunSettings,
    ) -> Result<Place> {
        let (wants_gpu, warning) = wants_gpu(settings.gpus.unwrap_or_default(), info)?;
        let (places, all) = self.places(info).await;
        let needed = self.needed(settings).min(*all);
        let permit = Arc::clone(places).acquire_many_owned(needed).await.ok();
        let memory = settings.memory.unwrap_or_default();
        let mut place = Place { _permit: permit, entry: None, gpu: None, warning };
        if memory == 0 && !wants_gpu {
            return Ok(place);
        }
        loop {
            let changed = self.ledger.changed.notified();
            if let Some(share) = self.reserve(engine, info, name, memory, wants_gpu).await? {
                place.gpu = share.gpu;
                place.entry = Some((Arc::clone(&self.ledger), name.to_owned()));
                return Ok(place);
            }
            // Whichever comes first, it is time to look again.
            let _ = tokio::time::timeout(LOOK_AGAIN, changed).await;
        }
    }

    /// A place for a job that runs already, if there is one: it needs nobody's leave.
    pub(super) async fn note(&self, info: &SystemInfo, settings: &RunSettings) -> Option<Place> {
        let (places, all) = self.places(info).await;
        let permit = Arc::clone(places).try_acquire_many_owned(self.needed(settings).min(*all)).ok()?;
        Some(Place { _permit: Some(permit), entry: None, gpu: None, warning: None })
    }

    async fn places(&self, info: &SystemInfo) -> &(Arc<Semaphore>, u32) {
        let make = async || {
            let cpus = info.ncpu.and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1).max(1);
            let all = self.jobs.map_or(cpus * PLACES_OF_A_CPU, u32::from);
            (Arc::new(Semaphore::new(all as usize)), all)
        };
        self.places.get_or_init(make).await
    }

    fn needed(&self, settings: &RunSettings) -> u32 {
        match self.jobs {
            Some(_) => 1,
            None => (settings.cpus.unwrap_or(1.0) * f64::from(PLACES_OF_A_CPU)).ceil().max(1.0) as u32,
        }
    }

    /// Enters the job's share into the ledger if there is as much left. A job that asks for more memory than there is
    /// at all runs when no other does.
    async fn reserve(
        &self,
        engine: &Engine,
        info: &SystemInfo,
        name: &str,
        memory: u64,
        wants_gpu: bool,
    ) -> Result<Option<Share>> {
        let others = engine.labelled(&[labels::JOB]).await?;
        let mut taken = self.ledger.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shares: Vec<Share> = taken.values().cloned().collect();
        for other in others.iter().filter(|other| other.state == "running" && !taken.contains_key(&other.name)) {
            let settings = other.record().and_then(|record| record.known().ok()?.run).unwrap_or_default();
            let gpu = other.labels.get(labels::GPU).cloned();
            shares.push(Share { memory: settings.memory.unwrap_or_default(), gpu });
        }
        let all_memory = info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(u64::MAX);
        let gpus = if wants_gpu { gpus(engine) } else { 0 };
        let share = fit(&shares, memory, all_memory, wants_gpu.then_some(gpus));
        if let Some(share) = &share {
            taken.insert(name.to_owned(), share.clone());
        }
        Ok(share)
    }
}

impl Place {
    /// Keeps the place until the container has ended. Whoever waits for it also ends it when its time is over.
    pub(super) fn keep_until_end_of(self, engine: &Engine, id: &str) {
        let (engine, id) = (engine.clone(), id.to_owned());
        tokio::spawn(async move {
            // However the wait ends, there is nothing left to keep the place for.
            let _ = engine.wait(&id).await;
            drop(self);
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((ledger, name)) = &self.entry {
            ledger.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
            ledger.changed.notify_waiters();
        }
    }
}

/// A share of what the others have left, if it is enough.
fn fit(others: &[Share], memory: u64, all_memory: u64, of_gpus: Option<usize>) -> Option<Share> {
    let used: u64 = others.iter().map(|share| share.memory).sum();
    if memory > 0 && used > 0 && used.saturating_add(memory) > all_memory {
        return None;
    }
    let gpu = match of_gpus {
        None => None,
        Some(gpus) => {
            let in_use = |id: &String| others.iter().any(|share| share.gpu.as_ref() == Some(id));
            Some((0..gpus).map(|id| id.to_string()).find(|id| !in_use(id))?)
        }
    };
    Some(Share { memory, gpu })
}

/// Whether the job gets a GPU, and what to say where it does not although it would like to.
fn wants_gpu(wish: Gpus, info: &SystemInfo) -> Result<(bool, Option<String>)> {
    let runtime = info.runtimes.iter().flatten().any(|(name, _)| name.contains("nvidia"));
    match wish {
        Gpus::None => Ok((false, None)),
        Gpus::Auto | Gpus::Require if runtime => Ok((true, None)),
        Gpus::Auto => Ok((false, Some("the engine has no runtime for GPUs: the job runs without one".to_owned()))),
        Gpus::Require => {
            Err(Failure::new(Kind::GpuUnavailable, "a GPU is required, and the engine has no runtime for GPUs")
                .hint("install the NVIDIA container toolkit on the engine's machine, or say `--gpus auto`"))
        }
    }
}

/// The GPU for a container that waits for none, and what to say where it goes without.
///
/// # Errors
/// As [`Admission::enter`].
pub(crate) fn any_gpu(info: &SystemInfo, settings: &RunSettings) -> Result<(Option<String>, Option<String>)> {
    let (wants_gpu, warning) = wants_gpu(settings.gpus.unwrap_or_default(), info)?;
    Ok((wants_gpu.then(|| "0".to_owned()), warning))
}

/// How many GPUs the engine's machine has, as far as we can see: an engine does not say.
fn gpus(engine: &Engine) -> usize {
    let here = || std::fs::read_dir("/proc/driver/nvidia/gpus").map(Iterator::count).unwrap_or_default();
    if engine.is_remote() { 1 } else { here().max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(memory: u64, gpu: Option<&str>) -> Share {
        Share { memory, gpu: gpu.map(str::to_owned) }
    }

    #[test]
    fn memory_that_is_named_is_counted_against_what_there_is() {
        assert!(fit(&[share(6, None)], 4, 10, None).is_some());
        assert!(fit(&[share(6, None), share(1, None)], 4, 10, None).is_none());
        assert!(fit(&[share(0, None)], 40, 10, None).is_some(), "more than there is runs alone");
        assert!(fit(&[share(10, None)], 0, 10, None).is_some(), "what names no memory is not counted");
    }

    #[test]
    fn each_job_has_a_gpu_of_its_own() {
        assert_eq!(fit(&[], 0, 1, Some(2)), Some(share(0, Some("0"))));
        assert_eq!(fit(&[share(0, Some("0"))], 0, 1, Some(2)), Some(share(0, Some("1"))));
        assert_eq!(fit(&[share(0, Some("0")), share(0, Some("1"))], 0, 1, Some(2)), None);
    }

    #[test]
    fn without_a_gpu_auto_goes_on_and_require_does_not() {
        let none = SystemInfo::default();
        assert!(wants_gpu(Gpus::Auto, &none).is_ok_and(|(gpu, warning)| !gpu && warning.is_some()));
        assert_eq!(wants_gpu(Gpus::Require, &none).map_err(|failure| failure.kind), Err(Kind::GpuUnavailable));
    }
}
