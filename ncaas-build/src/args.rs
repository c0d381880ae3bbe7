//! The command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use ncaas_core::engine::labels;
use ncaas_core::image_labels::{self, Protocol};
use ncaas_core::pipe::{PipeArgs, RecordArgs};

/// Build, save, pull and push the images of analyses
#[derive(Debug, Parser)]
#[command(name = "ncaas-build", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Base(BaseArgs),
    Image(ImageArgs),
    Check(CheckArgs),
    Commit(CommitArgs),
    Pull(PullArgs),
    Push(PushArgs),
    Tag(TagArgs),
    Ls(LsArgs),
    Rm(RmArgs),
    Save(SaveArgs),
    Load(LoadArgs),
}

/// Build the base image for analyses
///
/// The base image has the user neurocaasdev (uid 1000) with a home directory, the io-dir and bash. It can be built on
/// the image of any distribution, or on a root file system.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    ncaas-build base --from continuumio/anaconda3 -t neurocaas/contrib:base-conda")]
pub(crate) struct BaseArgs {
    /// Image to build on
    #[arg(long, value_name = "REF", default_value = "debian:bookworm-slim", conflicts_with = "rootfs")]
    pub(crate) from: String,

    /// Root file system to build on: a folder, or a tar archive (plain or compressed)
    #[arg(long, value_name = "TAR|DIR")]
    pub(crate) rootfs: Option<PathBuf>,

    /// Name of the new image
    #[arg(short, long, default_value = "neurocaas/contrib:base")]
    pub(crate) tag: String,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

/// Build an image from a Dockerfile
///
/// Uses BuildKit if the engine has it, otherwise the classic builder. `.dockerignore` excludes files from the context,
/// as in `docker build`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    ncaas-build image . | ncaas-exec run --data d.npy --config c.yaml |\n      ncaas-logs save")]
pub(crate) struct ImageArgs {
    /// Folder with the files that the Dockerfile copies
    #[arg(default_value = ".")]
    pub(crate) context: PathBuf,

    /// Path of the Dockerfile, `-` for stdin [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Name of the image [default: neurocaas/contrib:REPOSITORY.COMMIT, from the git repository of CONTEXT]
    #[arg(short, long)]
    pub(crate) tag: Option<String>,

    /// Set an ARG of the Dockerfile; NAME alone copies the value from this environment. The proxies in the docker CLI's
    /// config.json are set too
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) build_arg: Vec<String>,

    /// Set a label of the image
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) label: Vec<(String, String)>,

    #[command(flatten)]
    pub(crate) job: JobLabelArgs,

    /// Build this stage of the Dockerfile instead of the last one
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,

    /// Build for this platform, for example `linux/arm64`
    #[arg(long)]
    pub(crate) platform: Option<String>,

    /// Run every step again, without the build cache
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// Pull a newer version of the base image if the registry has one
    #[arg(long)]
    pub(crate) pull: bool,

    /// Provide a secret for `RUN --mount=type=secret,id=ID`: `id=ID,src=FILE` or `id=ID,env=NAME`
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Vec<String>,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

/// The flags that set the image's labels about its jobs.
#[derive(Debug, ClapArgs)]
pub(crate) struct JobLabelArgs {
    /// Command line of jobs, with placeholders such as `{data}`, `{config}` and `{results}`
    #[arg(long, value_name = "COMMAND", value_parser = checked(image_labels::parse_command))]
    command: Option<String>,

    /// Mount a part of the io-dir elsewhere: data, config, results or logs, for example `data=/input`
    #[arg(long, value_name = "PART=PATH", value_parser = checked(image_labels::parse_mounts))]
    mount: Vec<String>,

    /// How jobs get dataset and config: arguments, environment or workflow
    #[arg(long, value_name = "PROTOCOL", value_parser = checked(Protocol::parse))]
    protocol: Option<String>,

    /// Path of the io-dir in the container
    #[arg(long, value_name = "PATH", value_parser = checked(image_labels::parse_path))]
    io_dir: Option<String>,
}

