//! Podman's log. Its stream knows whole seconds only, leaves out lines where a number of them is asked for, and may end
//! before the last: its file is read for all that is wanted of it, and followed as it grows.

use std::path::PathBuf;

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::failure::{Kind, Result};

use super::files::Files;
use super::{Log, Source};

/// How many times nothing new comes in a file that grows before the container is looked at.
pub(super) const PAUSES: u32 = 5;

/// Whether Podman writes the log: all lines that it reads at once have one time.
pub(super) fn is_podmans(inspected: &ContainerInspectResponse) -> bool {
    inspected.log_path.as_deref().is_some_and(|path| path.ends_with("/ctr.log"))
}

impl Log {
    /// Podman's file, from the wanted entry on.
    pub(super) fn open_growing(&mut self, mut counted: Files, path: Option<PathBuf>) -> Result<Source> {
        let again = path.as_deref().and_then(|path| Files::open(path, self.query.details));
        if let Some(tail) = self.query.tail {
            let mut count: u64 = 0;
            while counted.read(|entry| count += u64::from(self.query.wants(entry)))? {}
            self.skip = count.saturating_sub(tail);
        }
        self.growing = path;
        Ok(match again {
            Some(files) if self.query.follow => Source::Growing(files.growing(), Some(0)),
            Some(files) => Source::Files(files),
            None => self.open_stream(),
        })
    }

    /// Looks whether the container whose file is followed has ended.
    pub(super) async fn look_on(&mut self) -> Result<()> {
        let has_ended = match self.engine.inspect(&self.id).await {
            Ok(inspected) => {
                self.away = None;
                container_from_inspect(&inspected).has_ended()
            }
            Err(failure) if failure.kind == Kind::ContainerNotFound => true,
            Err(failure) => {
                self.wait(failure)?;
                false
            }
        };
        if let Source::Growing(_, idle) = &mut self.source {
            *idle = if has_ended { None } else { Some(0) };
        }
        Ok(())
    }
}
