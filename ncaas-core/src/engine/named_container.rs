//! Finds the container that an argument names.

use async_recursion::async_recursion as boxed;
use bollard::models::ContainerInspectResponse;

use super::{Engine, labels};
use crate::failure::{Failure, Kind, Result};
use crate::layout::base_name;
use crate::record::Record;

/// The argument that means the newest container.
const LAST: &str = "last";

impl Engine {
    /// Inspects the container that an argument names: a container's name or id, a job's id or folder, the name of a dataset,
    /// or `last`. Of several jobs with the same dataset, it is the one that runs, or else the newest.
    ///
    /// # Errors
    /// [`Kind::ContainerNotFound`]; [`Kind::Usage`] if the datasets of a job have several containers, or if several jobs with
    /// the dataset run.
    #[boxed]
    pub async fn inspect_named(&self, name: &str) -> Result<ContainerInspectResponse> {
        match self.inspect(name).await {
            // A short name may be the beginning of several ids.
            Err(failure)
                if failure.kind == Kind::ContainerNotFound || failure.message.contains("Multiple IDs found") =>
            {
                let found = self.find_by_job(name).await?.ok_or(failure)?;
                self.inspect(&found).await
            }
            inspected => inspected,
        }
    }

    /// The newest container of a job or dataset. `None` if there is none.
    async fn find_by_job(&self, name: &str) -> Result<Option<String>> {
        let found = self.list_labelled(&[labels::TOOL]).await?;
        if name == LAST {
            return Ok(found.into_iter().next().map(|container| container.id));
        }
        let name = base_name(name);
        let of_job: Vec<_> =
            found.iter().filter(|container| container.labels.get(labels::JOB).is_some_and(|id| id == name)).collect();
        if let [first, second, ..] = of_job.as_slice() {
            let message = format!("the job `{name}` has several containers: `{}`, `{}`, ...", first.name, second.name);
            return Err(Failure::new(Kind::Usage, message).hint("name one of them, or a dataset"));
        }
        let is_dataset = |record: Record| {
            record.dataname().is_some_and(|data| data.names().iter().any(|data| base_name(data) == name))
        };
        if let [container] = of_job.as_slice() {
            return Ok(Some(container.id.clone()));
        }
        let of_dataset: Vec<_> = found.iter().filter(|container| container.record().is_some_and(is_dataset)).collect();
        let running: Vec<_> = of_dataset.iter().filter(|container| container.state == "running").collect();
        if let [first, second, ..] = running.as_slice() {
            let message = format!("several jobs with `{name}` run: `{}`, `{}`, ...", first.name, second.name);
            return Err(Failure::new(Kind::Usage, message).hint("name one of these containers"));
        }
        Ok(running.first().copied().or(of_dataset.first()).map(|container| container.id.clone()))
    }
}
