//! Builds the images of analyses, and moves them between engines, registries and files.

mod args;
mod builder;
mod commands;
mod engine_stream;
mod git_revision;
mod image_import;
mod image_name;
mod image_record;
mod progress;
mod registry;

use std::process::ExitCode;

use args::{Args, Verb};
use commands::check::finding::Finding;
use image_record::{Image, WrittenRecord};
use ncaas_core::schema::{Schema, schema_of};
use ncaas_core::tool;

fn main() -> ExitCode {
    tool::run("ncaas-build", schema_of_verb, async |tool, args: Args| match args.verb {
        Verb::Base(args) => commands::base::base(tool, args).await,
        Verb::Image(args) => commands::image::image(tool, args).await,
        Verb::Check(args) => commands::check::check(tool, args).await,
        Verb::Commit(args) => commands::commit::commit(tool, args).await,
        Verb::Pull(args) => commands::pull::pull(tool, args).await,
        Verb::Push(args) => commands::push::push(tool, args).await,
        Verb::Tag(args) => commands::tag::tag(tool, args).await,
        Verb::Ls(args) => commands::ls::ls(tool, args).await,
        Verb::Rm(args) => commands::rm::rm(tool, args).await,
        Verb::Save(args) => commands::save::save(tool, args).await,
        Verb::Load(args) => commands::load::load(tool, args).await,
    })
}

fn schema_of_verb(verb: &str) -> Schema {
    match verb {
        "check" => schema_of::<WrittenRecord<Finding>>(),
        _ => schema_of::<WrittenRecord<Image>>(),
    }
}
