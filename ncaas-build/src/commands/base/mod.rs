//! `ncaas-build base`: builds the base image for analyses, on the image of any distribution or on a root file system.

use std::cell::Cell;
use std::path::Path;
use std::process::Stdio;

use bollard::query_parameters::{RemoveImageOptions, TagImageOptions};
use ncaas_core::engine::{Engine, EngineContext, LazyEngine, Subject, labels, reference};
use ncaas_core::failure::{Failure, IoContext, Kind, NoneIf, Result};
use ncaas_core::layout::CONTAINER_IO_DIR;
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::BaseArgs;
use crate::builder::{BuildFailure, BuildOptions, Plan, write_record};
use crate::engine_stream;
use crate::git_revision::CREATED;
use crate::image_import::import_image;
use crate::image_name::split;
use crate::image_record::Image;
use crate::progress::Progress;
use crate::registry::fetch;

/// The script that creates the user and the io-dir.
const SETUP: &str = include_str!("setup.sh");

pub(crate) async fn base(tool: Tool, args: BaseArgs) -> Result<ExitStatus> {
    let image = args.tag.as_str();
    reference::image(image).map_err(|failure| Failure { kind: Kind::Usage, ..failure })?;
    let record = Record::new(&Image { image: Some(image.to_owned()), ..Image::default() });
    // BuildKit takes base images by name only: an image without a name gets a temporary one.
    let name = format!("{}-from-{}", split(image).0, std::process::id());
    let engine = LazyEngine::default();
    let base = BaseBuild { engine: &engine, tool, args: &args, image, name: &name, is_named: Cell::new(false) };
    let ended = Pipe::for_records(tool, &args.records)
        .for_each(Input::record(record), async |record: &mut Record, output: &Output| {
            let built = base.build().await;
            write_record(tool, record, output, built).await;
            Ok(())
        })
        .await;
    // Even after a signal, which ends the build at any point.
    base.remove_temporary_name().await?;
    ended
}

struct BaseBuild<'a> {
    engine: &'a LazyEngine,
    tool: Tool,
    args: &'a BaseArgs,
    image: &'a str,
    /// The temporary name of the image that is built on.
    name: &'a str,
    /// Whether an image may have that name.
    is_named: Cell<bool>,
}

impl BaseBuild<'_> {
    async fn build(&self) -> Result<Image, BuildFailure> {
        let engine = self.engine.get().await?;
        let from = match &self.args.rootfs {
            Some(rootfs) => {
                self.is_named.set(true);
                import(engine, rootfs, self.name).await?;
                self.name
            }
            None => reference::image(&self.args.from)?,
        };
        let inspected = match engine.inspect_image(from).await.none_if(&[Kind::ImageNotFound])? {
            Some(inspected) => inspected,
            None => {
                fetch(engine, &Progress::new(self.tool), from, None).await.map_err(without_registry)?;
                engine.inspect_image(from).await?
            }
        };
        let id = inspected.id.unwrap_or_default();
        let is_id = id.trim_start_matches("sha256:").starts_with(from.trim_start_matches("sha256:"));
        if is_id {
            self.is_named.set(true);
            let options = TagImageOptions { repo: Some(self.name.to_owned()), tag: None };
            engine.docker().tag_image(&id, Some(options)).await.engine_context("name", Subject::Image(&id))?;
        }
        let folder =
            tempfile::tempdir().map_err(|error| Failure::io("create a folder in", &std::env::temp_dir(), &error))?;
        let dockerfile = folder.path().join("Dockerfile");
        let text = dockerfile_on(if is_id { self.name } else { from });
        std::fs::write(&dockerfile, text).doing("write", &dockerfile)?;
        let mut options = BuildOptions { image: self.image.to_owned(), ..BuildOptions::default() };
        if let Some(created) = inspected.created {
            options.labels.insert(CREATED.to_owned(), created);
        }
        let plan = Plan {
            context: folder.path().to_owned(),
            dockerfile,
            options,
            revision: None,
            secrets: Vec::new(),
            warnings: Vec::new(),
        };
        plan.build(engine, self.tool).await.map_err(|failed| explain(failed, from))
    }

    async fn remove_temporary_name(&self) -> Result<()> {
        if !self.is_named.get() {
            return Ok(());
        }
        let engine = self.engine.get().await?;
        let options = RemoveImageOptions { noprune: true, ..Default::default() };
        let removed = engine.docker().remove_image(self.name, Some(options), None).await;
        removed.engine_context("remove", Subject::Image(self.name)).none_if(&[Kind::ImageNotFound]).map(drop)
    }
}

/// Names the reason why an image cannot become a base: the last line of the set-up step.
fn explain(failed: BuildFailure, from: &str) -> BuildFailure {
    let Some(step) = &failed.step else { return failed };
    let names_shell = |line: &String| line.contains("exec: \"/bin/sh\"");
    let has_no_shell = step.output.iter().any(names_shell) || names_shell(&failed.failure.message);
    let reason = if has_no_shell {
        "it has no `/bin/sh` to run the set-up"
    } else if step.exit_code.is_some() {
        step.output.iter().rfind(|line| !line.is_empty()).map_or("its set-up failed", String::as_str)
    } else {
        return failed;
    };
    let failure = Failure::new(Kind::BuildFailed, format!("cannot build a base on `{from}`: {reason}"));
    let failure = failure.hint("use a base image that has `/bin/sh`, and bash or a package manager");
    BuildFailure { failure, ..failed }
}

fn dockerfile_on(from: &str) -> String {
    // In this form every builder keeps the words of the command as they are, line breaks included.
    let setup = serde_json::json!(["/bin/sh", "-c", SETUP]);
    let home = Path::new(CONTAINER_IO_DIR).parent().unwrap_or(Path::new("/")).display();
    let label = labels::IO_DIR;
    format!(
        "FROM {from}\nUSER 0:0\nRUN {setup}\nUSER neurocaasdev\nENV HOME={home}\nWORKDIR {home}\n\
         LABEL {label}={CONTAINER_IO_DIR}\nENTRYPOINT []\nCMD [\"bash\"]\n"
    )
}

fn without_registry(failure: Failure) -> Failure {
    failure.hint("to build without a registry, use `--rootfs DIR`, for example a folder made by debootstrap")
}

/// Imports a root file system, a folder or a tar archive, as an image.
async fn import(engine: &Engine, rootfs: &Path, image: &str) -> Result<()> {
    let metadata = std::fs::metadata(rootfs).doing("read", rootfs)?;
    let subject = format!("`{}`", rootfs.display());
    if !metadata.is_dir() {
        let file = tokio::fs::File::open(rootfs).await.doing("read", rootfs)?;
        return import_image(engine, &subject, image, &[], engine_stream::stream_body(file, rootfs)).await;
    }
    let failed = |message: &str| Failure::new(Kind::Io, format!("cannot read {subject}: {message}"));
    let mut tar = tokio::process::Command::new("tar")
        .args(["--create", "--numeric-owner", "--one-file-system", "--file", "-", "--directory"])
        .arg(rootfs)
        .arg(".")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(&format!("cannot run `tar`: {error}")))?;
    let stdout = tar.stdout.take().ok_or_else(|| failed("`tar` has no output"))?;
    import_image(engine, &subject, image, &[], engine_stream::stream_body(stdout, rootfs)).await?;
    let status = tar.wait().await.map_err(|error| failed(&error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    Err(failed(&format!("`tar` ended with {status}")).hint("only root can read every file of a root file system"))
}
