//! What the verbs do alike with a job's record.

use std::path::Path;

use futures_util::{StreamExt, TryStreamExt, stream};
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::{Engine, labels};
use ncaas_core::failure::{Failure, Result};
use ncaas_core::files;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, Known};

/// The record of a container that was named: what its job was started from, or for one that is no job's a record of its
/// own, whose results go to a folder that has the container's name.
pub(crate) async fn of_container(engine: &Engine, name: &str) -> Result<Record> {
    let inspected = engine.inspect(name).await?;
    let container = container_from_inspect(&inspected);
    let label = inspected.config.as_ref().and_then(|config| config.labels.as_ref()?.get(labels::RECORD));
    let mut record = label.and_then(|label| Record::parse(label.as_bytes()).ok()).unwrap_or_default();
    let image = inspected.config.and_then(|config| config.image).unwrap_or_default();
    record.fill("job", &Job { id: container.name.clone(), dataset: 1, datasets: 1, ..Job::default() });
    record.fill("image", &image);
    record.merge(&Known { container: Some(container), ..Known::default() });
    Ok(record)
}

/// Says where the io-dir is, where the record does not: `DIR/<group>` for a job from a bucket, else `DIR`.
pub(crate) fn fill_io_dir(record: &mut Record, io_dir: &Path) -> Result<()> {
    if record.text("io_dir").is_some() {
        return Ok(());
    }
    let mut path = files::absolute(io_dir)?;
    if let Some(group) = record.job().and_then(|job| job.group) {
        path.push(group_folder(&group)?);
    }
    let text = path.to_str().ok_or_else(|| {
        Failure::new(
            ncaas_core::failure::Kind::Usage,
            format!("`{}` cannot be the io-dir: its path is not UTF-8, and records are", path.display()),
        )
    })?;
    record.fill("io_dir", &text);
    Ok(())
}

/// A group as a folder's name.
fn group_folder(group: &str) -> Result<&str> {
    if group.is_empty() || group.contains('/') || group == "." || group == ".." {
        return Err(Failure::new(ncaas_core::failure::Kind::BadKey, format!("`{group}` is no group's name")));
    }
    Ok(group)
}

/// Does several things side by side, and fails with the first that fails.
pub(crate) async fn all(
    each: impl IntoIterator<Item = impl Future<Output = Result<()>>>,
    at_once: usize,
) -> Result<()> {
    stream::iter(each).buffer_unordered(at_once).try_collect().await
}
