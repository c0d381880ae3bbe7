//! `ncaas-exec start`: start a development container.

mod folder_access;
mod mounted_folders;

use std::cell::Cell;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bollard::models::{ContainerInspectResponse, ImageInspect};
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::{Engine, EngineContext, FileOwner, LazyEngine, Subject, labels};
use ncaas_core::failure::{Failure, Kind, NoneIf, Result};
use ncaas_core::files;
use ncaas_core::layout;
use ncaas_core::pipe::{Input, Pipe};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, RecordFields};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::StartArgs;
use crate::container_spec::{ContainerSpec, SharedPath};
use crate::container_start;
use crate::container_user::ContainerUser;
use crate::gpu::GpuRequest;
use crate::image::{author_labels, io_dir_in_container};
use crate::run_settings::{ContainerEnvironment, DefaultSettings};
use folder_access::{grant_access, has_access_list};
use mounted_folders::MountedFolders;

const DEFAULT_JOBS: usize = 4;

/// The folders of an io-dir that a development container sees, and whether a remote engine gets a read-only copy.
const IO_DIR_FOLDERS: [(&str, bool); 5] = [
    (layout::INPUTS, true),
    (layout::CONFIGS, true),
    (layout::SUBMISSIONS, true),
    (layout::RESULTS, false),
    (layout::LOGS, false),
];

/// Keeps the container running, with nothing but a shell. `read` blocks on stdin, to which nothing is written; the
/// shell waits for it, so that it reacts to signals at once and reaps orphaned processes.
const KEEP_ALIVE: &str = "exec 3<&0; trap 'exit 0' TERM INT; while :; do read -r _ <&3 & wait $!; done";

pub(crate) async fn start(tool: Tool, args: StartArgs) -> Result<ExitStatus> {
    let input = match &args.image {
        Some(image) => {
            Input::record(Record::new(&RecordFields { image: Some(image.clone()), ..RecordFields::default() }))
        }
        // The name alone continues an existing container.
        None if args.name.is_some() && std::io::stdin().is_terminal() => Input::record(Record::default()),
        None => Input::stdin(tool, "ncaas-exec start IMAGE")?,
    };
    let connection = LazyEngine::default();
    let settings = DefaultSettings::for_development(args.settings)?;
    let has_begun = Cell::new(false);
    let work = async |record: &mut Record, _: &_| {
        has_begun.set(true);
        let engine = connection.get().await?;
        let source = args.mount_source.as_deref().map(files::absolute).transpose()?;
        start_container(tool, engine, record, &settings, args.name.clone(), source).await
    };
    let status = Pipe::for_args(tool, &args.pipe, DEFAULT_JOBS).filter(input, work).await?;
    match &args.name {
        // The name alone is most likely meant for an existing container.
        Some(name) if !has_begun.get() && status == ExitStatus::SUCCESS => {
            Err(Failure::new(Kind::Usage, "no image is given, and stdin contains no records").hint(format!(
                "name the image: `ncaas-exec start IMAGE --name {name}` also starts an existing container again"
            )))
        }
        _ => Ok(status),
    }
}

async fn start_container(
    tool: Tool,
    engine: &Engine,
    record: &mut Record,
    settings: &DefaultSettings,
    name: Option<String>,
    source: Option<PathBuf>,
) -> Result<()> {
    let settings = settings.complete(record)?;
    if let Some(name) = &name
        && let Some(container) = restart(engine, name).await?
    {
        tool.note(&format!("started `{name}` again; `ncaas-exec shell {name}` opens a shell in it"));
        record.merge(&RecordFields { container: Some(container), ..RecordFields::default() });
        return Ok(());
    }
    let image = match (&name, record.text("image")) {
        (Some(name), None) => {
            let message = format!("no container has the name `{name}`, and no image is given");
            return Err(Failure::new(Kind::ContainerNotFound, message)
                .hint(format!("`ncaas-exec start IMAGE --name {name}` creates it")));
        }
        _ => inspect_image_or_suggest_name(engine, record.require("image")?).await?,
    };
    record.merge(&RecordFields { image_id: image.id.clone(), ..RecordFields::default() });
    let io_dir = Path::new(record.require("io_dir")?).to_owned();
    if !io_dir.is_absolute() {
        return Err(Failure::missing_field("io_dir").hint("set it to an absolute path"));
    }
    let gpu = match settings.gpus {
        None => GpuRequest::None,
        gpus => GpuRequest::new(gpus, &engine.docker().info().await.engine_context("ask", Subject::Engine)?)?,
    };
    tool.warn(record, gpu.warning());
    author_labels(&image)?;
    let user = ContainerUser::new(&settings, &image);
    let in_container = io_dir_in_container(&settings, &image);
    let mut shared = shared_folders(&io_dir, &in_container, engine.is_remote());
    let folders = MountedFolders::make(&io_dir, &shared)?;
    if let Some(source) = &source {
        let beside = in_container.rsplit_once('/').map_or("", |(folder, _)| folder);
        let container = format!("{beside}/{}", source.file_name().unwrap_or_default().to_string_lossy());
        shared.push(SharedPath { host: source.clone(), container, read_only: engine.is_remote() });
    }
    let mut spec = ContainerSpec {
        name,
        gpu: gpu.first_gpu(),
        image: image.id.clone().unwrap_or_default(),
        environment: ContainerEnvironment::new(&settings)?,
        shared,
        settings,
        open_stdin: true,
        // The shell that keeps the container running reacts to no other signal.
        stop_signal: Some("SIGTERM".to_owned()),
        ..ContainerSpec::default()
    };
    keep_running(&mut spec, &image);
    spec.labels.insert(labels::TOOL.to_owned(), tool.name().to_owned());
    spec.label_record(record);
    let id = container_start::create_container(engine, &spec).await?;
    if user != ContainerUser::Root && !engine.is_remote() {
        let warning = grant_user_access(engine, &id, &user, &io_dir, source.as_deref()).await;
        tool.warn(record, warning.as_deref());
    }
    let container = container_start::start_container(engine, &id, &spec).await?;
    folders.verify(engine, &id).await?;
    tool.note(&format!("started `{}`; `ncaas-exec shell {0}` opens a shell in it", container.name));
    record.merge(&RecordFields { container: Some(container), ..RecordFields::default() });
    Ok(())
}

