//! A container that is never started and mounts a log's folder, for as long as something is read through it.
//!
//! No helper stays behind, whatever happens: before it is made, a second process of this program is started, which
//! waits for the end of the first (its stdin ends then, also after SIGKILL), and removes it. Should both be killed, or
//! the machine lose its power, the next reader removes what is left.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType};
use bollard::query_parameters::{CreateContainerOptions, RemoveContainerOptions};
use ncaas_core::engine::{Engine, EngineContext, Subject, labels};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::short_hash;
use ncaas_core::tool::ExitStatus;
use tokio::time::sleep;

/// What a helper's label says.
const PURPOSE: &str = "ncaas-logs";
/// A helper older than this, by the engine's list, that can be removed is nobody's any more: the engine does not remove
/// one that is being read from before that has ended.
const STALE: Duration = Duration::from_secs(600);
/// How often, and how many times, the removal of a helper is tried that is not there: it may still be being made.
const AGAIN: Duration = Duration::from_millis(200);
const TIMES: u32 = 25;
/// The verb of the second process.
pub(crate) const VERB: &str = "remove-helper";

/// A helper container.
pub(super) struct Helper {
    name: String,
    remover: Option<Child>,
}

impl Helper {
    /// Makes one of an image, with `folder` of the engine's machine mounted read-only at `mounted`.
    pub(super) async fn create(engine: &Engine, image: String, folder: String, mounted: &str) -> Result<Self> {
        remove_stale(engine).await;
        let mut helper = Helper::with_remover(unused_name())?;
        let mount = Mount {
            typ: Some(MountType::BIND),
            source: Some(folder),
            target: Some(mounted.to_owned()),
            read_only: Some(true),
            ..Default::default()
        };
        let body = ContainerCreateBody {
            image: Some(image),
            // Never run; an image need not have a command.
            cmd: Some(vec!["true".to_owned()]),
            labels: Some(HashMap::from([(labels::HELPER.to_owned(), PURPOSE.to_owned())])),
            host_config: Some(HostConfig {
                mounts: Some(vec![mount]),
                network_mode: Some("none".to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let options = CreateContainerOptions { name: Some(helper.name.clone()), ..Default::default() };
        match engine.docker().create_container(Some(options), body).await {
            Ok(_) => Ok(helper),
            Err(error) => {
                helper.was_not_made();
                Err(error).engine_context("make a helper on", Subject::Engine)
            }
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn with_remover(name: String) -> Result<Self> {
        let remover = Command::new("/proc/self/exe")
            .args([VERB, &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What a terminal sends to us is not for it.
            .process_group(0)
            .spawn();
        match remover {
            Ok(child) => Ok(Helper { name, remover: Some(child) }),
            Err(error) => Err(Failure::new(Kind::Io, format!("cannot start a second process: {error}"))),
        }
    }

    /// Tells the second process that there is nothing to remove.
    fn was_not_made(&mut self) {
        if let Some(stdin) = self.remover.as_mut().and_then(|remover| remover.stdin.as_mut()) {
            // If it is gone, nothing will be removed either.
            stdin.write_all(b"-").unwrap_or(());
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let Some(mut remover) = self.remover.take() else { return };
        drop(remover.stdin.take());
        // How it ended is of no interest, but that somebody has asked.
        std::thread::spawn(move || drop(remover.wait()));
    }
}

/// A name that no other helper has.
fn unused_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let unique = format!("{}-{now}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    format!("ncaas-logs-{}-{}", std::process::id(), short_hash(&unique))
}

/// The second process: waits until the first has ended or needs the helper no more, and removes it.
pub(crate) async fn remove_when_alone(name: &str) -> Result<ExitStatus> {
    let said = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await;
    let was_not_made = said.is_ok_and(|said| said.is_ok_and(|said| !said.is_empty()));
    if was_not_made {
        return Ok(ExitStatus::SUCCESS);
    }
    let engine = Engine::connect().await?;
    for _ in 0..TIMES {
        match remove(&engine, name).await {
            Err(failure) if failure.kind == Kind::ContainerNotFound => sleep(AGAIN).await,
            other => return other.map(|()| ExitStatus::SUCCESS),
        }
    }
    Ok(ExitStatus::SUCCESS)
}

async fn remove(engine: &Engine, name: &str) -> Result<()> {
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    engine.docker().remove_container(name, Some(options)).await.engine_context("remove", Subject::Container(name))
}

/// Removes helpers that nobody has removed.
async fn remove_stale(engine: &Engine) {
    let Ok(helpers) = engine.labelled(&[&format!("{}={PURPOSE}", labels::HELPER)]).await else { return };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    for helper in helpers {
        let created = Duration::from_secs(helper.created.try_into().unwrap_or_default());
        if now.saturating_sub(created) > STALE {
            let (engine, id) = (engine.clone(), helper.id);
            // One that is still being read from keeps its removal waiting; we do not wait with it.
            tokio::spawn(async move { drop(remove(&engine, &id).await) });
        }
    }
}
