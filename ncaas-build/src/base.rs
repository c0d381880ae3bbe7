//! `ncaas-build base`: the image that analyses are built on, from any distribution's image or a root file system.

use std::path::Path;
use std::process::Stdio;

use bollard::query_parameters::RemoveImageOptions;
use ncaas_core::engine::{Asked, Engine, EngineContext, labels, reference};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::layout::CONTAINER_IO_DIR;
use ncaas_core::pipe::{Input, Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::BaseArgs;
use crate::fields::{Image, Written};
use crate::image::{BuildFailure, Plan, Wishes, report};
use crate::messages::{self, Refusal};
use crate::name::split;
use crate::pull::fetch;
use crate::revision::{CREATED, REPOSITORY};
use crate::terminal::Terminal;

/// What it is made from where nothing is said.
const FROM: &str = "debian:bookworm-slim";
/// What sets up the user and the io-dir.
const SETUP: &str = include_str!("base.sh");

/// Makes the base image, and writes its record.
pub(crate) async fn base(tool: Tool, args: BaseArgs) -> Result<ExitStatus> {
    if args.schema.schema {
        return print_schema::<Written<Image>>().await;
    }
    let image = args.tag.clone().unwrap_or_else(|| format!("{REPOSITORY}:base"));
    reference::image(&image).map_err(|failure| Failure { kind: Kind::Usage, ..failure })?;
    let record = Image { image: Some(image.clone()), ..Image::default() }.record();
    Pipe::new(tool, 1)
        .each(Input::record(record), async |record: &mut Record, output: &Output| {
            let built = match Engine::connect().await {
                Ok(engine) => build(&engine, tool, &args, &image).await,
                Err(failure) => Err(failure.into()),
            };
            report(tool, record, output, built).await;
            Ok(())
        })
        .await
}

async fn build(engine: &Engine, tool: Tool, args: &BaseArgs, image: &str) -> Result<Image, BuildFailure> {
    let Some(rootfs) = &args.rootfs else {
        let from = args.from.as_deref().unwrap_or(FROM);
        return build_from(engine, tool, from, image).await;
    };
    // It needs a name to be built on, and only until then.
    let imported = format!("{}-rootfs-{}", image.replace('@', "-"), std::process::id());
    import(engine, rootfs, &imported).await?;
    let built = build_from(engine, tool, &imported, image).await;
    let options = RemoveImageOptions { noprune: true, ..Default::default() };
    engine.docker().remove_image(&imported, Some(options), None).await.asking("remove", Asked::Image(&imported))?;
    built
}

async fn build_from(engine: &Engine, tool: Tool, from: &str, image: &str) -> Result<Image, BuildFailure> {
    let from = reference::image(from)?;
    let look = async || engine.docker().inspect_image(from).await.asking("look at", Asked::Image(from));
    let inspected = match look().await {
        Err(failure) if failure.kind == Kind::ImageNotFound => {
            fetch(engine, &Terminal::new(), from, None).await.map_err(without_registry)?;
            look().await?
        }
        inspected => inspected?,
    };
    let folder = tempfile::tempdir().map_err(|error| Failure::io("make a folder in", &std::env::temp_dir(), &error))?;
    let dockerfile = folder.path().join("Dockerfile");
    std::fs::write(&dockerfile, dockerfile_on(from)).doing("write", &dockerfile)?;
    let mut wishes = Wishes { image: image.to_owned(), ..Wishes::default() };
    if let Some(created) = inspected.created {
        wishes.labels.insert(CREATED.to_owned(), created);
    }
    let plan = Plan { context: folder.path().to_owned(), dockerfile, wishes, revision: None, secrets: Vec::new() };
    plan.build(engine, tool).await
}

fn dockerfile_on(from: &str) -> String {
    // The form that takes a command's words as they are, line breaks included, in every builder.
    let setup = serde_json::json!(["/bin/sh", "-c", SETUP]);
    let home = Path::new(CONTAINER_IO_DIR).parent().unwrap_or(Path::new("/")).display();
    let label = labels::IO_DIR;
    format!(
        "FROM {from}\nUSER root\nRUN {setup}\nUSER neurocaasdev\nENV HOME={home}\nWORKDIR {home}\n\
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
        (messages::body(stdout, rootfs), Some(tar))
    } else {
        (messages::body(tokio::fs::File::open(rootfs).await.doing("read", rootfs)?, rootfs), None)
    };
    let posted = messages::post(engine, &format!("/images/create?{query}"), &[("X-Registry-Auth", "")], body).await;
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
