//! `ncaas-build ls`: lists the images of analyses on the engine.

use std::collections::HashMap;

use bollard::models::ImageSummary;
use bollard::query_parameters::ListImagesOptions;
use ncaas_core::duration::format_age;
use ncaas_core::engine::{Engine, EngineContext, Subject, labels};
use ncaas_core::failure::Result;
use ncaas_core::layout::analysis_of_image;
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::quantity::format_bytes;
use ncaas_core::record::Record;
use ncaas_core::table::{Table, shows_table, terminal_width};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::LsArgs;
use crate::git_revision::{REPOSITORY, REVISION};
use crate::image_name::split;
use crate::image_record::Image;

pub(crate) async fn ls(tool: Tool, args: LsArgs) -> Result<ExitStatus> {
    let as_table = shows_table(args.records.json);
    Pipe::for_records(tool, &args.records)
        .source(async |output: &Output| {
            let engine = Engine::connect().await?;
            let options = ListImagesOptions::default();
            let mut found =
                engine.docker().list_images(Some(options)).await.engine_context("list images of", Subject::Engine)?;
            found.sort_by_key(|image| std::cmp::Reverse(image.created));
            let mut images = Vec::new();
            for image in &found {
                let names = image.repo_tags.iter().filter(|name| *name != "<none>:<none>");
                let listed = names.filter(|name| args.all || is_analysis(name, &image.labels));
                images.extend(listed.map(|name| describe(name, image)));
            }
            if as_table {
                output.write(table(&images, terminal_width()).into_bytes()).await;
                return Ok(());
            }
            for image in &images {
                output.emit(&Record::new(&image)).await;
            }
            Ok(())
        })
        .await
}

/// The images as a table that fits a terminal.
fn table(images: &[Image], width: usize) -> String {
    let mut table = Table::new(&["IMAGE", "COMMIT", "SIZE", "AGE"]).fit(width);
    for image in images {
        let commit = image.commit.as_deref().map(short_commit).unwrap_or_default();
        table.push([
            image.image.clone().unwrap_or_default(),
            commit,
            image.size.map(format_bytes).unwrap_or_default(),
            image.age_s.map(format_age).unwrap_or_default(),
        ]);
    }
    table.to_string()
}

/// A commit as git shortens it, with `-dirty` kept.
fn short_commit(commit: &str) -> String {
    let (hex, dirty) = commit.strip_suffix("-dirty").map_or((commit, ""), |hex| (hex, "-dirty"));
    format!("{}{dirty}", hex.chars().take(7).collect::<String>())
}

/// Whether an image is that of an analysis, or a base for analyses.
fn is_analysis(name: &str, labels: &HashMap<String, String>) -> bool {
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

/// Whether the end of a tag is a commit, for example `356d78a` or `356d78a-dirty`.
fn is_commit(text: &str) -> bool {
    let hex = text.strip_suffix("-dirty").unwrap_or(text);
    (7..=40).contains(&hex.len()) && hex.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_distinguished_from_a_version() {
        assert!(is_commit("356d78a"));
        assert!(is_commit("356d78a-dirty"));
        assert!(!is_commit("1"));
        assert!(!is_commit("release"));
    }

    #[test]
    fn the_table_fits_the_terminal() {
        let image = Image {
            image: Some(format!("neurocaas/contrib:{}.356d78a-dirty", "analysis".repeat(3))),
            commit: Some(format!("{}-dirty", "356d78a".repeat(5))),
            size: Some(1_234_567_890),
            age_s: Some(200_000),
            ..Image::default()
        };
        for width in [60, 80, 110, 200] {
            let table = table(std::slice::from_ref(&image), width);
            assert!(table.lines().all(|line| line.chars().count() <= width), "{table}");
            assert!(table.contains("356d78a-dirty  1.2 GB  2 d"), "{table}");
        }
    }
}
