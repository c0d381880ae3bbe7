//! Builds an image from a Dockerfile and a context, with BuildKit or the classic builder of the engine.

mod buildkit;
mod classic;
pub(crate) mod context;
mod context_archive;
pub(crate) mod dockerfile;
pub(crate) mod dockerignore;
mod options;
mod outcome;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use bollard::query_parameters::RemoveImageOptions;
use ncaas_core::engine::Engine;
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::image_labels::{ImageLabels, is_of_the_tools};
use ncaas_core::quantity::{format_bytes, format_count};
use ncaas_core::tool::Tool;

use crate::git_revision::{self, Revision};
use crate::image_record::{BuildStatistics, Image};
use crate::progress::Progress;
use crate::registry::credentials;
pub(crate) use buildkit::Secret;
use buildkit::Sources;
use context::Size;
use context_archive::Contents;
use dockerfile::{DOCKERIGNORE, Dockerfile, Instruction};
use dockerignore::{Descend, DockerIgnore};
pub(crate) use options::BuildOptions;
pub(crate) use outcome::{BuildFailure, write_record};
use outcome::{BuiltImage, TOO_MANY_LAYERS};

/// The largest number of layers of an image with which the engine can create a container.
const MAX_LAYERS: usize = 125;
/// How often a build of the classic builder is repeated after another client has removed an image meanwhile.
const CLASSIC_REPETITIONS: u32 = 5;

/// Path in the archive of a Dockerfile that is not in the context, for the classic builder.
const OUTSIDE: &str = ".dockerfile.outside";

/// Everything that is known before the engine is asked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) context: PathBuf,
    /// The Dockerfile; `-` is stdin.
    pub(crate) dockerfile: PathBuf,
    /// The options, except for the path of the Dockerfile in the context.
    pub(crate) options: BuildOptions,
    pub(crate) revision: Option<Revision>,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) warnings: Vec<String>,
}

impl Plan {
    pub(crate) async fn build(&self, engine: &Engine, tool: Tool) -> Result<Image, BuildFailure> {
        let progress = Progress::new(tool);
        let dockerfile = Dockerfile::read(&self.dockerfile, &self.context)?;
        let steps = dockerfile.instructions();
        refuse_tool_labels(&steps)?;
        let io_dirs = context::io_dir_patterns(&self.context, &steps);
        let own_ignore = dockerfile.own_ignore.clone();
        let ignore = DockerIgnore::read(&own_ignore.unwrap_or_else(|| self.context.join(DOCKERIGNORE)), &io_dirs)?;
        let size = context::measure(&self.context, &ignore, Descend::IfReachable)?;
        let warning = size.warning();
        match &warning {
            Some(warning) => tool.note(&format!("warning: {warning}")),
            None => {
                let (bytes, files) = (format_bytes(size.bytes), format_count(size.files, "file"));
                tool.note(&format!("the build context is {bytes} in {files}"));
            }
        }
        for folder in io_dirs.iter().filter(|folder| ignore.excludes(folder)) {
            tool.note(&format!("the io-dir `{folder}` is left out of the build context; `COPY {folder}` includes it"));
        }
        let mut options = self.options.clone();
        match engine.address().proxies() {
            // A proxy that is given in capitals is meant for both spellings.
            Ok(mut proxies) => {
                proxies.retain(|name, _| !options.arguments.keys().any(|given| given.eq_ignore_ascii_case(name)));
                options.arguments.extend(proxies);
            }
            // Most builds need no proxy.
            Err(failure) => tool.note(&failure.message),
        }
        options.labels.entry(git_revision::CREATED.to_owned()).or_insert_with(|| self.time(&size));
        let begun = Instant::now();
        let outcome = self.run(engine, options, &dockerfile, &io_dirs, &size, &progress).await;
        let outcome = outcome.map_err(|failed| failed.explain_step(&steps))?;
        self.check_image(engine, &outcome.image_id).await?;
        let warnings: Vec<String> = self.warnings.iter().cloned().chain(warning).collect();
        Ok(Image {
            image_id: Some(outcome.image_id),
            commit: self.revision.as_ref().map(Revision::revision),
            build: Some(BuildStatistics {
                builder: outcome.builder.to_owned(),
                context_files: size.files,
                context_bytes: size.bytes,
                sent_bytes: outcome.sent,
                duration_s: (begun.elapsed().as_secs_f64() * 1e3).round() / 1e3,
            }),
            warnings: (!warnings.is_empty()).then_some(warnings),
            ..Image::default()
        })
    }

