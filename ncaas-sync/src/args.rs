//! The command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use ncaas_core::failure::Result;
use ncaas_core::pipe::PipeArgs;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::select::SelectArgs;

/// Bring files where they belong: from containers into results, and between io-dir and bucket
#[derive(Debug, Parser)]
#[command(name = "ncaas-sync", version, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Collect(CollectArgs),
    Pull(PullArgs),
    Push(PushArgs),
}

impl Args {
    pub(crate) async fn run(self, tool: Tool) -> Result<ExitStatus> {
        match self.verb {
            Verb::Collect(args) => crate::collect::collect(tool, args).await,
            Verb::Pull(args) => crate::pull::pull(tool, args).await,
            Verb::Push(args) => crate::push::push(tool, args).await,
        }
    }
}

/// Where the io-dir is, where a record does not say.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct IoDirArgs {
    /// The io-dir, for records that have none: a group's files are in DIR/<group>
    #[arg(long, value_name = "DIR", default_value = "./io-dir")]
    pub(crate) io_dir: PathBuf,
}

/// Bring what ended jobs have written anywhere in their containers into their results
///
/// What lies under the container's working directory keeps its relative path, everything else goes under `outside/`.
/// Caches, temporary files and the like are left out. Links are kept where they stay within the results; devices,
/// FIFOs and sockets are left out, and the record says so.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-exec run --image pca x.npy config.yaml | ncaas-logs save | ncaas-sync collect
  ncaas-sync collect my-container --from out --exclude '*.tmp'")]
pub(crate) struct CollectArgs {
    /// The container, by name or id; without it, records from stdin
    pub(crate) container: Option<String>,

    /// Take only what lies under PATH, changed or not; relative to the working directory. Can be given more than once
    #[arg(long, value_name = "PATH")]
    pub(crate) from: Vec<String>,

    #[command(flatten)]
    pub(crate) select: SelectArgs,

    /// Fail a job that exits with 0 but has no result that matches. Can be given more than once; the label
    /// `org.neurocaas.expect` of the image says the same, a glob a line
    #[arg(long, value_name = "GLOB")]
    pub(crate) expect: Vec<String>,

    /// Leave out files larger than this: bytes, or with K, M, G or T
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_size: Option<u64>,

    #[command(flatten)]
    pub(crate) io_dir: IoDirArgs,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Bring datasets, configs or results from a bucket into the io-dir
///
/// As a filter it brings each job's dataset, config and submit file. What is there already, with the same content, is
/// not brought again.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-submit watch s3://pca | ncaas-sync pull --io-dir ./io-dir
  ncaas-sync pull s3://pca/lab --data lab/inputs/session1.npy --config lab/configs/config.yaml
  ncaas-sync pull s3://pca/lab --results job__pca_1606753161
  ncaas-sync pull ./bucket/lab")]
pub(crate) struct PullArgs {
    /// The group, as `s3://bucket/group` or `dir/group`; without it, records from stdin
    #[arg(value_name = "BUCKET/GROUP")]
    pub(crate) target: Option<String>,

    /// A dataset's key; one that ends in `/` is a folder. Can be given more than once
    #[arg(long, value_name = "KEY", requires = "target")]
    pub(crate) data: Vec<String>,

    /// The config's key
    #[arg(long, value_name = "KEY", requires = "target")]
    pub(crate) config: Option<String>,

    /// Bring this job's results and logs
    #[arg(long, value_name = "JOB", requires = "target", conflicts_with_all = ["data", "config"])]
    pub(crate) results: Option<String>,

    #[command(flatten)]
    pub(crate) io_dir: IoDirArgs,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Bring results and logs of jobs into their bucket
///
/// As a filter: the logs of a running job; of an ended one its results, its logs, and `end.txt` at last, when all
/// datasets of its submission have ended.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-sync collect | ncaas-sync push")]
pub(crate) struct PushArgs {
    #[command(flatten)]
    pub(crate) io_dir: IoDirArgs,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// A number of bytes: `2048`, `10K`, `1.5G`. The letters are powers of 1024.
pub(crate) fn size(text: &str) -> std::result::Result<u64, String> {
    let upper = text.trim().to_ascii_uppercase();
    let plain = upper.trim_end_matches("IB").trim_end_matches('B');
    let (number, unit) = match plain.char_indices().last() {
        Some((at, letter)) if letter.is_ascii_alphabetic() => (&plain[..at], letter),
        _ => (plain, ' '),
    };
    let power = match unit {
        ' ' => 0,
        'K' => 1,
        'M' => 2,
        'G' => 3,
        'T' => 4,
        _ => return Err(format!("`{unit}` is none of K, M, G and T")),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok((number * 1024_f64.powi(power)) as u64),
        _ => Err("it is not a number with K, M, G or T behind it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("2048"), Ok(2048));
        assert_eq!(size("1.5k"), Ok(1536));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        assert!(size("-1").is_err() && size("x").is_err() && size("5Q").is_err());
    }
}
