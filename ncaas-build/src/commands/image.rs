//! `ncaas-build image`: an image from a Dockerfile.

use std::collections::BTreeMap;

use ncaas_core::engine::{Engine, reference};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files;
use ncaas_core::pipe::{Input, Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::ImageArgs;
use crate::builder::{BuildOptions, DOCKERFILE, Plan, Secret, context, write_record};
use crate::git_revision::{self, Revision};
use crate::image_record::{Image, Written};

/// Builds an image, and writes its record.
pub(crate) async fn image(tool: Tool, args: ImageArgs) -> Result<ExitStatus> {
    if args.schema.schema {
        return print_schema::<Written<Image>>().await;
    }
    let plan = plan_from(&args)?;
    let record = Image { image: Some(plan.options.image.clone()), ..Image::default() }.record();
    Pipe::new(tool, 1)
        .each(Input::record(record), async |record: &mut Record, output: &Output| {
            let built = match Engine::connect().await {
                Ok(engine) => plan.build(&engine, tool).await,
                Err(failure) => Err(failure.into()),
            };
            write_record(tool, record, output, built).await;
            Ok(())
        })
        .await
}

fn plan_from(args: &ImageArgs) -> Result<Plan> {
    let context = context::folder(&args.context)?.to_owned();
    let dockerfile = args.file.clone().unwrap_or_else(|| context.join(DOCKERFILE));
    let revision = match Revision::of(&context) {
        // With a name given, a git that cannot be asked costs a label and no more.
        Err(_) if args.tag.is_some() => None,
        revision => revision?,
    };
    let image = match (&args.tag, &revision) {
        (Some(tag), _) => tag.clone(),
        (None, Some(revision)) => revision.image(),
        (None, None) => return Err(git_revision::nameless(&files::absolute(&context)?)),
    };
    reference::image(&image).map_err(|failure| Failure { kind: Kind::Usage, ..failure })?;
    let mut labels: BTreeMap<String, String> =
        revision.iter().flat_map(Revision::labels).chain(args.label.iter().cloned()).collect();
    labels.retain(|name, _| !name.is_empty());
    let options = BuildOptions {
        image,
        dockerfile: String::new(),
        arguments: args.build_arg.iter().filter_map(|text| argument(text)).collect(),
        labels,
        target: args.target.clone(),
        platform: args.platform.clone(),
        no_cache: args.no_cache,
        pull: args.pull,
    };
    let secrets = args.secret.iter().map(|text| Secret::parse(text)).collect::<Result<_>>()?;
    Ok(Plan { context, dockerfile, options, revision, secrets })
}

/// `K=V`, or `K` with the value that it has in the environment. One without a value is none, as with the docker CLI.
fn argument(text: &str) -> Option<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((text.to_owned(), std::env::var(text).ok()?)),
    }
}
