//! Which container a verb works on: named by its arguments, or by the records that come in.

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::container::describe;
use ncaas_core::engine::{Engine, labels};
use ncaas_core::failure::{Failure, Result};
use ncaas_core::pipe::Input;
use ncaas_core::record::Record;
use ncaas_core::record::fields::Known;
use ncaas_core::tool::Tool;
use serde_json::json;
use tokio::sync::OnceCell;

/// The engine, connected to when it is first needed. An attempt that failed is made again for a later record.
#[derive(Debug, Default)]
pub(crate) struct Engines {
    cell: OnceCell<Engine>,
}

impl Engines {
    pub(crate) async fn get(&self) -> Result<&Engine> {
        self.cell.get_or_try_init(Engine::connect).await
    }
}

/// The containers that arguments name, or else the records on stdin.
pub(crate) fn input(tool: Tool, containers: &[String], usage: &str) -> Result<Input> {
    if containers.is_empty() {
        return Input::stdin(tool, usage);
    }
    Ok(Input::records(containers.iter().map(|container| {
        let mut record = Record::default();
        record.set("container", &json!({ "id": container }));
        record
    })))
}

/// The id or name of the record's container.
pub(crate) fn container(record: &Record) -> Result<String> {
    let container = record.container().ok_or_else(|| Failure::lacks("container"))?;
    let name = if container.id.is_empty() { container.name } else { container.id };
    if name.is_empty() { Err(Failure::lacks("container.id")) } else { Ok(name) }
}

/// Adds to the record what the engine says of its container; first, where the record names nothing but a container,
/// the record that this was started from.
pub(crate) fn complete(record: &mut Record, inspected: &ContainerInspectResponse) {
    let label = || inspected.config.as_ref()?.labels.as_ref()?.get(labels::RECORD);
    if record.job().is_none()
        && let Some(started_from) = label().and_then(|label| Record::parse(label.as_bytes()).ok())
    {
        *record = started_from;
    }
    record.merge(&Known { container: Some(describe(inspected)), ..Known::default() });
}