/// Makes the container run a shell that waits.
fn keep_running(spec: &mut ContainerSpec, image: &ImageInspect) {
    let keep_alive = Some(["sh", "-c", KEEP_ALIVE].map(str::to_owned).into());
    let (entrypoint, command) =
        image.config.as_ref().map_or((None, None), |config| (config.entrypoint.as_ref(), config.cmd.as_ref()));
    let is_empty = |words: Option<&Vec<String>>| words.is_none_or(Vec::is_empty);
    if is_empty(entrypoint) && !is_empty(command) {
        // A commit can restore the image's command, but not its lack of an entrypoint.
        spec.command = keep_alive;
    } else {
        spec.entrypoint = keep_alive;
    }
}

/// The image. If it does not exist and a container has its name, the hint says how to start the container.
async fn inspect_image_or_suggest_name(engine: &Engine, image: &str) -> Result<ImageInspect> {
    match engine.inspect_image(image).await {
        Err(failure) if failure.kind == Kind::ImageNotFound && engine.inspect(image).await.is_ok() => {
            Err(failure.hint(format!("`ncaas-exec start --name {image}` starts the existing container `{image}`")))
        }
        inspected => inspected,
    }
}

/// Starts the stopped development container with this name. `None` if there is no container with this name. Fails with
/// [`Kind::NameInUse`] if it is running, or is not a development container.
async fn restart(engine: &Engine, name: &str) -> Result<Option<Container>> {
    let Some(inspected) = engine.inspect(name).await.none_if(&[Kind::ContainerNotFound])? else { return Ok(None) };
    let own = engine.record_of_container(&inspected).await?.filter(|own| own.job().is_none());
    let is_development = own.is_some();
    let container = container_from_inspect(&inspected);
    if let Some(own) = own.filter(|_| container.has_ended()) {
        let folders = folders_of_container(&own, &inspected)?;
        container_start::start_prepared(engine, &container.id, name).await?;
        folders.verify(engine, &container.id).await?;
        return engine.container(&container.id).await.map(Some);
    }
    let failure = Failure::new(Kind::NameInUse, format!("a container with the name `{name}` exists"));
    Err(if is_development {
        failure.hint(format!("it is {}: `ncaas-exec shell {name}` opens a shell in it", container.state))
    } else {
        failure.hint("choose another name")
    })
}

/// The folders of its io-dir that a development container has mounted.
fn folders_of_container(record: &Record, inspected: &ContainerInspectResponse) -> Result<MountedFolders> {
    let io_dir = Path::new(record.require("io_dir")?);
    let mounts =
        inspected.mounts.iter().flatten().filter_map(|mount| mount.source.as_ref().zip(mount.destination.as_ref()));
    let shared = mounts.map(|(host, container)| SharedPath {
        host: host.into(),
        container: container.clone(),
        read_only: false,
    });
    let shared: Vec<SharedPath> = shared.filter(|shared| shared.host.parent() == Some(io_dir)).collect();
    MountedFolders::make(io_dir, &shared)
}

/// Lets the container's user write in the folders of the io-dir that it writes to. Returns a warning if that is not
/// possible, or if the user may not change the folder with the source code: its files stay as their owner made them.
async fn grant_user_access(
    engine: &Engine,
    container: &str,
    user: &ContainerUser,
    io_dir: &Path,
    source: Option<&Path>,
) -> Option<String> {
    let Some(uid) = user.uid(engine, container).await else {
        let warning = "the uid of the container's user is unknown; the user may be unable to write results";
        return Some(warning.to_owned());
    };
    if let Some((source, owner)) = source.and_then(|source| Some((source, owner_other_than(uid, source)?))) {
        return Some(format!(
            "`{}` belongs to user {owner}, and the container's user {uid} may not change it; `--user {owner}` lets it",
            source.display()
        ));
    }
    let mut writable = IO_DIR_FOLDERS.into_iter().filter(|(_, read_only_copy)| !read_only_copy);
    let failure = writable.find_map(|(folder, _)| grant_access(&io_dir.join(folder), uid).err())?;
    Some(format!("{failure}; use `--user {}:{}`", FileOwner::current().uid, FileOwner::current().gid))
}

/// The owner of a folder that the user `uid` may not write to, as far as its mode says.
fn owner_other_than(uid: u32, folder: &Path) -> Option<u32> {
    let metadata = folder.metadata().ok()?;
    let may_write = metadata.uid() == uid || metadata.mode() & 0o002 != 0 || has_access_list(folder);
    (!may_write).then_some(metadata.uid())
}

/// The folders of the io-dir, writable. They are mounted one by one, so that the container cannot write above them,
/// where the work folders of jobs are. A remote engine gets copies of inputs and configs.
fn shared_folders(io_dir: &Path, in_container: &str, is_remote: bool) -> Vec<SharedPath> {
    let shared = |(name, read_only_copy): (&str, bool)| SharedPath {
        host: io_dir.join(name),
        container: format!("{in_container}/{name}"),
        read_only: read_only_copy && is_remote,
    };
    IO_DIR_FOLDERS.into_iter().map(shared).collect()
}
