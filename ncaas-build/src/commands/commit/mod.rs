//! `ncaas-build commit`: a container saved into an image.

mod mounts;
mod script;

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{ContainerConfig, ContainerInspectResponse};
use bollard::query_parameters::CommitContainerOptions;
use ncaas_core::engine::{Engine, EngineContext, Subject, labels, reference};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Input, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::CommitArgs;
use crate::git_revision::{self, Revision};
use crate::image_name::split;
use crate::image_record::{Image, LeftOut, Written};

/// Labels that say what a container is for: an image made from it is for nothing yet.
const OF_THE_CONTAINER: [&str; 5] = [labels::TOOL, labels::JOB, labels::RECORD, labels::TIMEOUT, labels::HELPER];

/// Saves containers into images.
pub(crate) async fn commit(tool: Tool, args: CommitArgs) -> Result<ExitStatus> {
    if args.schema.schema {
        return print_schema::<Written<Image>>().await;
    }
    let revision = match Revision::of(Path::new(".")) {
        Err(_) if args.tag.is_some() => None,
        revision => revision?,
    };
    let image = match (&args.tag, &revision) {
        (Some(tag), _) => tag.clone(),
        (None, Some(revision)) => revision.image(),
        (None, None) => return Err(git_revision::nameless(&std::env::current_dir().unwrap_or_default())),
    };
    reference::image(&image).map_err(|failure| Failure { kind: Kind::Usage, ..failure })?;
    let known = Image { image: Some(image), container_id: args.container.clone(), ..Image::default() };
    Pipe::new(tool, 1)
        .filter(Input::record(known.record()), async |record: &mut Record, _: &_| {
            let engine = Engine::connect().await?;
            Commit { engine: &engine, args: &args, revision: revision.as_ref() }.run(tool, record).await
        })
        .await
}

struct Commit<'a> {
    engine: &'a Engine,
    args: &'a CommitArgs,
    revision: Option<&'a Revision>,
}

impl Commit<'_> {
    async fn run(&self, tool: Tool, record: &mut Record) -> Result<()> {
        let image = record.require("image")?.to_owned();
        let inspected = self.engine.inspect(record.require("container_id")?).await?;
        let id = inspected.id.clone().unwrap_or_default();
        record.set("container_id", &id);
        if !self.args.force {
            self.refuse_to_replace(&image).await?;
        }
        let script = match &self.args.script {
            Some(path) => Some(script::check(self.engine, &inspected, path).await?),
            None => None,
        };
        let left_out = mounts::left_out(self.engine, &inspected).await?;
        let config = self.config(&inspected, script.as_deref()).await?;
        let warnings: Vec<String> = self.added_environment(&inspected).await?.into_iter().collect();
        for warning in left_out.iter().map(LeftOut::in_words).chain(warnings.iter().cloned()) {
            tool.note(&format!("warning: {warning}"));
        }
        let (repo, tag) = split(&image);
        let options = CommitContainerOptions {
            container: Some(id.clone()),
            repo: Some(repo.to_owned()),
            tag: Some(tag.to_owned()),
            comment: self.args.message.clone(),
            pause: true,
            ..Default::default()
        };
        let docker = self.engine.docker();
        let committed =
            docker.commit_container(options, config).await.engine_context("save", Subject::Container(&id))?;
        Image {
            image_id: Some(committed.id),
            commit: self.revision.map(Revision::revision),
            left_out: (!left_out.is_empty()).then_some(left_out),
            warnings: (!warnings.is_empty()).then_some(warnings),
            ..Image::default()
        }
        .merge_into(record);
        Ok(())
    }

    async fn refuse_to_replace(&self, image: &str) -> Result<()> {
        match self.engine.docker().inspect_image(image).await.engine_context("look at", Subject::Image(image)) {
            Ok(_) => Err(Failure::new(Kind::NameInUse, format!("an image `{image}` is there already"))
                .hint("choose another name with `-t`, or take it away from that image with `--force`")),
            Err(failure) if failure.kind == Kind::ImageNotFound => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// What the image has beyond what the container has. The engine adds the container's own settings.
    async fn config(&self, inspected: &ContainerInspectResponse, script: Option<&str>) -> Result<ContainerConfig> {
        let of_container = inspected.config.clone().unwrap_or_default();
        let mut labels: HashMap<String, String> =
            self.revision.map(Revision::labels).unwrap_or_default().into_iter().collect();
        labels.insert(git_revision::CREATED.to_owned(), jiff::Timestamp::now().to_string());
        let has = |name: &str| of_container.labels.as_ref().is_some_and(|labels| labels.contains_key(name));
        // The engine takes the container's labels over and cannot be told to drop one, but to empty it.
        labels.extend(OF_THE_CONTAINER.iter().filter(|name| has(name)).map(|name| ((*name).to_owned(), String::new())));
        let is_ours = has(labels::TOOL);
        let (entrypoint, cmd) = match script {
            Some(script) => (Some(vec![script.to_owned()]), None),
            // A development container runs something that only waits: its image's own command is to come back.
            None if is_ours => {
                let image = self.config_of_image(inspected).await?;
                (image.entrypoint, image.cmd)
            }
            None => (of_container.entrypoint, of_container.cmd),
        };
        let env = self.args.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Ok(ContainerConfig { labels: Some(labels), env: Some(env), entrypoint, cmd, ..ContainerConfig::default() })
    }

    async fn config_of_image(&self, inspected: &ContainerInspectResponse) -> Result<bollard::models::ImageConfig> {
        let image = inspected.image.as_deref().unwrap_or_default();
        let image = self.engine.docker().inspect_image(image).await.engine_context("look at", Subject::Image(image))?;
        Ok(image.config.unwrap_or_default())
    }

    /// Variables that the container was given and its image does not have: they become the new image's, which others
    /// may read.
    async fn added_environment(&self, inspected: &ContainerInspectResponse) -> Result<Option<String>> {
        let of_image = self.config_of_image(inspected).await.map(|image| image.env.unwrap_or_default());
        // An image that was removed in the meantime has none to compare with.
        let Ok(of_image) = of_image else { return Ok(None) };
        let of_container = inspected.config.as_ref().and_then(|config| config.env.clone()).unwrap_or_default();
        let names: Vec<String> = of_container
            .iter()
            .filter(|variable| !of_image.contains(variable))
            .filter_map(|variable| variable.split_once('=').map(|(name, _)| format!("`{name}`")))
            .collect();
        Ok((!names.is_empty()).then(|| {
            format!("variables of the container become the image's, where others can read them: {}", names.join(", "))
        }))
    }
}
