//! `ncaas-build image`: an image from a Dockerfile.

mod archive;
mod buildkit;
mod classic;
pub(crate) mod context;
pub(crate) mod dockerfile;
pub(crate) mod dockerignore;
mod steps;
mod wishes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ncaas_core::engine::{Engine, reference};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::files;
use ncaas_core::pipe::{Input, Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::ImageArgs;
use crate::credentials;
use crate::fields::{Build, Image, Written};
use crate::revision::{self, Revision};
use crate::terminal::{Terminal, in_words};
use archive::Contents;
use buildkit::{Secret, Sources};
use context::Size;
use dockerfile::Instruction;
use dockerignore::{Descend, Ignore};
pub(crate) use steps::BuildFailure;
pub(crate) use wishes::Wishes;

/// The Dockerfile where the command line names none.
pub(crate) const DOCKERFILE: &str = "Dockerfile";
/// What is left out of the context.
pub(crate) const DOCKERIGNORE: &str = ".dockerignore";
/// Name in the context of a Dockerfile from elsewhere, for the classic builder.
const OUTSIDE: &str = ".dockerfile.outside";

/// Builds an image, and writes its record.
pub(crate) async fn image(tool: Tool, args: ImageArgs) -> Result<ExitStatus> {
    if args.schema.schema {
        return print_schema::<Written<Image>>().await;
    }
    let plan = Plan::of(&args)?;
    let record = Image { image: Some(plan.wishes.image.clone()), ..Image::default() }.record();
    Pipe::new(tool, 1)
        .each(Input::record(record), async |record: &mut Record, output: &Output| {
            let built = match Engine::connect().await {
                Ok(engine) => plan.build(&engine, tool).await,
                Err(failure) => Err(failure.into()),
            };
            report(tool, record, output, built).await;
            Ok(())
        })
        .await
}

/// Writes the record of a build, also of one that failed: then with the step at which it did.
pub(crate) async fn report(tool: Tool, record: &mut Record, output: &Output, built: Result<Image, BuildFailure>) {
    match built {
        Ok(image) => image.merge_into(record),
        Err(BuildFailure { failure, step }) => {
            tool.complain(&failure);
            output.note_failure(&failure);
            record.fail(tool.name(), &failure);
            if let Some(step) = step {
                record.set("error", &step);
            }
        }
    }
    output.emit(record).await;
}

/// All that is known before the engine is asked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) context: PathBuf,
    pub(crate) dockerfile: PathBuf,
    /// What the image is to be; where the Dockerfile is in the context is found out later.
    pub(crate) wishes: Wishes,
    pub(crate) revision: Option<Revision>,
    pub(crate) secrets: Vec<Secret>,
}

/// What a build came to.
#[derive(Debug)]
struct Outcome {
    /// `buildkit` or `classic`.
    builder: &'static str,
    /// Id of the image, `sha256:...`.
    image_id: String,
    /// Bytes that went to the engine.
    sent: u64,
}

impl Plan {
    fn of(args: &ImageArgs) -> Result<Self> {
        let context = context::folder(&args.context)?.to_owned();
        let dockerfile = args.file.clone().unwrap_or_else(|| context.join(DOCKERFILE));
        let revision = match Revision::of(&context) {
            // With a name given, a git that cannot be asked costs a label and no more.
            Err(_) if args.tag.is_some() => None,
            revision => revision?,
        };
        let image = match (&args.tag, &revision) {
            (Some(tag), _) => tag.clone(),
            (None, Some(revision)) => revision.image(),
            (None, None) => return Err(revision::nameless(&files::absolute(&context)?)),
        };
        reference::image(&image).map_err(|failure| Failure { kind: Kind::Usage, ..failure })?;
        let mut labels: BTreeMap<String, String> =
            revision.iter().flat_map(Revision::labels).chain(args.label.iter().cloned()).collect();
        labels.retain(|name, _| !name.is_empty());
        let wishes = Wishes {
            image,
            dockerfile: String::new(),
            arguments: args.build_arg.iter().filter_map(|text| argument(text)).collect(),
            labels,
            target: args.target.clone(),
            platform: args.platform.clone(),
            no_cache: args.no_cache,
            pull: args.pull,
        };
        let secrets = args.secret.iter().map(|text| Secret::parse(text)).collect::<Result<_>>()?;
        Ok(Plan { context, dockerfile, wishes, revision, secrets })
    }

