//! BuildKit: the engine asks for the files, secrets and credentials that it needs, in a session that runs beside the
//! build request.
//!
//! It is used wherever the engine has it, even if the engine itself would prefer the classic builder (before 23.0).
//! An unchanged rebuild of a large context costs a hundredth of the first build, because nothing is sent again; with
//! the classic builder the whole context is sent each time. Labels are not steps either.

mod file_sync;
mod follow_links;
mod sent_files;
mod services;
mod session;
mod vertices;

use std::path::Path;
use std::time::Duration;

use hyper::Request;
use ncaas_core::engine::Engine;
use ncaas_core::failure::{Failure, IoContext, Result};

use super::dockerfile::{DOCKERFILE, DOCKERIGNORE, Dockerfile};
use super::options::{BuildOptions, request_build};
use super::outcome::{BuildFailure, BuiltImage};
use crate::engine_stream;
use crate::progress::Progress;
use file_sync::Folders;
use sent_files::SentFiles;
pub(crate) use services::Secret;
use vertices::Vertices;

/// How often the progress is redrawn.
const REFRESH: Duration = Duration::from_millis(200);

/// The files and secrets that the engine may ask for.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) context: &'a Path,
    /// Patterns of files that are excluded in addition to those of `.dockerignore`, and before them.
    pub(crate) excluded: &'a [String],
    pub(crate) dockerfile: &'a Dockerfile,
    pub(crate) secrets: Vec<Secret>,
}

/// Whether BuildKit is turned off on the engine. The response to a ping names the builder that the engine prefers.
/// Since 23.0 (API 1.42) that is the classic one only if the engine is configured so. Older engines name the classic
/// one by default, which tells nothing.
pub(crate) async fn is_turned_off(engine: &Engine) -> Result<bool> {
    let request = Request::builder().uri("/_ping").header("Host", "docker").body(engine_stream::empty_body());
    let request = request.map_err(|error| engine_stream::connection_failure(&error))?;
    let response = engine_stream::send(engine, request).await?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let minor = header("Api-Version").strip_prefix("1.").and_then(|minor| minor.parse::<u32>().ok());
    Ok(header("Builder-Version") == "1" && minor.is_some_and(|minor| minor >= 42))
}

/// Builds an image; none if the engine has no BuildKit.
pub(crate) async fn build(
    engine: &Engine,
    options: &BuildOptions,
    sources: Sources<'_>,
    progress: &Progress,
    size: u64,
) -> Result<Option<BuiltImage>, BuildFailure> {
    let dockerfile = dockerfile_folder(sources.dockerfile, sources.context)?;
    let sent_files = SentFiles::open(sources.context, &engine.address().to_string()).await;
    let folders = Folders::new(sources.context, sources.excluded, dockerfile.path(), sent_files);
    let Some(session) = session::open(engine, &folders, sources.secrets).await? else { return Ok(None) };
    let query = options.query(&[
        ("version", "2"),
        ("session", &session.id),
        ("buildid", &session.id),
        // The context comes through the session.
        ("remote", "client-session"),
    ]);
    let mut messages = request_build(engine, &query, None, engine_stream::empty_body()).await?;
    let mut vertices = Vertices::new(progress);
    let mut bar = None;
    let mut tick = tokio::time::interval(REFRESH);
    loop {
        tokio::select! {
            biased;
            message = messages.next() => match message? {
                // A file that could not be sent is the reason, whatever the engine says.
                Some(message) => vertices.add(&message).map_err(|failed| folders.failure().map_or(failed, Into::into))?,
                None => break,
            },
            _ = tick.tick() => {
                progress.refresh();
                if !folders.is_sending() {
                    bar = None;
                } else if folders.sent() > 0 {
                    bar.get_or_insert_with(|| progress.bar("sending the build context", size)).set(folders.sent());
                }
            }
        }
    }
    match vertices.image_id() {
        Some(image_id) => Ok(Some(BuiltImage { builder: "buildkit", image_id, sent: folders.sent() })),
        None => Err(vertices.failed("the engine ended the build without an image")),
    }
}

/// A folder that holds only the Dockerfile and its `.dockerignore`: the Dockerfile may be a pipe or a link. The
/// context's `.dockerignore` may be a link too: its content is then sent as the Dockerfile's `.dockerignore`. The
/// modification time of the Dockerfile is always new, so that the engine never mistakes it for an earlier one of the
/// same size.
fn dockerfile_folder(dockerfile: &Dockerfile, context: &Path) -> Result<tempfile::TempDir> {
    let folder =
        tempfile::tempdir().map_err(|error| Failure::io("create a folder in", &std::env::temp_dir(), &error))?;
    let path = folder.path().join(DOCKERFILE);
    std::fs::write(&path, &dockerfile.content).doing("write", &path)?;
    let linked = Some(context.join(DOCKERIGNORE)).filter(|file| file.is_symlink() && file.exists());
    if let Some(ignore) = &dockerfile.own_ignore.clone().or(linked) {
        std::fs::copy(ignore, folder.path().join(format!("{DOCKERFILE}{DOCKERIGNORE}"))).doing("read", ignore)?;
    }
    Ok(folder)
}