impl JobLabelArgs {
    /// The labels, by their keys.
    pub(crate) fn labels(&self) -> Vec<(String, String)> {
        let mounts = (!self.mount.is_empty()).then(|| self.mount.join(","));
        [
            (image_labels::COMMAND, self.command.clone()),
            (image_labels::MOUNTS, mounts),
            (image_labels::PROTOCOL, self.protocol.clone()),
            (labels::IO_DIR, self.io_dir.clone()),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
    }
}

/// Check scripts and build contexts for common mistakes
///
/// Writes one record for each mistake, with its line and remedy. The exit status is 1 if there is any.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  ncaas-build check . && ncaas-build image .")]
pub(crate) struct CheckArgs {
    /// Scripts, or folders with a Dockerfile [default: .]
    #[arg(value_name = "SCRIPT|CONTEXT")]
    pub(crate) paths: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

/// Save a container as an image
///
/// Files in volumes and mounts are not saved: the record has a warning for each.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    ncaas-build commit pca-dev --script /home/neurocaasdev/pca/run.sh")]
pub(crate) struct CommitArgs {
    /// The container: its name or id, a job's id or folder, the name of a dataset, or `last`
    pub(crate) container: String,

    /// Name of the image [default: neurocaas/contrib:REPOSITORY.COMMIT, from the git repository of the working
    /// directory]
    #[arg(short, long)]
    pub(crate) tag: Option<String>,

    /// Script in the container that jobs of the image run, with dataset and config as its arguments
    #[arg(long, value_name = "PATH")]
    pub(crate) script: Option<String>,

    /// Set an environment variable of the image; NAME alone copies the value from this environment
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,

    #[command(flatten)]
    pub(crate) job: JobLabelArgs,

    /// Save all layers as one. An image can have 125 layers, and each commit adds one
    #[arg(long)]
    pub(crate) squash: bool,

    /// Describe the image in its history
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,

    /// Replace an image of the same name
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

/// Pull images from registries
///
/// Uses the credentials of `docker login`, credential helpers included. Reads records from stdin if no image is named.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  ncaas-build pull neurocaas/contrib:pca.356d78a")]
pub(crate) struct PullArgs {
    /// The images, `[registry/]name[:tag]`
    pub(crate) images: Vec<String>,

    /// Pull for this platform, for example `linux/arm64`
    #[arg(long)]
    pub(crate) platform: Option<String>,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Push images to registries
///
/// Uses the credentials of `docker login`, credential helpers included. Reads records from stdin if no image is named.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  ncaas-build image . | ncaas-build push")]
pub(crate) struct PushArgs {
    /// The images, `[registry/]name[:tag]`
    pub(crate) images: Vec<String>,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Give an image a second name
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    ncaas-build tag neurocaas/contrib:pca.356d78a registry.example.com/lab/pca:1")]
pub(crate) struct TagArgs {
    /// The image
    pub(crate) source: String,

    /// The new name. If another image has it, the name moves to this image
    pub(crate) target: String,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

/// List analysis images, newest first: name, commit, size, age
///
/// An analysis image is in neurocaas/contrib, or has an io-dir label.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  ncaas-build ls | jq -r '[.image, .commit, .size / 1e6] | @tsv'")]
pub(crate) struct LsArgs {
    /// List all images of the engine
    #[arg(short, long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

/// Remove images
///
/// Reads records from stdin if no image is named.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    ncaas-build ls | jq -c 'select(.commit // \"\" | endswith(\"-dirty\"))' |\n      ncaas-build rm")]
pub(crate) struct RmArgs {
    /// The images
    pub(crate) images: Vec<String>,

    /// Remove an image even if a stopped container uses it
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Save an image to a file
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  ncaas-build save neurocaas/contrib:pca.356d78a -o pca.tar")]
pub(crate) struct SaveArgs {
    /// The image
    pub(crate) image: String,

    /// The file to write: a tar archive, which `docker load` can read too
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

/// Load images from a file
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  ncaas-build load pca.tar")]
pub(crate) struct LoadArgs {
    /// A file made by `ncaas-build save` or `docker save`
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

/// A parser that checks a value and keeps its text.
fn checked<T>(
    parse: impl Fn(&str) -> std::result::Result<T, String> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> std::result::Result<String, String> + Clone + Send + Sync + 'static {
    move |text| parse(text).map(|_| text.to_owned())
}

/// Parses `NAME=VALUE`.
fn parse_pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected `NAME=VALUE`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_valid() {
        super::Args::command().debug_assert();
    }
}
