//! Options that say how a container is run.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use ncaas_core::image_labels::{parse_mounts, parse_path};
use ncaas_core::io_dir::DEFAULT_IO_DIR;
use ncaas_core::quantity::parse_bytes;
use ncaas_core::record::fields::{MountPaths, Protocol};
use ncaas_core::resources::ResourceArgs;

/// Options that `start` and `run` share.
#[derive(Debug, ClapArgs)]
pub(crate) struct SettingsArgs {
    /// The io-dir on this machine
    #[arg(long, value_name = "DIR", env = "NCAAS_IO_DIR", default_value = DEFAULT_IO_DIR)]
    pub(crate) io_dir: PathBuf,

    /// Path of the io-dir in the container [default: the image's label org.neurocaas.io-dir, else
    /// /home/neurocaasdev/io-dir]. For a job, PART=PATH moves single parts: data=/input,config=/config,results=/output;
    /// `logs=` mounts no folder for logs; can be repeated
    #[arg(long, value_name = "PATH", value_parser = parse_mount)]
    pub(crate) mount: Vec<MountArg>,

    /// Set an environment variable; NAME alone copies the value from this environment
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,

    /// Read environment variables from a file of NAME=VALUE lines
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,

    /// Pass a variable of this environment to the container without writing its value to any record, label or log
    #[arg(long, value_name = "NAME")]
    pub(crate) secret_env: Vec<String>,

    #[command(flatten)]
    pub(crate) resources: ResourceArgs,

    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) shm_size: Option<u64>,

    /// Network: none, host, bridge, or the name of a network [default: the engine's]
    #[arg(long, value_name = "NAME")]
    pub(crate) network: Option<String>,

    /// User in the container: a name or UID:GID [default: the image's]
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Platform of the image if it differs from the engine's, for example linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
}

/// Where the parts of the io-dir are in the container.
#[derive(Debug, Clone)]
pub(crate) enum MountArg {
    /// The io-dir as a whole.
    IoDir(String),
    /// Single parts.
    Parts(MountPaths),
}

/// Options of jobs, which development containers do not have.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct JobSettingsArgs {
    /// Mount a further file or folder read-only; can be repeated
    #[arg(long, value_name = "HOST:PATH[:ro]")]
    pub(crate) volume: Vec<String>,

    /// Replace the image's entrypoint, and drop its command
    #[arg(long, value_name = "COMMAND")]
    pub(crate) entrypoint: Option<String>,

    /// Working directory [default: the image's]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) workdir: Option<String>,

    /// Make the container's root file system read-only
    #[arg(long)]
    pub(crate) read_only: bool,

    /// Mount a writable file system in memory; can be repeated
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    pub(crate) tmpfs: Vec<String>,

    /// How the analysis gets its inputs [default: the image's label org.neurocaas.protocol, else arguments]
    #[arg(long, value_enum)]
    pub(crate) protocol: Option<Protocol>,

    /// Pass this environment's AWS credentials to the job, unrecorded. An analysis with the protocol `workflow` then
    /// finds dataset and config by their s3:// keys if the job comes from a bucket on S3
    #[arg(long)]
    pub(crate) aws_credentials: bool,

    /// Limit of processes and threads; 0 for no limit [default: 2048]
    #[arg(long, value_name = "N", env = "NCAAS_PIDS_LIMIT")]
    pub(crate) pids_limit: Option<u64>,

    /// Limit of the output that the engine keeps for a job; 0 for no limit [default: 10g]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes_or_zero, env = "NCAAS_LOG_SIZE")]
    pub(crate) log_size: Option<u64>,

    /// Allow processes to gain privileges, as `sudo` does
    #[arg(long, env = "NCAAS_ALLOW_NEW_PRIVILEGES")]
    pub(crate) allow_new_privileges: bool,

    /// Give the job a capability that jobs do not have by default, for example NET_RAW; can be repeated
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_add: Vec<String>,

    /// Size limit of the container's own layer, if the engine's storage driver supports one
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) storage: Option<u64>,
}

/// A size in bytes, or 0.
fn parse_bytes_or_zero(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { parse_bytes(text) }
}

/// `PATH`, or `PART=PATH,...`.
fn parse_mount(text: &str) -> Result<MountArg, String> {
    if text.contains('=') { parse_mounts(text).map(MountArg::Parts) } else { parse_path(text).map(MountArg::IoDir) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_a_path_or_moves_single_parts() {
        assert!(matches!(parse_mount("/io/"), Ok(MountArg::IoDir(path)) if path == "/io"));
        let parts = parse_mount("data=/input,logs=");
        assert!(matches!(parts, Ok(MountArg::Parts(parts)) if parts.data.as_deref() == Some("/input")));
        for wrong in ["io", "data=input", "x=/y", "data=/a,b", "/", "/proc", "results=/dev/shm", "/a/../b"] {
            assert!(parse_mount(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cpu_limit_can_be_a_fraction() {}
}
