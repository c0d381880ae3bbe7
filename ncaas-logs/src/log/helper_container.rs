//! Helper containers: each is never started, mounts a log's folder, and exists while something is read through it.
//!
//! Helpers are always removed. Before a helper is created, a second process of this program is started. It waits until
//! the first process ends (its stdin is closed then, even after SIGKILL) and removes the helper. If both processes are
//! killed or the machine loses power, the next reader removes the helper.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use bollard::models::{Mount, MountType};
use ncaas_core::engine::{Engine, labels};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files::random_id;
use ncaas_core::tool::ExitStatus;
use tokio::time::sleep;

use crate::args::REMOVE_HELPER;

/// The value of a helper's label.
const PURPOSE: &str = "ncaas-logs";
/// A helper older than this is abandoned. The engine delays the removal of one that is still being read.
const STALE: Duration = Duration::from_secs(600);
/// How often the removal of a helper is tried that does not exist yet, and the time between.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
const MAX_TRIES: u32 = 25;

pub(super) struct Helper {
    name: String,
    remover: Option<Child>,
}

impl Helper {
    /// Creates one from an image, with `folder` of the engine's machine mounted read-only at `mounted`.
    pub(super) async fn create(engine: &Engine, image: String, folder: String, mounted: &str) -> Result<Self> {
        remove_stale(engine).await;
        let mut helper = Helper::with_remover(format!("ncaas-logs-{}", random_id()))?;
        let mount = Mount {
            typ: Some(MountType::BIND),
            source: Some(folder),
            target: Some(mounted.to_owned()),
            read_only: Some(true),
            ..Default::default()
        };
        let created = engine.create_helper(PURPOSE, &helper.name, image, vec![mount]).await;
        if created.is_err() {
            helper.cancel_removal();
        }
        created.map(|()| helper)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn with_remover(name: String) -> Result<Self> {
        let remover = Command::new("/proc/self/exe")
            .args([REMOVE_HELPER, &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Signals of the terminal must not reach it.
            .process_group(0)
            .spawn();
        match remover {
            Ok(child) => Ok(Helper { name, remover: Some(child) }),
            Err(error) => Err(Failure::new(Kind::Io, format!("cannot start a second process: {error}"))),
        }
    }

    /// Tells the second process that there is nothing to remove.
    fn cancel_removal(&mut self) {
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
        // Its exit status is of no interest, but it must be reaped.
        std::thread::spawn(move || drop(remover.wait()));
    }
}

/// The second process: waits until the first process ends or does not need the helper any more, and removes it.
pub(crate) async fn remove_when_alone(name: &str) -> Result<ExitStatus> {
    let input = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await;
    let is_cancelled = input.is_ok_and(|input| input.is_ok_and(|input| !input.is_empty()));
    if is_cancelled {
        return Ok(ExitStatus::SUCCESS);
    }
    let engine = Engine::connect().await?;
    for _ in 0..MAX_TRIES {
        match engine.remove(name).await {
            Err(failure) if failure.kind == Kind::ContainerNotFound => sleep(RETRY_PAUSE).await,
            other => return other.map(|()| ExitStatus::SUCCESS),
        }
    }
    Ok(ExitStatus::SUCCESS)
}

async fn remove_stale(engine: &Engine) {
    let Ok(helpers) = engine.list_labelled(&[&format!("{}={PURPOSE}", labels::HELPER)]).await else { return };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    for helper in helpers {
        let created = Duration::from_secs(helper.created.try_into().unwrap_or_default());
        if now.saturating_sub(created) > STALE {
            let (engine, id) = (engine.clone(), helper.id);
            // The engine waits while a helper is being read. This process does not.
            tokio::spawn(async move { drop(engine.remove(&id).await) });
        }
    }
}
