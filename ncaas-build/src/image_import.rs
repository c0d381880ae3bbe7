//! Makes an image of one layer from the archive of a root file system.

use ncaas_core::engine::Engine;
use ncaas_core::failure::{Failure, Kind, Result};

use crate::engine_stream::{self, Body};
use crate::image_name::split;

/// Imports an archive as `image`. `changes` are instructions of a Dockerfile that set its configuration. A failure
/// names `subject`.
pub(crate) async fn import_image(
    engine: &Engine,
    subject: &str,
    image: &str,
    changes: &[String],
    archive: Body,
) -> Result<()> {
    let (repository, tag) = split(image);
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("fromSrc", "-").append_pair("repo", repository).append_pair("tag", tag);
    query.extend_pairs(changes.iter().map(|change| ("changes", change)));
    let uri = format!("/images/create?{}", query.finish());
    let refused =
        |message: &str| Failure::new(Kind::EngineError, format!("cannot import {subject} as an image: {message}"));
    let posted = engine_stream::post(engine, &uri, &[("X-Registry-Auth", "")], archive).await;
    let mut messages = posted.map_err(|refusal| refusal.into_failure(|_, message| refused(message)))?;
    while let Some(message) = messages.next().await? {
        if let Some(reason) = message.failure() {
            return Err(refused(reason.trim()));
        }
    }
    Ok(())
}
