//! `ncaas-build image`: builds an image from a Dockerfile.

use std::collections::BTreeMap;

use ncaas_core::engine::{Engine, reference};
use ncaas_core::environment::parse_variables;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::image_labels::ImageLabels;
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::ImageArgs;
use crate::builder::dockerfile::DOCKERFILE;
use crate::builder::{BuildOptions, Plan, Secret, context, write_record};
use crate::git_revision::{Revision, name_image};
use crate::image_record::Image;

pub(crate) async fn image(tool: Tool, args: ImageArgs) -> Result<ExitStatus> {
    let plan = plan_build(tool, &args)?;
    let record = Record::new(&Image { image: Some(plan.options.image.clone()), ..Image::default() });
    Pipe::for_records(tool, &args.records)
        .for_each(Input::record(record), async |record: &mut Record, output: &Output| {
            let built = match Engine::connect().await {
                Ok(engine) => plan.build(&engine, tool).await,
                Err(failure) => Err(failure.into()),
            };
            write_record(tool, record, output, built).await;
            Ok(())
        })
        .await
}

fn plan_build(tool: Tool, args: &ImageArgs) -> Result<Plan> {
    let context = context::require_folder(&args.context)?.to_owned();
    let dockerfile = args.file.clone().unwrap_or_else(|| context.join(DOCKERFILE));
    let named = name_image(&context, args.tag.as_deref())?;
    reference::image(&named.image).map_err(|failure| Failure { kind: Kind::Usage, ..failure })?;
    for warning in &named.warnings {
        tool.note(&format!("warning: {warning}"));
    }
    let labels: BTreeMap<String, String> =
        named.revision.iter().flat_map(Revision::labels).chain(args.job.labels()).chain(args.label.clone()).collect();
    ImageLabels::parse(&labels.clone().into_iter().collect())?;
    let options = BuildOptions {
        image: named.image,
        dockerfile: String::new(),
        arguments: parse_variables(&args.build_arg)?.into_iter().collect(),
        labels,
        target: args.target.clone(),
        platform: args.platform.clone(),
        no_cache: args.no_cache,
        pull: args.pull,
    };
    let secrets = args.secret.iter().map(|text| Secret::parse(text)).collect::<Result<_>>()?;
    Ok(Plan { context, dockerfile, options, revision: named.revision, secrets, warnings: named.warnings })
}
