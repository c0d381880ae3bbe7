//! Finds the container that a verb works on, and its record: by an argument, or by a record from stdin.

use async_recursion::async_recursion as boxed;
use bollard::models::ContainerInspectResponse;

use super::connection::Engine;
use super::container::container_from_inspect;
use super::labels;
use super::labels::LabelledContainer;
use crate::failure::{Failure, Kind, Result};
use crate::layout::base_name;
use crate::record::Record;
use crate::record::fields::RecordFields;
use crate::saved_record;
use crate::suggestion::nearest;

/// The argument that means the newest container.
const LAST: &str = "last";

impl Engine {
    /// Inspects the container of a record, and updates the record with its state.
    ///
    /// A record that was made from an argument is replaced by the record that the argument names: that of a container,
    /// by its name or id, by its job's id or folder, by the name of its dataset, or by `last`; or a saved record, by
    /// its file. Of several jobs with the same dataset, it is the one that runs, or else the newest. If the container
    /// does not exist, the record becomes the saved one of the job in the io-dir, and the call fails.
    ///
    /// A record from stdin that has no job gets the fields that it lacks from its container's label.
    ///
    /// # Errors
    /// [`Kind::ContainerNotFound`]; [`Kind::WrongContainer`] if the record's job has another container; [`Kind::Usage`]
    /// if an argument names several containers or records.
    #[boxed]
    pub async fn inspect_target(&self, record: &mut Record) -> Result<ContainerInspectResponse> {
        self.inspect_and_update(record, false).await
    }

    /// Same as [`Engine::inspect_target`], for verbs that stop or remove the container: its own label must name the
    /// record's job. A record that has no job passes: the user named the container.
    ///
    /// # Errors
    /// Same as [`Engine::inspect_target`].
    #[boxed]
    pub async fn inspect_labelled_target(&self, record: &mut Record) -> Result<ContainerInspectResponse> {
        self.inspect_and_update(record, true).await
    }

    /// Inspects the container that an argument names, as [`Engine::inspect_target`] finds it.
    ///
    /// # Errors
    /// Same as [`Engine::inspect_target`].
    #[boxed]
    pub async fn inspect_named(&self, argument: &str) -> Result<ContainerInspectResponse> {
        self.inspect_of_argument(&mut Record::for_argument(argument)).await
    }

    async fn inspect_and_update(&self, record: &mut Record, labelled: bool) -> Result<ContainerInspectResponse> {
        let is_argument = record.has_only_container();
        let inspected = if is_argument {
            self.inspect_of_argument(record).await?
        } else if labelled {
            self.inspect_labelled_for(record, &record.container_id()?).await?
        } else {
            self.inspect_for(record, &record.container_id()?).await?
        };
        if (is_argument || record.job().is_none())
            && let Some(started_from) = self.record_of_container(&inspected).await?
        {
            // A file may name any io-dir. The label has the one that the job was started with.
            let io_dir = started_from.text("io_dir").map(str::to_owned);
            let given = std::mem::replace(record, started_from);
            record.merge(given.as_map());
            io_dir.iter().for_each(|io_dir| record.set("io_dir", io_dir));
        }
        let container = Some(container_from_inspect(&inspected));
        record.merge(&RecordFields { container, ..RecordFields::default() });
        Ok(inspected)
    }

    /// Inspects the container of a record that was made from an argument. The record becomes a saved one if the
    /// argument names its file, or if the container does not exist.
    async fn inspect_of_argument(&self, record: &mut Record) -> Result<ContainerInspectResponse> {
        let argument = record.container_id()?;
        if let Some(file) = saved_record::named_file(&argument) {
            *record = saved_record::read_file(&file)?;
            return self.inspect_labelled_for(record, &record.container_id()?).await;
        }
        let inspected = self.inspect_by_name(&argument).await;
        if let Err(failure) = &inspected
            && failure.kind == Kind::ContainerNotFound
            && let Some(file) = saved_record::find_saved(&argument)?
        {
            *record = saved_record::read_file(&file)?;
        }
        inspected
    }

    async fn inspect_by_name(&self, name: &str) -> Result<ContainerInspectResponse> {
        match self.inspect(name).await {
            // A short name may be the beginning of several ids.
            Err(failure)
                if failure.kind == Kind::ContainerNotFound || failure.message.contains("Multiple IDs found") =>
            {
                let listed = self.list_labelled(&[labels::TOOL]).await?;
                let found = find_by_job(name, &listed)?.ok_or_else(|| explain_missing(failure, name, &listed))?;
                self.inspect(&found).await
            }
            inspected => inspected,
        }
    }
}

/// The newest container of a job or dataset. `None` if there is none.
fn find_by_job(name: &str, found: &[LabelledContainer]) -> Result<Option<String>> {
    if name == LAST {
        return Ok(found.first().map(|container| container.id.clone()));
    }
    let name = base_name(name);
    let of_job: Vec<_> =
        found.iter().filter(|container| container.labels.get(labels::JOB).is_some_and(|id| id == name)).collect();
    if let [first, second, ..] = of_job.as_slice() {
        let message = format!("the job `{name}` has several containers: `{}`, `{}`, ...", first.name, second.name);
        return Err(Failure::new(Kind::Usage, message).hint("name one of them, or a dataset"));
    }
    let is_dataset =
        |record: Record| record.dataname().is_some_and(|data| data.names().iter().any(|data| base_name(data) == name));
    if let [container] = of_job.as_slice() {
        return Ok(Some(container.id.clone()));
    }
    let of_dataset: Vec<_> = found.iter().filter(|container| container.record().is_some_and(is_dataset)).collect();
    let running: Vec<_> = of_dataset.iter().filter(|container| container.state == "running").collect();
    if let [first, second, ..] = running.as_slice() {
        let message =
            format!("several running jobs have the dataset `{name}`: `{}`, `{}`, ...", first.name, second.name);
        return Err(Failure::new(Kind::Usage, message).hint("name one of these containers"));
    }
    Ok(running.first().copied().or(of_dataset.first()).map(|container| container.id.clone()))
}

/// The failure for an argument that names no container. Its hint has the most similar name of a container, job or
/// dataset.
fn explain_missing(failure: Failure, name: &str, found: &[LabelledContainer]) -> Failure {
    if failure.kind != Kind::ContainerNotFound {
        return failure;
    }
    if name == LAST {
        return Failure {
            message: "no container on this engine was started by ncaas".to_owned(),
            hint: None,
            ..failure
        };
    }
    let names_in_record = |record: Record| {
        let datasets = record
            .dataname()
            .map(|data| data.names().into_iter().map(base_name).map(str::to_owned).collect::<Vec<_>>());
        datasets.unwrap_or_default().into_iter().chain(record.job().map(|job| job.id))
    };
    let in_records: Vec<String> =
        found.iter().filter_map(LabelledContainer::record).flat_map(names_in_record).collect();
    let names = found.iter().map(|container| container.name.as_str()).chain(in_records.iter().map(String::as_str));
    match nearest(base_name(name), names) {
        Some(similar) => failure.hint(format!("did you mean `{similar}`? `ncaas-exec ls --all` lists all containers")),
        None => failure,
    }
}
