//! The record of a container.

use ncaas_core::engine::Engine;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::failure::Result;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, RecordFields};

/// The record from which the container of an argument was started. If the container has none, a record is made up, and its
/// results go to a folder with the container's name.
pub(crate) async fn record_from_container(engine: &Engine, name: &str) -> Result<Record> {
    let inspected = engine.inspect_named(name).await?;
    let container = container_from_inspect(&inspected);
    let mut record = engine.record_of_container(&inspected).await?.unwrap_or_default();
    let image = inspected.config.and_then(|config| config.image).unwrap_or_default();
    record.fill("job", &Job { id: container.name.clone(), dataset: 1, datasets: 1, ..Job::default() });
    record.fill("image", &image);
    record.merge(&RecordFields { container: Some(container), ..RecordFields::default() });
    Ok(record)
}
