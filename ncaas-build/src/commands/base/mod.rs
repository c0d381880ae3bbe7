//! `ncaas-build base`: the image that analyses are built on, from any distribution's image or a root file system.

use std::cell::Cell;
use std::path::Path;
use std::process::Stdio;

use bollard::query_parameters::{RemoveImageOptions, TagImageOptions};
use ncaas_core::engine::{Engine, EngineContext, LazyEngine, Subject, labels, reference};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::layout::CONTAINER_IO_DIR;
use ncaas_core::pipe::{Input, Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::BaseArgs;
use crate::builder::{BuildFailure, BuildOptions, Plan, write_record};
use crate::engine_stream::{self, Refusal};
use crate::git_revision::{CREATED, REPOSITORY};
use crate::image_name::split;
use crate::image_record::{Image, Written};
use crate::progress::Terminal;
use crate::registry::fetch;

/// What it is made from where nothing is said.
const FROM: &str = "debian:bookworm-slim";
/// What sets up the user and the io-dir.
const SETUP: &str = include_str!("setup.sh");

/// Makes the base image, and writes its record.
pub(crate) async fn base(tool: Tool, args: BaseArgs) -> Result<ExitStatus> {
    if args.schema.schema {
        return print_schema::<Written<Image>>().await;
    }
    let image = args.tag.clone().unwrap_or_else(|| format!("{REPOSITORY}:base"));
    reference::image(&image).map_err(|failure| Failure { kind: Kind::Usage, ..failure })?;
    let record = Image { image: Some(image.clone()), ..Image::default() }.record();
    // BuildKit builds on names alone: what has none gets one, and only until then.
    let name = format!("{}-from-{}", split(&image).0, std::process::id());
    let engine = LazyEngine::default();
    let base = Base { engine: &engine, tool, args: &args, image: &image, name: &name, named: Cell::new(false) };
    let ended = Pipe::new(tool, 1)
        .each(Input::record(record), async |record: &mut Record, output: &Output| {
            let built = base.build().await;
            write_record(tool, record, output, built).await;
            Ok(())
        })
        .await;
    // Also after a signal, which ends the work at any point.
    base.take_name_away().await?;
    ended
}

struct Base<'a> {
    engine: &'a LazyEngine,
    tool: Tool,
    args: &'a BaseArgs,
    image: &'a str,
    /// For what is built on and has no name of its own.
    name: &'a str,
    /// Whether anything may have that name by now.
    named: Cell<bool>,
}

impl Base<'_> {
    async fn build(&self) -> Result<Image, BuildFailure> {
        let engine = self.engine.get().await?;
        let from = match &self.args.rootfs {
            Some(rootfs) => {
                self.named.set(true);
                import(engine, rootfs, self.name).await?;
                self.name
            }
            None => reference::image(self.args.from.as_deref().unwrap_or(FROM))?,
        };
        let look = async || engine.docker().inspect_image(from).await.engine_context("look at", Subject::Image(from));
        let inspected = match look().await {
            Err(failure) if failure.kind == Kind::ImageNotFound => {
                fetch(engine, &Terminal::new(), from, None).await.map_err(without_registry)?;
                look().await?
            }
            inspected => inspected?,
        };
        let id = inspected.id.unwrap_or_default();
        let is_id = id.trim_start_matches("sha256:").starts_with(from.trim_start_matches("sha256:"));
        if is_id {
            self.named.set(true);
            let options = TagImageOptions { repo: Some(self.name.to_owned()), tag: None };
            engine.docker().tag_image(&id, Some(options)).await.engine_context("name", Subject::Image(&id))?;
        }
        let folder =
            tempfile::tempdir().map_err(|error| Failure::io("make a folder in", &std::env::temp_dir(), &error))?;
        let dockerfile = folder.path().join("Dockerfile");
        let text = dockerfile_on(if is_id { self.name } else { from });
        std::fs::write(&dockerfile, text).doing("write", &dockerfile)?;
        let mut options = BuildOptions { image: self.image.to_owned(), ..BuildOptions::default() };
        if let Some(created) = inspected.created {
            options.labels.insert(CREATED.to_owned(), created);
        }
        let plan = Plan { context: folder.path().to_owned(), dockerfile, options, revision: None, secrets: Vec::new() };
        plan.build(engine, self.tool).await.map_err(|failed| explain(failed, from))
    }

    async fn take_name_away(&self) -> Result<()> {
        if !self.named.get() {
            return Ok(());
        }
        let engine = self.engine.get().await?;
        let options = RemoveImageOptions { noprune: true, ..Default::default() };
        let removed = engine.docker().remove_image(self.name, Some(options), None).await;
        match removed.engine_context("remove", Subject::Image(self.name)) {
            Err(failure) if failure.kind == Kind::ImageNotFound => Ok(()),
            removed => removed.map(drop),
        }
    }
}