    /// Builds the image.
    pub(crate) async fn build(&self, engine: &Engine, tool: Tool) -> Result<Image, BuildFailure> {
        let terminal = Terminal::new();
        std::fs::metadata(&self.dockerfile)
            .doing("read", &self.dockerfile)
            .map_err(|failure| failure.hint("a Dockerfile of another name is given with `-f FILE`"))?;
        let mut ignore = Ignore::read(&self.context.join(DOCKERIGNORE))?;
        let (dockerfile, outside) = self.dockerfile_in_context()?;
        ignore.always_let_in(&[&dockerfile, DOCKERIGNORE])?;
        let size = self.measure(&ignore)?;
        let warning = size.warning();
        match &warning {
            Some(warning) => tool.say(warning),
            None => tool.say(&format!("the build context is {} in {} files", in_words(size.bytes), size.files)),
        }
        let mut wishes = self.wishes.clone();
        wishes.dockerfile.clone_from(&dockerfile);
        wishes.labels.entry(revision::CREATED.to_owned()).or_insert_with(|| self.time(&size));
        let contents = Contents {
            root: self.context.clone(),
            ignore,
            dockerfile: outside.then(|| (self.dockerfile.clone(), dockerfile)),
        };
        let begun = Instant::now();
        let outcome = self.run(engine, wishes, contents, &size, &terminal).await?;
        Ok(Image {
            image_id: Some(outcome.image_id),
            commit: self.revision.as_ref().map(Revision::revision),
            build: Some(Build {
                builder: outcome.builder.to_owned(),
                context_files: size.files,
                context_bytes: size.bytes,
                sent_bytes: outcome.sent,
                duration_s: (begun.elapsed().as_secs_f64() * 1e3).round() / 1e3,
            }),
            warnings: warning.map(|warning| vec![warning]),
            ..Image::default()
        })
    }

    /// Builds with the builder that the engine itself prefers, as the docker CLI does, and with BuildKit also where
    /// only BuildKit can: an engine before 23.0 has it, but is quicker with its own.
    async fn run(
        &self,
        engine: &Engine,
        mut wishes: Wishes,
        contents: Contents,
        size: &Size,
        terminal: &Terminal,
    ) -> Result<Outcome, BuildFailure> {
        let text = std::fs::read_to_string(&self.dockerfile).doing("read", &self.dockerfile)?;
        let steps = dockerfile::instructions(&text);
        // The classic builder would have to be given a Dockerfile from elsewhere as one more file of the context.
        let needed =
            !self.secrets.is_empty() || contents.dockerfile.is_some() || dockerfile::needs_buildkit(&text, &steps);
        if needed || buildkit::is_preferred(engine).await? {
            let in_context = std::mem::take(&mut wishes.dockerfile);
            let (folder, name) = self.dockerfile_in_folder()?;
            let sources = Sources { context: self.context.clone(), dockerfile: folder, secrets: self.secrets.clone() };
            wishes.dockerfile = name;
            if let Some(outcome) = buildkit::build(engine, &wishes, sources, terminal, size.bytes).await? {
                return Ok(outcome);
            }
            wishes.dockerfile = in_context;
        }
        if !self.secrets.is_empty() {
            return Err(Failure::new(Kind::Usage, "this engine has no BuildKit, and secrets need it").into());
        }
        let registries = registries(&steps).await?;
        classic::build(engine, &wishes, contents, registries.as_deref(), terminal, size.bytes).await
    }

    /// The folder that the Dockerfile is in, and its name there.
    fn dockerfile_in_folder(&self) -> Result<(PathBuf, String)> {
        let file = files::absolute(&self.dockerfile)?;
        let name = file.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        match (file.parent(), name) {
            (Some(folder), Some(name)) => Ok((folder.to_owned(), name)),
            _ => Err(Failure::new(Kind::Usage, format!("`{}` is no Dockerfile", file.display()))),
        }
    }

    fn measure(&self, ignore: &Ignore) -> Result<Size> {
        context::measure(&self.context, ignore, Descend::IfNamed)
    }

    /// The Dockerfile's path in the context, and whether it has to be brought there.
    fn dockerfile_in_context(&self) -> Result<(String, bool)> {
        let real = |path: &Path| path.canonicalize().doing("find", path);
        let (file, root) = (real(&self.dockerfile)?, real(&self.context)?);
        let inside = file.strip_prefix(&root).ok().and_then(Path::to_str);
        Ok(match inside {
            Some(path) => (path.to_owned(), false),
            None => (OUTSIDE.to_owned(), true),
        })
    }

    /// The time of what the image is made from: that of the commit, or of the youngest file where there is more than
    /// the commit, so that the same files make the same image.
    fn time(&self, size: &Size) -> String {
        match &self.revision {
            Some(revision) if !revision.dirty => revision.time.clone(),
            _ => size.youngest(),
        }
    }
}

/// The credentials for the images that a Dockerfile builds on, as the classic builder wants to have them: beforehand.
async fn registries(steps: &[Instruction]) -> Result<Option<String>> {
    let mut known = BTreeMap::new();
    for image in dockerfile::base_images(steps) {
        if let Some(found) = credentials::for_registry(credentials::registry_of(&image)).await? {
            known.insert(found.serveraddress.clone().unwrap_or_default(), found);
        }
    }
    Ok((!known.is_empty()).then(|| credentials::header(&known)))
}

/// `K=V`, or `K` with the value that it has in the environment. One without a value is none, as with the docker CLI.
fn argument(text: &str) -> Option<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((text.to_owned(), std::env::var(text).ok()?)),
    }
}
