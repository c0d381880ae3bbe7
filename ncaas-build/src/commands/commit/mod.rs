//! `ncaas-build commit`: saves a container as an image.

mod mounts;
mod script;
mod squash;

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{ContainerConfig, ContainerInspectResponse, ImageConfig};
use bollard::query_parameters::CommitContainerOptions;
use ncaas_core::engine::executable::CommandLookup;
use ncaas_core::engine::{Engine, EngineContext, Subject, labels, reference};
use ncaas_core::environment::parse_variables;
use ncaas_core::failure::{Failure, Kind, NoneIf, Result};
use ncaas_core::image_labels::{COMMITTED, ImageLabels, is_of_the_tools};
use ncaas_core::pipe::{Input, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::CommitArgs;
use crate::git_revision::{self, ImageName, Revision, name_image};
use crate::image_name::split;
use crate::image_record::{Image, LeftOut};

/// Starts the script with the container's arguments. Without arguments, it passes the variables `data` and `config`:
/// the platform's client sets only these. For development the client passes a shell as the command, which cannot be
/// confused with a dataset.
const START_SCRIPT: &str = r#"case "${1-}" in /bin/bash | /bin/sh) exec "$@" ;; esac
if [ "$#" -eq 0 ] && [ -n "${data-}" ]; then set -- "$data" "${config-}"; fi; exec "$0" "$@""#;

pub(crate) async fn commit(tool: Tool, args: CommitArgs) -> Result<ExitStatus> {
    let named = name_image(Path::new("."), args.tag.as_deref())?;
    reference::image(&named.image).map_err(|failure| Failure { kind: Kind::Usage, ..failure })?;
    let known =
        Image { image: Some(named.image.clone()), container_id: Some(args.container.clone()), ..Image::default() };
    let env = parse_variables(&args.env)?.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    Pipe::for_records(tool, &args.records)
        .filter(Input::record(Record::new(&known)), async |record: &mut Record, _: &_| {
            let engine = Engine::connect().await?;
            Commit { engine: &engine, args: &args, named: &named, env: &env }.run(tool, record).await
        })
        .await
}

struct Commit<'a> {
    engine: &'a Engine,
    args: &'a CommitArgs,
    named: &'a ImageName,
    /// Variables of the new image, as `NAME=VALUE`.
    env: &'a Vec<String>,
}

