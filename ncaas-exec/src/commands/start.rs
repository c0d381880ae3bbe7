//! `ncaas-exec start`: start a development container.

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
use crate::container_spec::{ContainerSpec, SharedPath};
use crate::gpu::GpuRequest;
use crate::image::{inspect_image, io_dir_in_container};
use crate::lifecycle;
use crate::run_settings::{DefaultSettings, Environment};

const DEFAULT_JOBS: usize = 4;

/// Keeps the container running, with nothing but a shell. `read` blocks on stdin, to which nothing is written; the shell
/// waits for it, so that it reacts to signals at once and reaps orphaned processes.
const KEEP_ALIVE: &str = "exec 3<&0; trap 'exit 0' TERM INT; while :; do read -r _ <&3 & wait $!; done";

pub(crate) async fn start(tool: Tool, args: StartArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let input = match &args.image {
        Some(image) => Input::record(Record::new(&Known { image: Some(image.clone()), ..Known::default() })),
        None => Input::stdin(tool, "ncaas-exec start IMAGE")?,
    };
    let connection = LazyEngine::default();
    let settings = DefaultSettings::new(args.settings, None)?;
    let work = async |record: &mut Record, _: &_| {
        let engine = connection.get().await?;
        start_container(tool, engine, record, &settings, args.name.clone()).await
    };
    Pipe::new(tool, args.pipe.jobs_or(DEFAULT_JOBS)).filter(input, work).await
}

async fn start_container(
    tool: Tool,
    engine: &Engine,
    record: &mut Record,
    settings: &DefaultSettings,
    name: Option<String>,
) -> Result<()> {
    let settings = settings.complete(record)?;
    let image = inspect_image(engine, record.require("image")?).await?;
    record.merge(&Known { image_id: image.id.clone(), ..Known::default() });
    let io_dir = Path::new(record.require("io_dir")?).to_owned();
    if !io_dir.is_absolute() {
        return Err(Failure::missing_field("io_dir").hint("an absolute path"));
    }
    for folder in [layout::INPUTS, layout::CONFIGS, layout::RESULTS, layout::LOGS] {
        make_folder(&io_dir.join(folder))?;
    }
    // The container's user has to write here, whoever it is.
    for folder in [layout::RESULTS, layout::LOGS] {
        let path = io_dir.join(folder);
        let open = std::fs::Permissions::from_mode(0o777);
        // Fails for a folder of another user.
        let _ = std::fs::set_permissions(path, open);
    }
    let gpu = match settings.gpus {
        None => GpuRequest::None,
        Some(_) => {
            let info = engine.docker().info().await.engine_context("ask", Subject::Engine)?;
            GpuRequest::new(settings.gpus, &info)?
        }
    };
    tool.warn(record, gpu.warning());
    let mut spec = ContainerSpec {
        name,
        gpu: gpu.first_gpu(),
        image: image.id.clone().unwrap_or_default(),
        entrypoint: Some(["sh", "-c", KEEP_ALIVE].map(str::to_owned).into()),
        environment: Environment::new(&settings)?,
        shared: shared_folders(&io_dir, &io_dir_in_container(&settings, &image), engine.is_remote()),
        settings,
        open_stdin: true,
        ..ContainerSpec::default()
    };
    spec.labels.insert(labels::TOOL.to_owned(), tool.name().to_owned());
    spec.label_record(record);
    let id = lifecycle::create_container(engine, &spec).await?;
    let container = lifecycle::start_container(engine, &id, &spec).await?;
    tool.note(&format!("started `{}`; `ncaas-exec shell {0}` opens a shell in it", container.name));
    record.merge(&Known { container: Some(container), ..Known::default() });
    Ok(())
}

/// The whole io-dir, writable. A remote engine gets copies of inputs and configs.
fn shared_folders(io_dir: &Path, in_container: &str, is_remote: bool) -> Vec<SharedPath> {
    if !is_remote {
        return vec![SharedPath { host: io_dir.to_owned(), container: in_container.to_owned(), read_only: false }];
    }
    let folder = |name: &str, read_only: bool| SharedPath {
        host: io_dir.join(name),
        container: format!("{in_container}/{name}"),
        read_only,
    };
    vec![
        folder(layout::INPUTS, true),
        folder(layout::CONFIGS, true),
        folder(layout::RESULTS, false),
        folder(layout::LOGS, false),
    ]
}
