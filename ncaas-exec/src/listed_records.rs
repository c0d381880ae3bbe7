//! The records of listed containers, with the containers' current states.

use bollard::query_parameters::InspectContainerOptions;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::labels::LabelledContainer;
use ncaas_core::engine::{Engine, EngineContext, Subject};
use ncaas_core::failure::Result;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, RecordFields};

/// The record of a listed container with its current state; none if it has been removed since.
pub(crate) async fn inspect_record(engine: &Engine, listed: LabelledContainer, size: bool) -> Result<Option<Record>> {
    let options = InspectContainerOptions { size };
    let inspected = match engine.docker().inspect_container(&listed.id, Some(options)).await {
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(None),
        inspected => inspected.engine_context("inspect", Subject::Container(&listed.id))?,
    };
    let mut container = container_from_inspect(&inspected);
    container.size_bytes = inspected.size_rw.and_then(|bytes| u64::try_from(bytes).ok());
    Ok(Some(record_with_state(&listed, container)))
}

/// The record of a listed container, with this state.
pub(crate) fn record_with_state(listed: &LabelledContainer, container: Container) -> Record {
    let mut record = listed.record().unwrap_or_default();
    record.merge(&RecordFields { container: Some(container), ..RecordFields::default() });
    record
}
