//! `ncaas-exec start`: a development container that stays up.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ncaas_core::engine::{Engine, EngineContext, LazyEngine, Subject, labels};
use ncaas_core::failure::{Failure, Result};
use ncaas_core::files::make_folder;
use ncaas_core::layout;
use ncaas_core::pipe::{Input, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Known;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::StartArgs;
use crate::launch;
use crate::plan::{Plan, Shared};
use crate::run::{any_gpu, io_dir_inside};
use crate::settings::{Environment, Flags};

const AT_ONCE: usize = 4;

/// Stays up until it is told to end, with nothing but a shell. `read` waits for what nobody writes; the shell waits for
/// `read`, and so hears signals at once, and takes leave of processes whose parents have gone.
const STAY_UP: &str = "exec 3<&0; trap 'exit 0' TERM INT; while :; do read -r _ <&3 & wait $!; done";

pub(crate) async fn start(tool: Tool, args: StartArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let input = match &args.image {
        Some(image) => Input::record(Record::new(&Known { image: Some(image.clone()), ..Known::default() })),
        None => Input::stdin(tool, "ncaas-exec start IMAGE")?,
    };
    let connection = LazyEngine::default();
    let flags = Flags::new(args.settings, None)?;
    let work = async |record: &mut Record, _: &_| {
        let engine = connection.get().await?;
        one(tool, engine, record, &flags, args.name.clone()).await
    };
    Pipe::new(tool, args.pipe.jobs_or(AT_ONCE)).filter(input, work).await
}

async fn one(tool: Tool, engine: &Engine, record: &mut Record, flags: &Flags, name: Option<String>) -> Result<()> {
    let settings = flags.fill(record)?;
    let image = launch::image(engine, record.require("image")?).await?;
    record.merge(&Known { image_id: image.id.clone(), ..Known::default() });
    let io_dir = Path::new(record.require("io_dir")?).to_owned();
    if !io_dir.is_absolute() {
        return Err(Failure::missing_field("io_dir").hint("an absolute path"));
    }
    for folder in [layout::INPUTS, layout::CONFIGS, layout::RESULTS, layout::LOGS] {
        make_folder(&io_dir.join(folder))?;
    }
    // Whatever user the image runs as is to write here.
    for folder in [layout::RESULTS, layout::LOGS] {
        let path = io_dir.join(folder);
        let open = std::fs::Permissions::from_mode(0o777);
        // One of another user is for that user to open.
        let _ = std::fs::set_permissions(path, open);
    }
    let (gpu, warning) = match settings.gpus {
        None => (None, None),
        Some(_) => any_gpu(&engine.docker().info().await.engine_context("ask", Subject::Engine)?, &settings)?,
    };
    if let Some(warning) = &warning {
        tool.note(warning);
        record.warn(warning);
    }
    let mut plan = Plan {
        name,
        gpu,
        image: image.id.clone().unwrap_or_default(),
        entrypoint: Some(["sh", "-c", STAY_UP].map(str::to_owned).into()),
        environment: Environment::of(&settings)?,
        shared: shared(&io_dir, &io_dir_inside(&settings, &image), engine.is_remote()),
        settings,
        open_stdin: true,
        ..Plan::default()
    };
    let line = String::from_utf8_lossy(record.to_line().trim_ascii_end()).into_owned();
    plan.labels = [(labels::TOOL.to_owned(), tool.name().to_owned()), (labels::RECORD.to_owned(), line)].into();
    let id = launch::create(engine, &plan).await?;
    let container = launch::start(engine, &id, &plan).await?;
    tool.note(&format!("`{}` is up: `ncaas-exec shell {0}` steps into it", container.name));
    record.merge(&Known { container: Some(container), ..Known::default() });
    Ok(())
}

/// The whole io-dir, to read and to write. An engine on another machine is given copies of what can be read in it.
fn shared(io_dir: &Path, inside: &str, remote: bool) -> Vec<Shared> {
    if !remote {
        return vec![Shared { host: io_dir.to_owned(), inside: inside.to_owned(), read_only: false }];
    }
    let folder =
        |name: &str, read_only: bool| Shared { host: io_dir.join(name), inside: format!("{inside}/{name}"), read_only };
    vec![
        folder(layout::INPUTS, true),
        folder(layout::CONFIGS, true),
        folder(layout::RESULTS, false),
        folder(layout::LOGS, false),
    ]
}
