//! `ncaas-build ls`: our images on the engine.

use std::collections::HashMap;

use bollard::models::ImageSummary;
use bollard::query_parameters::ListImagesOptions;
use ncaas_core::engine::{Engine, EngineContext, Subject, labels};
use ncaas_core::failure::Result;
use ncaas_core::layout::analysis_of_image;
use ncaas_core::pipe::{Output, Pipe, print_schema};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::LsArgs;
use crate::git_revision::{REPOSITORY, REVISION};
use crate::image_name::split;
use crate::image_record::{Image, Written};

/// Lists images, the newest first.
pub(crate) async fn ls(tool: Tool, args: LsArgs) -> Result<ExitStatus> {
    if args.schema.schema {
        return print_schema::<Written<Image>>().await;
    }
    Pipe::new(tool, 1)
        .source(async |output: &Output| {
            let engine = Engine::connect().await?;
            let options = ListImagesOptions::default();
            let mut found =
                engine.docker().list_images(Some(options)).await.engine_context("list images of", Subject::Engine)?;
            found.sort_by_key(|image| std::cmp::Reverse(image.created));
            for image in &found {
                for name in &image.repo_tags {
                    if name != "<none>:<none>" && (args.all || is_ours(name, &image.labels)) {
                        output.emit(&describe(name, image).record()).await;
                    }
                }
            }
            Ok(())
        })
        .await
}

/// Whether an image is an analysis, or what analyses are built on.
fn is_ours(name: &str, labels: &HashMap<String, String>) -> bool {
    split(name).0 == REPOSITORY || labels.contains_key(labels::IO_DIR)
}

fn describe(name: &str, image: &ImageSummary) -> Image {
    let created = jiff::Timestamp::from_second(image.created).ok();
    let short = split(name).1.rsplit_once('.').map(|(_, commit)| commit.to_owned());
    let commit = image.labels.get(REVISION).cloned().or(short.filter(|commit| is_commit(commit)));
    Image {
        image: Some(name.to_owned()),
        image_id: Some(image.id.clone()),
        analysis: Some(analysis_of_image(name)),
        commit,
        size: u64::try_from(image.size).ok(),
        created: created.map(|at| at.to_string()),
        age_s: created.map(|at| jiff::Timestamp::now().duration_since(at).as_secs().max(0)),
        ..Image::default()
    }
}

/// Whether the end of a tag is a commit: `356d78a`, `356d78a-dirty`.
fn is_commit(text: &str) -> bool {
    let hex = text.strip_suffix("-dirty").unwrap_or(text);
    (7..=40).contains(&hex.len()) && hex.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_told_from_a_version() {
        assert!(is_commit("356d78a"));
        assert!(is_commit("356d78a-dirty"));
        assert!(!is_commit("1"));
        assert!(!is_commit("release"));
    }
}
