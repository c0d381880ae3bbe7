//! The labels by which the tools find their containers.
//!
//! A container's label contains the record that it was started from, so that any later run of any tool finds both.
//!
//! A container also inherits the labels of its image, which the image's author chose. The tools trust only labels that
//! are not inherited. A record that names a container is not proof either, because it may come from a bucket: a tool
//! acts for a record only on a container whose own label names the same job.

use std::collections::HashMap;

use async_recursion::async_recursion as boxed;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::ListContainersOptions;

use crate::engine::connection::Engine;
use crate::engine::errors::{EngineContext, Subject, container_not_found};
use crate::engine::reference;
use crate::engine::state_change::request_settled;
use crate::failure::{Failure, Kind, NoneIf, Result};
pub use crate::image_labels::{GPU, HELPER, IO_DIR, JOB, PLACEMENT, RECORD, TIMEOUT, TOOL};
use crate::layout::container_name;
use crate::record::Record;
use crate::text;

/// How the labels of the platform and the tools begin.
const PREFIX: &str = "org.neurocaas.";

/// A container with labels of the tools, from the engine's list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LabelledContainer {
    /// Full id, 64 hex digits.
    pub id: String,
    /// Name, without the engine's leading slash.
    pub name: String,
    /// The engine's own word: `created`, `running`, `exited`, ...
    pub state: String,
    /// Its labels, without those that it has from its image.
    pub labels: HashMap<String, String>,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    image_id: String,
}

impl LabelledContainer {
    /// The record that it was started from; none if it is not a job, or its label is not a record.
    pub fn record(&self) -> Option<Record> {
        record_from_labels(&self.labels)
    }

    fn from_summary(summary: ContainerSummary) -> Self {
        let name = summary.names.unwrap_or_default().into_iter().next().unwrap_or_default();
        LabelledContainer {
            id: summary.id.unwrap_or_default(),
            name: name.trim_start_matches('/').to_owned(),
            state: summary.state.map(|state| state.to_string()).unwrap_or_default(),
            labels: summary.labels.unwrap_or_default(),
            created: summary.created.unwrap_or_default(),
            image_id: summary.image_id.unwrap_or_default(),
        }
    }
}

impl Engine {
    /// All containers, running or not, that have every one of `labels` not inherited: `name` for any value,
    /// `name=value` for one. The engine lists the newest first.
    ///
    /// # Errors
    /// If the engine does not answer.
    #[boxed]
    pub async fn list_labelled(&self, labels: &[&str]) -> Result<Vec<LabelledContainer>> {
        let filter = labels.iter().map(|label| (*label).to_owned()).collect();
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), filter)])),
            ..Default::default()
        };
        let found = request_settled(|| self.docker().list_containers(Some(options.clone()))).await;
        let found = found.engine_context("list containers of", Subject::Engine)?;
        let mut images: HashMap<String, Option<HashMap<String, String>>> = HashMap::new();
        let mut labelled = Vec::with_capacity(found.len());
        for mut container in found.into_iter().map(LabelledContainer::from_summary) {
            if !images.contains_key(&container.image_id) {
                images.insert(container.image_id.clone(), self.image_labels(&container.image_id).await?);
            }
            let of_image = images.get(&container.image_id).and_then(Option::as_ref);
            remove_inherited(&mut container.labels, &container.name, of_image);
            if labels.iter().all(|label| has_label(&container.labels, label)) {
                labelled.push(container);
            }
        }
        Ok(labelled)
    }

    /// The record that a container was started from, from the label that the tools put there; none if it is not a job.
    ///
    /// # Errors
    /// If the engine does not answer.
    #[boxed]
    pub async fn record_of_container(&self, inspected: &ContainerInspectResponse) -> Result<Option<Record>> {
        let of_container = inspected.config.as_ref().and_then(|config| config.labels.as_ref());
        let Some(of_container) = of_container.filter(|labels| labels.contains_key(RECORD)) else { return Ok(None) };
        let name = reference::container_name(inspected);
        let own = self.own_labels(of_container.clone(), name, inspected.image.as_deref()).await?;
        Ok(record_from_labels(&own))
    }

    /// Checks that a container belongs to a record's job: its own label names the same job and dataset.
    /// `accepts_unlabelled` tells whether a container without a record label belongs to it too.
    async fn check_container_of(
        &self,
        record: &Record,
        inspected: &ContainerInspectResponse,
        accepts_unlabelled: bool,
    ) -> Result<()> {
        let Some(job) = record.job() else { return Ok(()) };
        // The label of a development container names no job.
        let own = self.record_of_container(inspected).await?.filter(|own| own.job().is_some());
        let belongs = own.map_or(accepts_unlabelled, |own| own.identity() == record.identity());
        if belongs {
            return Ok(());
        }
        let name = reference::container_name(inspected);
        let (name, id) = (text::one_line(name), text::quoted(&job.id, 200));
        Err(Failure::new(Kind::WrongContainer, format!("the container `{name}` does not belong to the job {id}")))
    }

    /// Inspects the container `id` for a record. The id is not trusted. A container without a record label belongs to a
    /// record without a bucket: the user wrote that record.
    ///
    /// # Errors
    /// Same as [`Engine::inspect`]; [`Kind::WrongContainer`] if the container does not belong to the record's job.
    #[boxed]
    pub async fn inspect_for(&self, record: &Record, id: &str) -> Result<ContainerInspectResponse> {
        let inspected = self.inspect_of_record(record, id).await?;
        self.check_container_of(record, &inspected, !record.is_from_bucket()).await?;
        Ok(inspected)
    }

    /// Same as [`Engine::inspect_for`], but a container without a record label never belongs to the record. For work
    /// that cannot be undone, and for records that the user did not write.
    ///
    /// # Errors
    /// Same as [`Engine::inspect_for`].
    #[boxed]
    pub async fn inspect_labelled_for(&self, record: &Record, id: &str) -> Result<ContainerInspectResponse> {
        let inspected = self.inspect_of_record(record, id).await?;
        self.check_container_of(record, &inspected, false).await?;
        Ok(inspected)
    }

    /// Inspects a container. The failure for one that does not exist has its name, which people know.
    async fn inspect_of_record(&self, record: &Record, id: &str) -> Result<ContainerInspectResponse> {
        let known = record.container().unwrap_or_default();
        self.inspect(id).await.map_err(|failure| {
            if failure.kind != Kind::ContainerNotFound || known.name.is_empty() {
                return failure;
            }
            let failure = container_not_found(&known.name);
            let hint = "if an earlier stage of the pipe has removed it, put `ncaas-exec rm` last";
            if known.has_ended() { failure.hint(hint) } else { failure }
        })
    }

    /// Whether a container has a label that is not inherited from its image.
    pub(super) async fn has_own_label(&self, inspected: &ContainerInspectResponse, key: &str) -> Result<bool> {
        let labels = inspected.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default();
        let name = reference::container_name(inspected);
        Ok(self.own_labels(labels, name, inspected.image.as_deref()).await?.contains_key(key))
    }

    /// The labels of a container that are not inherited from its image.
    async fn own_labels(
        &self,
        mut labels: HashMap<String, String>,
        name: &str,
        image: Option<&str>,
    ) -> Result<HashMap<String, String>> {
        if !has_name_of_record(&labels, name) {
            let of_image = self.image_labels(image.unwrap_or_default()).await?;
            remove_inherited(&mut labels, name, of_image.as_ref());
        }
        Ok(labels)
    }

    /// The labels of an image; none if the engine no longer has the image.
    async fn image_labels(&self, id: &str) -> Result<Option<HashMap<String, String>>> {
        let image = self.inspect_image(id).await.none_if(&[Kind::ImageNotFound])?;
        Ok(image.map(|image| image.config.and_then(|config| config.labels).unwrap_or_default()))
    }
}

