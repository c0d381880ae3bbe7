//! What a build is asked for, in the words of the engine's API (`ImageBuild`).

use std::collections::BTreeMap;

use ncaas_core::engine::Engine;
use ncaas_core::failure::Result;

use crate::engine_stream::{Body, Messages, post};

/// What the image is to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct BuildOptions {
    pub(crate) image: String,
    /// Path of the Dockerfile in the context.
    pub(crate) dockerfile: String,
    /// Values for its `ARG`s.
    pub(crate) arguments: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) target: Option<String>,
    pub(crate) platform: Option<String>,
    pub(crate) no_cache: bool,
    pub(crate) pull: bool,
}

impl BuildOptions {
    /// The request's query; `more` is the builder's own part.
    pub(crate) fn query(&self, more: &[(&str, &str)]) -> String {
        let json = |map: &BTreeMap<String, String>| serde_json::to_string(map).unwrap_or_default();
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("t", &self.image)
            .append_pair("dockerfile", &self.dockerfile)
            .append_pair("buildargs", &json(&self.arguments))
            .append_pair("labels", &json(&self.labels))
            // No container is left of a step, also of one that failed.
            .append_pair("rm", "1")
            .append_pair("forcerm", "1")
            .extend_pairs(more);
        for (name, value) in [("target", &self.target), ("platform", &self.platform)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        for (name, wanted) in [("nocache", self.no_cache), ("pull", self.pull)] {
            if wanted {
                query.append_pair(name, "1");
            }
        }
        query.finish()
    }
}

/// Asks the engine to build.
///
/// # Errors
/// Where the engine is gone, or refuses before it begins: a Dockerfile that cannot be parsed, a bad name.
pub(crate) async fn build(engine: &Engine, query: &str, registries: Option<&str>, body: Body) -> Result<Messages> {
    let headers = [("Content-Type", "application/x-tar"), ("X-Registry-Config", registries.unwrap_or_default())];
    let headers = if registries.is_some() { &headers[..] } else { &headers[..1] };
    post(engine, &format!("/build?{query}"), headers, body)
        .await
        .map_err(|refusal| refusal.failure("the engine refuses to build"))
}
