//! The image of a container: what the engine and its labels say about it.

use bollard::models::ImageInspect;
use ncaas_core::failure::Result;
use ncaas_core::image_labels::ImageLabels;
use ncaas_core::layout;
use ncaas_core::record::fields::RunSettings;

/// The path of the io-dir in a container: from the settings, else from the image's label, else the default.
pub(crate) fn io_dir_in_container(settings: &RunSettings, image: &ImageInspect) -> String {
    let label = || author_labels(image).ok()?.io_dir;
    settings.mount.clone().or_else(label).unwrap_or_else(|| layout::CONTAINER_IO_DIR.to_owned())
}

/// The labels of an image about its jobs. Fails with [`Kind::Usage`](ncaas_core::failure::Kind::Usage) for an
/// invalid label, and for one that is reserved for the tools: a container of such an image could not be told from a job.
pub(crate) fn author_labels(image: &ImageInspect) -> Result<ImageLabels> {
    let labels = image.config.as_ref().and_then(|config| config.labels.as_ref());
    labels.map_or_else(|| Ok(ImageLabels::default()), ImageLabels::parse)
}

/// Sets each setting that is not set yet as the image's author says.
pub(crate) fn complete_from_labels(settings: &mut RunSettings, labels: &ImageLabels) {
    settings.protocol = settings.protocol.or(labels.protocol);
    settings.mounts = settings.mounts.take().or_else(|| labels.mounts.clone());
}
