//! How a container ended that was removed before it could be asked.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::StreamExt;
use jiff::Timestamp;
use ncaas_core::engine::Engine;
use ncaas_core::record::fields::{Container, Status};
use tokio::time::timeout;

/// How long the engine has to find an event that it has in its memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the container ended, by the engine's events. None where it has forgotten.
pub(crate) async fn end(engine: &Engine, container: &Container) -> Option<Container> {
    let started: Timestamp = container.started_at.as_deref()?.parse().ok()?;
    let filters = HashMap::from([("container".to_owned(), vec![container.id.clone()])]);
    let options = EventsOptions { since: Some(started.as_second().to_string()), until: None, filters: Some(filters) };
    let mut events = engine.docker().events(Some(options));
    let mut out_of_memory = false;
    let found = timeout(PATIENCE, async {
        while let Some(Ok(event)) = events.next().await {
            match event.action.as_deref() {
                Some("oom") => out_of_memory = true,
                Some("die") => return Some(event),
                _ => {}
            }
        }
        None
    });
    let event = found.await.ok()??;
    let code = exit_code(&event)?;
    let finished = Timestamp::from_nanosecond(event.time_nano?.into()).ok()?;
    let seconds = finished.duration_since(started).as_secs_f64();
    Some(Container {
        state: "exited".to_owned(),
        status: Some(match code {
            0 => Status::Success,
            _ if out_of_memory => Status::OutOfMemory,
            129..=159 => Status::Killed,
            _ => Status::Failed,
        }),
        exit_code: Some(code),
        oom_killed: out_of_memory,
        finished_at: Some(finished.to_string()),
        duration_s: Some((seconds * 1e3).round() / 1e3),
        ..container.clone()
    })
}

fn exit_code(event: &EventMessage) -> Option<i64> {
    event.actor.as_ref()?.attributes.as_ref()?.get("exitCode")?.parse().ok()
}