/// Removes the labels that a container has from its image. If the image no longer exists, the labels are trusted only
/// if the container has the name of the job in its record: the author of an image does not choose the names of
/// containers.
fn remove_inherited(labels: &mut HashMap<String, String>, name: &str, of_image: Option<&HashMap<String, String>>) {
    if has_name_of_record(labels, name) {
        return;
    }
    match of_image {
        Some(of_image) => labels.retain(|key, value| of_image.get(key) != Some(value)),
        None => labels.retain(|key, _| !key.starts_with(PREFIX)),
    }
}

/// Whether a container has the name that the tools give to the container of its label's record.
fn has_name_of_record(labels: &HashMap<String, String>, name: &str) -> bool {
    let Some(record) = record_from_labels(labels) else { return false };
    let (Some(job), Some(io_dir)) = (record.job(), record.text("io_dir")) else { return false };
    container_name(&job, io_dir) == name
}

fn record_from_labels(labels: &HashMap<String, String>) -> Option<Record> {
    Record::parse(labels.get(RECORD)?.as_bytes()).ok()
}

fn has_label(labels: &HashMap<String, String>, label: &str) -> bool {
    match label.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|own| own == value),
        None => labels.contains_key(label),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    const RECORD_LINE: &str = r#"{"job":{"id":"job__pca_1","bucket":"s3://pca","group":"lab"},"io_dir":"/io/lab"}"#;

    #[test]
    fn labels_of_the_image_are_not_the_tools_own() {
        let name = container_name(
            &Record::parse(RECORD_LINE.as_bytes()).unwrap_or_default().job().unwrap_or_default(),
            "/io/lab",
        );
        let forged = labels(&[(RECORD, RECORD_LINE), (TOOL, "ncaas-exec"), ("other", "x")]);
        // (labels of the container, its name, labels of its image, which of `RECORD`, `TOOL` and `other` remain)
        let cases = [
            (&forged, "dev", Some(labels(&[])), [true, true, true]),
            (&forged, "dev", Some(forged.clone()), [false, false, false]),
            (&forged, "dev", Some(labels(&[(RECORD, "{}"), (TOOL, "ncaas-exec")])), [true, false, true]),
            (&forged, "dev", None, [false, false, true]),
            (&forged, &name, None, [true, true, true]),
            (&forged, &name, Some(forged.clone()), [true, true, true]),
        ];
        for (own, name, of_image, remains) in cases {
            let mut left = own.clone();
            remove_inherited(&mut left, name, of_image.as_ref());
            assert_eq!([RECORD, TOOL, "other"].map(|key| left.contains_key(key)), remains, "{name}: {of_image:?}");
        }
    }

    #[test]
    fn a_label_is_found_by_its_name_or_with_its_value() {
        let own = labels(&[(JOB, "job__pca_1")]);
        assert!(has_label(&own, JOB) && has_label(&own, &format!("{JOB}=job__pca_1")));
        assert!(!has_label(&own, TOOL) && !has_label(&own, &format!("{JOB}=job__pca_2")));
    }
}
