//! An image from a Dockerfile and a context, by whichever builder the engine has.

mod buildkit;
mod classic;
pub(crate) mod context;
mod context_archive;
pub(crate) mod dockerfile;
pub(crate) mod dockerignore;
mod options;
mod outcome;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ncaas_core::engine::Engine;
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::files;
use ncaas_core::tool::Tool;

use crate::git_revision::{self, Revision};
use crate::image_record::{BuildStatistics, Image};
use crate::progress::{Terminal, in_words};
use crate::registry::credentials;
pub(crate) use buildkit::Secret;
use buildkit::Sources;
use context::Size;
use context_archive::Contents;
use dockerfile::Instruction;
use dockerignore::{Descend, Ignore};
pub(crate) use options::BuildOptions;
use outcome::Outcome;
pub(crate) use outcome::{BuildFailure, write_record};

/// The Dockerfile where the command line names none.
pub(crate) const DOCKERFILE: &str = "Dockerfile";
/// What is left out of the context.
pub(crate) const DOCKERIGNORE: &str = ".dockerignore";
/// Name in the context of a Dockerfile from elsewhere, for the classic builder.
const OUTSIDE: &str = ".dockerfile.outside";

/// All that is known before the engine is asked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) context: PathBuf,
    pub(crate) dockerfile: PathBuf,
    /// What the image is to be; where the Dockerfile is in the context is found out later.
    pub(crate) options: BuildOptions,
    pub(crate) revision: Option<Revision>,
    pub(crate) secrets: Vec<Secret>,
}

impl Plan {
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
        let mut options = self.options.clone();
        match engine.address().proxies() {
            // One given in capitals is meant for both ways to write it.
            Ok(mut proxies) => {
                proxies.retain(|name, _| !options.arguments.keys().any(|given| given.eq_ignore_ascii_case(name)));
                options.arguments.extend(proxies);
            }
            // Most builds need none.
            Err(failure) => tool.note(&failure.message),
        }
        options.labels.entry(git_revision::CREATED.to_owned()).or_insert_with(|| self.time(&size));
        let begun = Instant::now();
        let outcome = self.run(engine, options, &size, &terminal).await?;
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
            warnings: warning.map(|warning| vec![warning]),
            ..Image::default()
        })
    }

    /// Builds with BuildKit where the engine has it, and otherwise with the builder that every engine has.
    async fn run(
        &self,
        engine: &Engine,
        mut options: BuildOptions,
        size: &Size,
        terminal: &Terminal,
    ) -> Result<Outcome, BuildFailure> {
        if !buildkit::is_turned_off(engine).await? {
            let (folder, name) = self.dockerfile_in_folder()?;
            options.dockerfile = name;
            let sources = Sources { context: self.context.clone(), dockerfile: folder, secrets: self.secrets.clone() };
            if let Some(outcome) = buildkit::build(engine, &options, sources, terminal, size.bytes).await? {
                return Ok(outcome);
            }
        }
        if !self.secrets.is_empty() {
            return Err(Failure::new(Kind::Usage, "this engine has no BuildKit, and secrets need it").into());
        }
        let (contents, name) = self.contents()?;
        options.dockerfile = name;
        let text = std::fs::read(&self.dockerfile).doing("read", &self.dockerfile)?;
        let registries = registries(&dockerfile::instructions(&String::from_utf8_lossy(&text))).await?;
        classic::build(engine, &options, contents, registries.as_deref(), terminal, size.bytes).await
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