impl Commit<'_> {
    async fn run(&self, tool: Tool, record: &mut Record) -> Result<()> {
        let image = record.require("image")?.to_owned();
        let inspected = self.engine.inspect_named(record.require("container_id")?).await?;
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
        ImageLabels::parse(config.labels.as_ref().unwrap_or(&HashMap::new()))?;
        let variables = self.added_environment(&inspected).await?;
        let warnings: Vec<String> = self.named.warnings.iter().cloned().chain(variables).collect();
        for warning in left_out.iter().map(LeftOut::warning).chain(warnings.iter().cloned()) {
            tool.note(&format!("warning: {warning}"));
        }
        let image_id = if self.args.squash {
            squash::squash(self.engine, &inspected, &config, &image, self.args.message.as_deref()).await?
        } else {
            self.save(&id, &image, config).await?
        };
        record.merge(&Image {
            image_id: Some(image_id),
            commit: self.named.revision.as_ref().map(Revision::revision),
            left_out: (!left_out.is_empty()).then_some(left_out),
            warnings: (!warnings.is_empty()).then_some(warnings),
            ..Image::default()
        });
        Ok(())
    }

    /// Saves the changes of the container as a layer on its image, and returns the id of the new image.
    async fn save(&self, id: &str, image: &str, config: ContainerConfig) -> Result<String> {
        let (repo, tag) = split(image);
        let options = CommitContainerOptions {
            container: Some(id.to_owned()),
            repo: Some(repo.to_owned()),
            tag: Some(tag.to_owned()),
            comment: self.args.message.clone(),
            pause: true,
            ..Default::default()
        };
        let committed = self.engine.docker().commit_container(options, config).await;
        let committed = committed.engine_context("save", Subject::Container(id)).map_err(|failure| {
            if failure.message.contains("max depth exceeded") {
                return failure.hint("the image has too many layers: save it as one layer with `--squash`");
            }
            failure
        })?;
        Ok(committed.id)
    }

    async fn refuse_to_replace(&self, image: &str) -> Result<()> {
        match self.engine.inspect_image(image).await.none_if(&[Kind::ImageNotFound])? {
            Some(_) => Err(Failure::new(Kind::NameInUse, format!("the image `{image}` exists already"))
                .hint("choose another name with `-t`, or replace the image with `--force`")),
            None => Ok(()),
        }
    }

    /// The settings of the image that differ from those of the container, which the engine adds.
    async fn config(&self, inspected: &ContainerInspectResponse, script: Option<&str>) -> Result<ContainerConfig> {
        let container = inspected.config.clone().unwrap_or_default();
        let mut labels: HashMap<String, String> =
            self.named.revision.iter().flat_map(Revision::labels).chain(self.args.job.labels()).collect();
        labels.insert(git_revision::CREATED.to_owned(), jiff::Timestamp::now().to_string());
        labels.insert(COMMITTED.to_owned(), inspected.id.clone().unwrap_or_default());
        // Labels of the tools are about the container. The engine copies them and cannot drop one, only empty it.
        let of_container = container.labels.iter().flat_map(HashMap::keys);
        labels.extend(of_container.filter(|key| is_of_the_tools(key)).map(|key| (key.clone(), String::new())));
        let (entrypoint, cmd) = match script {
            Some(script) => (Some(self.start_script(inspected, script).await?), None),
            // The tools change the command of a container: the image gets back that of the container's image. An empty
            // entrypoint keeps the engine from copying that of the container.
            None if is_of_our_tool(inspected) => {
                let image = self.config_of_image(inspected).await?;
                let replaced = container.entrypoint.filter(|words| !words.is_empty()).map(|_| Vec::new());
                let entrypoint = image.entrypoint.or(replaced);
                // Without any command the engine would save that of the container. `sh` means that there is no command:
                // `ncaas-exec run` then asks for one.
                let needs_command = entrypoint.as_ref().is_none_or(Vec::is_empty)
                    && container.cmd.is_some_and(|words| !words.is_empty());
                let shell = needs_command.then(|| vec!["sh".to_owned()]);
                (entrypoint, image.cmd.filter(|words| !words.is_empty()).or(shell))
            }
            None => (container.entrypoint, container.cmd),
        };
        Ok(ContainerConfig {
            labels: Some(labels),
            env: Some(self.env.clone()),
            entrypoint,
            cmd,
            ..ContainerConfig::default()
        })
    }

    /// The entrypoint that starts a script with its arguments, or with those in the environment if there is a shell.
    async fn start_script(&self, inspected: &ContainerInspectResponse, script: &str) -> Result<Vec<String>> {
        let id = inspected.id.as_deref().unwrap_or_default();
        if CommandLookup::new(self.engine, id, "/", &[]).is_program("/bin/sh").await? {
            return Ok(["/bin/sh", "-c", START_SCRIPT, script].map(str::to_owned).to_vec());
        }
        Ok(vec![script.to_owned()])
    }

    async fn config_of_image(&self, inspected: &ContainerInspectResponse) -> Result<ImageConfig> {
        let image = inspected.image.as_deref().unwrap_or_default();
        let image = self.engine.inspect_image(image).await?;
        Ok(image.config.unwrap_or_default())
    }

    /// A warning about environment variables of the container that the image did not have: everybody who has the new
    /// image can read them.
    async fn added_environment(&self, inspected: &ContainerInspectResponse) -> Result<Option<String>> {
        let of_image = self.config_of_image(inspected).await.map(|image| image.env.unwrap_or_default());
        // An image that has been removed cannot be compared.
        let Ok(of_image) = of_image else { return Ok(None) };
        let of_container = inspected.config.as_ref().and_then(|config| config.env.clone()).unwrap_or_default();
        let names: Vec<String> = of_container
            .iter()
            .filter(|variable| !of_image.contains(variable))
            .filter_map(|variable| variable.split_once('=').map(|(name, _)| format!("`{name}`")))
            .collect();
        Ok((!names.is_empty()).then(|| {
            format!(
                "the image contains environment variables of the container, and everybody who has the image can read \
                 them: {}",
                names.join(", ")
            )
        }))
    }
}

/// Whether a tool created the container. An image that was committed from one has the label too, but empty.
fn is_of_our_tool(inspected: &ContainerInspectResponse) -> bool {
    let labels = inspected.config.as_ref().and_then(|config| config.labels.as_ref());
    labels.and_then(|all| all.get(labels::TOOL)).is_some_and(|tool| !tool.is_empty())
}
