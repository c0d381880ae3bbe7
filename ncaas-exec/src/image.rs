//! The image of a container: what the engine and its labels say about it.

use bollard::models::ImageInspect;
use ncaas_core::engine::{Engine, EngineContext, Subject, labels, reference};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout;
use ncaas_core::record::fields::RunSettings;

/// Inspects an image.
///
/// # Errors
/// [`Kind::ImageNotFound`](ncaas_core::failure::Kind::ImageNotFound).
pub(crate) async fn inspect_image(engine: &Engine, name: &str) -> Result<ImageInspect> {
    let name = reference::image(name)?;
    engine.docker().inspect_image(name).await.engine_context("run", Subject::Image(name))
}

/// The path of the io-dir in a container: from the settings, else from the image's label, else the default.
pub(crate) fn io_dir_in_container(settings: &RunSettings, image: &ImageInspect) -> String {
    let label = || image.config.as_ref()?.labels.as_ref()?.get(labels::IO_DIR).cloned();
    let path = settings.mount.clone().or_else(label).filter(|path| path.starts_with('/'));
    path.map_or(layout::CONTAINER_IO_DIR.to_owned(), |path| path.trim_end_matches('/').to_owned())
}

/// Labels that only the tools put on containers. A container of an image with one of them could not be told from a job.
const TOOL_LABELS: [&str; 7] =
    [labels::TOOL, labels::JOB, labels::RECORD, labels::TIMEOUT, labels::GPU, labels::PLACEMENT, labels::HELPER];

/// Checks that an image has no label that belongs to the tools.
///
/// # Errors
/// [`Kind::Usage`] with the label's name.
pub(crate) fn check_labels(image: &ImageInspect) -> Result<()> {
    let image_labels = image.config.as_ref().and_then(|config| config.labels.as_ref());
    let found = TOOL_LABELS
        .iter()
        .find(|name| image_labels.and_then(|labels| labels.get(**name)).is_some_and(|value| !value.is_empty()));
    match found {
        None => Ok(()),
        Some(name) => {
            Err(Failure::new(Kind::Usage, format!("the image has the label `{name}`, which belongs to the tools"))
                .hint("build the image without it: an image must not claim that its containers are jobs"))
        }
    }
}