/// Why a base cannot be made of an image, in the words of the step that found it out.
fn explain(failed: BuildFailure, from: &str) -> BuildFailure {
    let Some(step) = &failed.step else { return failed };
    let names_it = |line: &String| line.contains("exec: \"/bin/sh\"");
    let has_no_shell = step.output.iter().any(names_it) || names_it(&failed.failure.message);
    let why = match step.exit_code {
        _ if has_no_shell => "it has no `/bin/sh` that could set it up",
        Some(_) => step.output.iter().rev().find(|line| !line.is_empty()).map_or("its set-up failed", String::as_str),
        None => return failed,
    };
    let failure = Failure::new(Kind::BuildFailed, format!("cannot make a base of `{from}`: {why}"));
    let failure = failure.hint("take an image of a distribution, with a shell and bash or a package manager");
    BuildFailure { failure, ..failed }
}

fn dockerfile_on(from: &str) -> String {
    // The form that takes a command's words as they are, line breaks included, in every builder.
    let setup = serde_json::json!(["/bin/sh", "-c", SETUP]);
    let home = Path::new(CONTAINER_IO_DIR).parent().unwrap_or(Path::new("/")).display();
    let label = labels::IO_DIR;
    format!(
        "FROM {from}\nUSER 0:0\nRUN {setup}\nUSER neurocaasdev\nENV HOME={home}\nWORKDIR {home}\n\
         LABEL {label}={CONTAINER_IO_DIR}\nENTRYPOINT []\nCMD [\"bash\"]\n"
    )
}

fn without_registry(failure: Failure) -> Failure {
    failure.hint(
        "without a registry in reach, make it from a root file system: `--rootfs DIR`, for example of debootstrap",
    )
}

/// Makes an image of a root file system, a folder or a tar archive.
async fn import(engine: &Engine, rootfs: &Path, image: &str) -> Result<()> {
    let metadata = std::fs::metadata(rootfs).doing("read", rootfs)?;
    let (repository, tag) = split(image);
    let mut query = form_urlencoded::Serializer::new(String::new());
    let query = query.append_pair("fromSrc", "-").append_pair("repo", repository).append_pair("tag", tag).finish();
    let refused = |words: &str| {
        Failure::new(Kind::EngineError, format!("cannot make an image of `{}`: {}", rootfs.display(), words.trim()))
    };
    let (body, archiver) = if metadata.is_dir() {
        let mut tar = tokio::process::Command::new("tar")
            .args(["--create", "--numeric-owner", "--one-file-system", "--file", "-", "--directory"])
            .arg(rootfs)
            .arg(".")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| refused(&format!("cannot run `tar`: {error}")))?;
        let stdout = tar.stdout.take().ok_or_else(|| refused("`tar` has no output"))?;
        (engine_stream::body(stdout, rootfs), Some(tar))
    } else {
        (engine_stream::body(tokio::fs::File::open(rootfs).await.doing("read", rootfs)?, rootfs), None)
    };
    let posted =
        engine_stream::post(engine, &format!("/images/create?{query}"), &[("X-Registry-Auth", "")], body).await;
    let mut messages = posted.map_err(|refusal| match refusal {
        Refusal::Answer(_, words) => refused(&words),
        Refusal::Failure(failure) => failure,
    })?;
    while let Some(message) = messages.next().await? {
        if let Some(words) = message.failure() {
            return Err(refused(words));
        }
    }
    if let Some(mut tar) = archiver {
        let status = tar.wait().await.map_err(|error| refused(&error.to_string()))?;
        if !status.success() {
            return Err(refused(&format!("`tar` ended with {status}")).hint("reading a root file system takes root"));
        }
    }
    Ok(())
}