    /// Builds with BuildKit if the engine has it, otherwise with the classic builder, which every engine has.
    async fn run(
        &self,
        engine: &Engine,
        mut options: BuildOptions,
        dockerfile: &Dockerfile,
        io_dirs: &[String],
        size: &Size,
        progress: &Progress,
    ) -> Result<BuiltImage, BuildFailure> {
        if !buildkit::is_turned_off(engine).await? {
            options.dockerfile = dockerfile::DOCKERFILE.to_owned();
            let sources =
                Sources { context: &self.context, excluded: io_dirs, dockerfile, secrets: self.secrets.clone() };
            if let Some(outcome) = buildkit::build(engine, &options, sources, progress, size.bytes).await? {
                return Ok(outcome);
            }
        }
        if !self.secrets.is_empty() {
            let failure = Failure::new(Kind::Usage, "secrets need BuildKit, which this engine does not have");
            return Err(failure.hint("upgrade the engine, or turn BuildKit on in its configuration").into());
        }
        let registries = registry_credentials(&dockerfile.instructions()).await?;
        let mut repetitions = CLASSIC_REPETITIONS;
        loop {
            let (contents, name) = self.contents(dockerfile, io_dirs)?;
            options.dockerfile = name;
            let built = classic::build(engine, &options, contents, registries.as_deref(), progress, size.bytes).await;
            match built {
                Err(failure) if failure.is_of_removed_image() && repetitions > 0 => repetitions -= 1,
                built => return built,
            }
        }
    }

    /// The context as the classic builder takes it, and the path of the Dockerfile in it.
    fn contents(&self, dockerfile: &Dockerfile, io_dirs: &[String]) -> Result<(Contents, String)> {
        let ignore_file = self.context.join(DOCKERIGNORE);
        let mut ignore = DockerIgnore::read(&ignore_file, io_dirs)?;
        let (name, generated) = match &dockerfile.path_in_context {
            Some(path) => (path.clone(), Vec::new()),
            None => {
                // As the docker CLI does: the engine excludes the added files from the context that it builds from.
                let mut patterns = match std::fs::read(&ignore_file) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => DOCKERIGNORE.as_bytes().to_vec(),
                    patterns => patterns.doing("read", &ignore_file)?,
                };
                patterns.extend_from_slice(format!("\n{OUTSIDE}\n").as_bytes());
                let file = (OUTSIDE.to_owned(), dockerfile.content.clone());
                (OUTSIDE.to_owned(), vec![file, (DOCKERIGNORE.to_owned(), patterns)])
            }
        };
        ignore.always_include(&[&name, DOCKERIGNORE])?;
        Ok((Contents { root: self.context.clone(), ignore, generated }, name))
    }

    /// Refuses an image that jobs cannot or must not run, and removes its name again: labels and layers also come from
    /// the base image.
    async fn check_image(&self, engine: &Engine, id: &str) -> Result<()> {
        let inspected = engine.inspect_image(id).await?;
        let layers = inspected.root_fs.and_then(|layers| layers.layers).unwrap_or_default().len();
        let labels = inspected.config.and_then(|config| config.labels).unwrap_or_default();
        let checked = if layers > MAX_LAYERS {
            Err(Failure::new(
                Kind::BuildFailed,
                format!("the image has {layers} layers, and the engine starts containers with at most {MAX_LAYERS}"),
            )
            .hint(TOO_MANY_LAYERS))
        } else {
            ImageLabels::parse(&labels).map(drop)
        };
        if checked.is_err() {
            let options = RemoveImageOptions { noprune: true, ..Default::default() };
            // The reason is what the user needs to know, even if the name stays.
            let _ = engine.docker().remove_image(&self.options.image, Some(options), None).await;
        }
        checked
    }

    /// The time for the label `created`: that of the commit, or of the newest file if files differ from the commit. So
    /// the same files make the same image.
    fn time(&self, size: &Size) -> String {
        match &self.revision {
            Some(revision) if !revision.dirty => revision.time.clone(),
            _ => size.newest(),
        }
    }
}

/// Refuses a Dockerfile that sets a label of the tools, before it is built.
fn refuse_tool_labels(steps: &[Instruction]) -> Result<()> {
    for step in steps.iter().filter(|step| step.word == "LABEL") {
        for word in shlex::split(&step.rest).unwrap_or_default() {
            let key = word.split('=').next().unwrap_or_default();
            if is_of_the_tools(key) {
                let message = format!(
                    "line {} of the Dockerfile sets the label `{key}`, which is reserved for the tools",
                    step.line
                );
                return Err(Failure::new(Kind::Usage, message).hint("remove the label from the Dockerfile"));
            }
        }
    }
    Ok(())
}

/// The credentials for the base images of a Dockerfile. The classic builder wants them in the request.
async fn registry_credentials(steps: &[Instruction]) -> Result<Option<String>> {
    let mut known = BTreeMap::new();
    for image in dockerfile::base_images(steps) {
        if let Some(found) = credentials::for_registry(credentials::registry_of(&image)).await? {
            known.insert(found.serveraddress.clone().unwrap_or_default(), found);
        }
    }
    Ok((!known.is_empty()).then(|| credentials::header(&known)))
}
