//! `ncaas-build tag`, `ls` and `rm`: the images on the engine.

use std::collections::HashMap;

use bollard::models::ImageSummary;
use bollard::query_parameters::{ListImagesOptions, RemoveImageOptions, TagImageOptions};
use ncaas_core::engine::{Asked, Engine, EngineContext, labels, reference};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::analysis_of_image;
use ncaas_core::pipe::{Input, Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::sync::OnceCell;

use crate::args::{LsArgs, RmArgs, TagArgs};
use crate::fields::{Image, Written};
use crate::registry::{images, split};
use crate::revision::{REPOSITORY, REVISION};

/// Gives an image a second name.
pub(crate) async fn tag(tool: Tool, args: TagArgs) -> Result<ExitStatus> {
    if args.schema.schema {
        return print_schema::<Written<Image>>().await;
    }
    let (source, target) = (args.source.unwrap_or_default(), args.target.unwrap_or_default());
    let record = Image { image: Some(target.clone()), ..Image::default() }.record();
    Pipe::new(tool, 1)
        .filter(Input::record(record), async |record: &mut Record, _: &_| {
            let engine = Engine::connect().await?;
            let (source, target) = (reference::image(&source)?, reference::image(&target)?);
            let (repo, tag) = split(target);
            if tag.contains(':') {
                return Err(Failure::new(Kind::Usage, format!("`{target}` is a digest, not a name to give")));
            }
            let options = TagImageOptions { repo: Some(repo.to_owned()), tag: Some(tag.to_owned()) };
            engine.docker().tag_image(source, Some(options)).await.asking("tag", Asked::Image(source))?;
            let inspected = engine.docker().inspect_image(target).await.asking("look at", Asked::Image(target))?;
            Image { image_id: inspected.id, ..Image::default() }.merge_into(record);
            Ok(())
        })
        .await
}

/// Lists images, the newest first.
pub(crate) async fn ls(tool: Tool, args: LsArgs) -> Result<ExitStatus> {
    if args.schema.schema {
        return print_schema::<Written<Image>>().await;
    }
    Pipe::new(tool, 1)
        .source(async |output: &Output| {
            let engine = Engine::connect().await?;
            let options = ListImagesOptions::default();
            let mut found = engine.docker().list_images(Some(options)).await.asking("list images of", Asked::Engine)?;
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

/// Removes names, and images that have none left.
pub(crate) async fn rm(tool: Tool, args: RmArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Written<Image>>().await;
    }
    let input = images(tool, &args.images, "ncaas-build ls | jq -c 'select(.age_s > 2e6)' | ncaas-build rm")?;
    let engine = OnceCell::new();
    Pipe::new(tool, args.pipe.jobs_or(4))
        .filter(input, async |record: &mut Record, _: &_| {
            let engine = engine.get_or_try_init(Engine::connect).await?;
            let image = reference::image(record.need("image")?)?.to_owned();
            let docker = engine.docker();
            let inspected = docker.inspect_image(&image).await.asking("look at", Asked::Image(&image))?;
            let options = RemoveImageOptions { force: args.force, ..Default::default() };
            docker.remove_image(&image, Some(options), None).await.asking("remove", Asked::Image(&image)).map_err(
                |failure| match failure.message.contains("is using its referenced image")
                    || failure.message.contains("conflict")
                {
                    true => failure
                        .hint("remove the containers that were made from it (`ncaas-exec ls --all`), or `--force`"),
                    false => failure,
                },
            )?;
            Image { image_id: inspected.id, ..Image::default() }.merge_into(record);
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
