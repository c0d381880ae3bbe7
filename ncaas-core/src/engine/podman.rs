//! Podman behind its Docker-compatible socket answers some requests differently (tested with 4.3).
//!
//! - It sends past events only to a client that stays connected while it reads them. A `stop` that the container obeys
//!   leaves no event, so [`Engine::stop`] sends the signals itself.
//! - It does not notice that a container was killed for memory: the kernel's log shows it.
//! - It writes an archive into a mount only if the request names the mount itself ([`Engine::repair_ownership`]).
//! - It writes a mount into a line of CSV without quoting: see [`is_safe_in_mount`].

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use bollard::query_parameters::KillContainerOptions;
use tokio::time::{Instant, sleep, timeout_at};

use super::connection::Engine;
use super::errors::{EngineContext, Subject};
use super::reference;
use crate::failure::Result;

/// Podman's name among the components of its version.
const NAME: &str = "Podman Engine";
/// Between two inspections of a container that is being stopped.
const INSPECT_INTERVAL: Duration = Duration::from_millis(100);

impl Engine {
    /// Whether the engine is Podman. It is asked once. An engine that does not answer counts as the Docker Engine.
    #[boxed]
    pub async fn is_podman(&self) -> bool {
        let ask = async || {
            let version = self.docker().version().await?;
            let mut parts = version.components.into_iter().flatten();
            Ok::<bool, bollard::errors::Error>(parts.any(|part| part.name == NAME))
        };
        self.is_podman.get_or_try_init(ask).await.is_ok_and(|is_podman| *is_podman)
    }

    /// Does the same as [`Engine::stop`] by signals, because Podman records an event only for signals.
    pub(super) async fn stop_by_signals(&self, id: &str, grace: i32) -> Result<()> {
        let id = reference::container(id)?;
        let config = self.inspect(id).await?.config.unwrap_or_default();
        self.signal(id, config.stop_signal.as_deref().unwrap_or("TERM")).await?;
        let grace = Duration::from_secs(grace.max(0).unsigned_abs().into());
        let ended = async {
            while !self.is_ended(id).await? {
                sleep(INSPECT_INTERVAL).await;
            }
            Ok(())
        };
        match timeout_at(Instant::now() + grace, ended).await {
            Ok(ended) => ended,
            Err(_) => self.signal(id, "KILL").await,
        }
    }

    #[boxed]
    async fn signal(&self, id: &str, signal: &str) -> Result<()> {
        let options = KillContainerOptions { signal: signal.to_owned() };
        match self.docker().kill_container(id, Some(options)).await {
            // The container has ended meanwhile.
            Err(_) if self.is_ended(id).await? => Ok(()),
            signalled => signalled.engine_context("stop", Subject::Container(id)),
        }
    }

    async fn is_ended(&self, id: &str) -> Result<bool> {
        Ok(super::container::container_from_inspect(&self.inspect(id).await?).has_ended())
    }
}

/// Whether Podman mounts exactly this path. It would take the text after a comma for further options, such as another
/// source.
pub fn is_safe_in_mount(path: &str) -> bool {
    !path.contains([',', '"', '\n', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_podman_would_read_as_options_is_not_safe() {
        assert!(is_safe_in_mount("/a b/it's $(x): é"));
        for odd in ["/a,source=/etc", "/\"a\"", "/a\nb", "/a\r"] {
            assert!(!is_safe_in_mount(odd), "{odd}");
        }
    }
}
