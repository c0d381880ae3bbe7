//! The command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use ncaas_core::failure::Result;
use ncaas_core::pipe::PipeArgs;
use ncaas_core::tool::{ExitStatus, Tool};

/// Images of an analysis: from a Dockerfile, a base or a container, tagged by commit, to and from registries
#[derive(Debug, Parser)]
#[command(name = "ncaas-build", version, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
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

impl Args {
    /// Runs the verb.
    pub(crate) async fn run(self, tool: Tool) -> Result<ExitStatus> {
        match self.verb {
            Verb::Base(args) => crate::base::base(tool, args).await,
            Verb::Image(args) => crate::image::image(tool, args).await,
            Verb::Check(args) => crate::check::check(tool, args).await,
            Verb::Commit(args) => crate::commit::commit(tool, args).await,
            Verb::Pull(args) => crate::pull::pull(tool, args).await,
            Verb::Push(args) => crate::push::push(tool, args).await,
            Verb::Tag(args) => crate::tag::tag(tool, args).await,
            Verb::Ls(args) => crate::ls::ls(tool, args).await,
            Verb::Rm(args) => crate::rm::rm(tool, args).await,
            Verb::Save(args) => crate::save::save(tool, args).await,
            Verb::Load(args) => crate::load::load(tool, args).await,
        }
    }
}

/// The flag of verbs that read no records.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct SchemaArg {
    /// Print the JSON Schema of the records that the verb writes
    #[arg(long, exclusive = true)]
    pub(crate) schema: bool,
}

/// Make the base image that analyses are built on
///
/// User neurocaasdev (uid 1000), its home, the io-dir and bash, on any distribution's image or root file system.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    ncaas-build base --from continuumio/anaconda3 -t neurocaas/contrib:base-conda")]
pub(crate) struct BaseArgs {
    /// Image to make it from [default: debian:bookworm-slim]
    #[arg(long, value_name = "REF", conflicts_with = "rootfs")]
    pub(crate) from: Option<String>,

    /// Root file system to make it from: a folder, or a tar archive (also compressed)
    #[arg(long, value_name = "TAR|DIR")]
    pub(crate) rootfs: Option<PathBuf>,

    /// Name of the image [default: neurocaas/contrib:base]
    #[arg(short, long)]
    pub(crate) tag: Option<String>,

    #[command(flatten)]
    pub(crate) schema: SchemaArg,
}

/// Build an image from a Dockerfile
///
/// With BuildKit where the engine has it, with the classic builder otherwise. What `.dockerignore` names is left out of
/// the context, by the rules of `docker build`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    ncaas-build image . | ncaas-exec run --data d.npy --config c.yaml |\n      ncaas-logs save")]
pub(crate) struct ImageArgs {
    /// Folder with the files that the Dockerfile copies from
    #[arg(default_value = ".")]
    pub(crate) context: PathBuf,

    /// The Dockerfile [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Name of the image [default: neurocaas/contrib:REPOSITORY.COMMIT, by the git repository of CONTEXT]
    #[arg(short, long)]
    pub(crate) tag: Option<String>,

    /// Value of an ARG of the Dockerfile; without `=V`, that of the environment variable K. The proxies of the docker CLI's
    /// config.json are such values, too
    #[arg(long, value_name = "K=V")]
    pub(crate) build_arg: Vec<String>,

    /// Label of the image
    #[arg(long, value_name = "K=V", value_parser = pair)]
    pub(crate) label: Vec<(String, String)>,

    /// Build this stage of the Dockerfile, not the last one
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,

    /// Build for this platform, as `linux/arm64`
    #[arg(long)]
    pub(crate) platform: Option<String>,

    /// Run every step again
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// Ask the registry for a newer base image
    #[arg(long)]
    pub(crate) pull: bool,

    /// A secret for `RUN --mount=type=secret,id=ID`: `id=ID,src=FILE` or `id=ID,env=NAME`
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Vec<String>,

    #[command(flatten)]
    pub(crate) schema: SchemaArg,
}

/// Look for the known traps in scripts and build contexts
///
/// Writes a record for each, with line and remedy; the exit status is 1 where there is one.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  ncaas-build check . && ncaas-build image .")]
pub(crate) struct CheckArgs {
    /// Scripts, or folders with a Dockerfile [default: .]
    #[arg(value_name = "SCRIPT|CONTEXT")]
    pub(crate) paths: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) schema: SchemaArg,
}

/// Save a container into an image
///
/// What lies in volumes and mounts is not saved, and the record warns of it.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    ncaas-build commit pca-dev --script /home/neurocaasdev/pca/run.sh")]
pub(crate) struct CommitArgs {
    /// The container, by name or id
    #[arg(required_unless_present = "schema")]
    pub(crate) container: Option<String>,

    /// Name of the image [default: neurocaas/contrib:REPOSITORY.COMMIT, by the git repository of the working
    /// directory]
    #[arg(short, long)]
    pub(crate) tag: Option<String>,

    /// Script in the container that the image is to run on a job's dataset and config
    #[arg(long, value_name = "PATH")]
    pub(crate) script: Option<String>,

    /// Environment variable of the image
    #[arg(long, value_name = "K=V", value_parser = pair)]
    pub(crate) env: Vec<(String, String)>,

    /// What is said about the image in its history
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,

    /// Take the name away from an image that has it
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) schema: SchemaArg,
}

/// Bring images from their registries
///
/// With the credentials that `docker login` keeps, helpers included. Reads records from stdin where no image is named.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  ncaas-build pull neurocaas/contrib:pca.356d78a")]
pub(crate) struct PullArgs {
    /// The images, `[registry/]name[:tag]`
    pub(crate) images: Vec<String>,

    /// Pull for this platform, as `linux/arm64`
    #[arg(long)]
    pub(crate) platform: Option<String>,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Take images to their registries
///
/// With the credentials that `docker login` keeps, helpers included. Reads records from stdin where no image is named.
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
    #[arg(required_unless_present = "schema")]
    pub(crate) source: Option<String>,

    /// Its new name, taken away from the image that has it
    #[arg(required_unless_present = "schema")]
    pub(crate) target: Option<String>,

    #[command(flatten)]
    pub(crate) schema: SchemaArg,
}

/// List our images, the newest first: analysis, commit, size, age
///
/// Ours are those in neurocaas/contrib, and those with an io-dir.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  ncaas-build ls | jq -r '[.image, .commit, .size / 1e6] | @tsv'")]
pub(crate) struct LsArgs {
    /// All images of the engine, not ours alone
    #[arg(short, long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) schema: SchemaArg,
}

/// Remove images
///
/// Reads records from stdin where no image is named.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    ncaas-build ls | jq -c 'select(.commit // \"\" | endswith(\"-dirty\"))' |\n      ncaas-build rm")]
pub(crate) struct RmArgs {
    /// The images
    pub(crate) images: Vec<String>,

    /// Also where a stopped container was made from it
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Save an image into a file
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  ncaas-build save neurocaas/contrib:pca.356d78a -o pca.tar")]
pub(crate) struct SaveArgs {
    /// The image
    #[arg(required_unless_present = "schema")]
    pub(crate) image: Option<String>,

    /// The file, a tar archive that `docker load` reads as well
    #[arg(short, long, value_name = "FILE", required_unless_present = "schema")]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) schema: SchemaArg,
}

/// Load the images in a file
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  ncaas-build load pca.tar")]
pub(crate) struct LoadArgs {
    /// A file that `ncaas-build save` or `docker save` made
    #[arg(required_unless_present = "schema")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) schema: SchemaArg,
}

/// `K=V`.
fn pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("has to be `K=V`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}
