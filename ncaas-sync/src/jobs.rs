//! What the verbs do alike with a job's record.

use futures_util::{StreamExt, TryStreamExt, stream};
use ncaas_core::engine::Engine;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::failure::Result;
pub(crate) use ncaas_core::io_dir::fill_io_dir;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, Known};

/// The record of a container that was named: what its job was started from, or for one that is no job's a record of its
/// own, whose results go to a folder that has the container's name.
pub(crate) async fn of_container(engine: &Engine, name: &str) -> Result<Record> {
    let inspected = engine.inspect(name).await?;
    let container = container_from_inspect(&inspected);
    let mut record = engine.record_of_container(&inspected).await?.unwrap_or_default();
    let image = inspected.config.and_then(|config| config.image).unwrap_or_default();
    record.fill("job", &Job { id: container.name.clone(), dataset: 1, datasets: 1, ..Job::default() });
    record.fill("image", &image);
    record.merge(&Known { container: Some(container), ..Known::default() });
    Ok(record)
}

/// Does several things side by side, and fails with the first that fails.
pub(crate) async fn all(
    each: impl IntoIterator<Item = impl Future<Output = Result<()>>>,
    at_once: usize,
) -> Result<()> {
    stream::iter(each).buffer_unordered(at_once).try_collect().await
}
