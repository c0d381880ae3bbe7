//! The options of a build, and the request to the engine's API (`ImageBuild`) that carries them.

use std::collections::BTreeMap;

use hyper::StatusCode;
use ncaas_core::engine::Engine;
use ncaas_core::failure::{Failure, Kind, Result};

use crate::engine_stream::{Body, Messages, post};

/// The options that both builders understand.
#[derive(Debug, Clone, Default)]
pub(crate) struct BuildOptions {
    pub(crate) image: String,
    /// Path of the Dockerfile in the context.
    pub(crate) dockerfile: String,
    /// Values of the Dockerfile's `ARG`s.
    pub(crate) arguments: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) target: Option<String>,
    pub(crate) platform: Option<String>,
    pub(crate) no_cache: bool,
    pub(crate) pull: bool,
}

impl BuildOptions {
    /// The query of the request; `more` holds the parameters that only one builder has.
    pub(crate) fn query(&self, more: &[(&str, &str)]) -> String {
        let json = |map: &BTreeMap<String, String>| serde_json::to_string(map).unwrap_or_default();
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("t", &self.image)
            .append_pair("dockerfile", &self.dockerfile)
            .append_pair("buildargs", &json(&self.arguments))
            .append_pair("labels", &json(&self.labels))
            // Remove the container of every step, even if it failed.
            .append_pair("rm", "1")
            .append_pair("forcerm", "1")
            .extend_pairs(more);
        for (name, value) in [("target", &self.target), ("platform", &self.platform)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        for (name, is_set) in [("nocache", self.no_cache), ("pull", self.pull)] {
            if is_set {
                query.append_pair(name, "1");
            }
        }
        query.finish()
    }
}

pub(crate) async fn request_build(
    engine: &Engine,
    query: &str,
    registries: Option<&str>,
    body: Body,
) -> Result<Messages> {
    let headers = [("Content-Type", "application/x-tar"), ("X-Registry-Config", registries.unwrap_or_default())];
    let headers = if registries.is_some() { &headers[..] } else { &headers[..1] };
    let refused = |status: StatusCode, message: &str| {
        let kind = if status.is_client_error() { Kind::BuildFailed } else { Kind::EngineError };
        Failure::new(kind, format!("cannot build the image: {message}"))
    };
    let posted = post(engine, &format!("/build?{query}"), headers, body).await;
    posted.map_err(|refusal| refusal.into_failure(refused))
}
