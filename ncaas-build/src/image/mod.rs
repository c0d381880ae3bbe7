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
            tool.report_failure(&failure);
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
        let size = context::measure(&self.context, &self.ignore()?, Descend::IfReachable)?;
        let warning = size.warning();
        match &warning {
            Some(warning) => tool.note(warning),
            None => tool.note(&format!("the build context is {} in {} files", in_words(size.bytes), size.files)),
        }
        let mut wishes = self.wishes.clone();
        match engine.address().proxies() {
            // One given in capitals is meant for both ways to write it.
            Ok(mut proxies) => {
                proxies.retain(|name, _| !wishes.arguments.keys().any(|given| given.eq_ignore_ascii_case(name)));
                wishes.arguments.extend(proxies);
            }
            // Most builds need none.
            Err(failure) => tool.note(&failure.message),
        }
        wishes.labels.entry(revision::CREATED.to_owned()).or_insert_with(|| self.time(&size));
        let begun = Instant::now();
        let outcome = self.run(engine, wishes, &size, &terminal).await?;
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

    /// Builds with BuildKit where the engine has it, and otherwise with the builder that every engine has.
    async fn run(
        &self,
        engine: &Engine,
        mut wishes: Wishes,
        size: &Size,
        terminal: &Terminal,
    ) -> Result<Outcome, BuildFailure> {
        if !buildkit::is_turned_off(engine).await? {
            let (folder, name) = self.dockerfile_in_folder()?;
            wishes.dockerfile = name;
            let sources = Sources { context: self.context.clone(), dockerfile: folder, secrets: self.secrets.clone() };
            if let Some(outcome) = buildkit::build(engine, &wishes, sources, terminal, size.bytes).await? {
                return Ok(outcome);
            }
        }
        if !self.secrets.is_empty() {
            return Err(Failure::new(Kind::Usage, "this engine has no BuildKit, and secrets need it").into());
        }
        let (contents, name) = self.contents()?;
        wishes.dockerfile = name;
        let text = std::fs::read(&self.dockerfile).doing("read", &self.dockerfile)?;
        let registries = registries(&dockerfile::instructions(&String::from_utf8_lossy(&text))).await?;
        classic::build(engine, &wishes, contents, registries.as_deref(), terminal, size.bytes).await
    }

    /// What is left out of the context: a Dockerfile may have a file for it of its own, which BuildKit prefers.
    fn ignore(&self) -> Result<Ignore> {
        let mut own = self.dockerfile.clone().into_os_string();
        own.push(DOCKERIGNORE);
        let own = PathBuf::from(own);
        Ignore::read(&if own.exists() { own } else { self.context.join(DOCKERIGNORE) })
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

    /// The context as the classic builder takes it, and the Dockerfile's path in it.
    fn contents(&self) -> Result<(Contents, String)> {
        let real = |path: &Path| path.canonicalize().doing("find", path);
        let (file, root) = (real(&self.dockerfile)?, real(&self.context)?);
        let inside = file.strip_prefix(&root).ok().and_then(Path::to_str);
        let (name, brought) = match inside {
            Some(path) => (path.to_owned(), None),
            None => (OUTSIDE.to_owned(), Some((self.dockerfile.clone(), OUTSIDE.to_owned()))),
        };
        let mut ignore = Ignore::read(&self.context.join(DOCKERIGNORE))?;
        ignore.always_let_in(&[&name, DOCKERIGNORE])?;
        Ok((Contents { root: self.context.clone(), ignore, dockerfile: brought }, name))
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
