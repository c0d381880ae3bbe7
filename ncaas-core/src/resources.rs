//! The resources of a job as a command line names them.

use clap::Args;

use crate::quantity::parse_memory;
use crate::record::fields::{Gpus, RunSettings};

/// Memory, CPUs and GPU for records that do not set them.
#[derive(Debug, Clone, Default, Args)]
pub struct ResourceArgs {
    /// Memory limit, for example 512m or 4g
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    pub memory: Option<u64>,

    /// CPU limit in CPUs, for example 2 or 0.5
    #[arg(long, value_name = "N", value_parser = parse_cpus)]
    pub cpus: Option<f64>,

    /// Give the container one GPU
    #[arg(long, value_name = "WHEN", value_enum)]
    pub gpus: Option<Gpus>,
}

impl ResourceArgs {
    /// The settings of a job with these resources and no other settings.
    pub fn settings(self) -> RunSettings {
        RunSettings { memory: self.memory, cpus: self.cpus, gpus: self.gpus, ..RunSettings::default() }
    }
}

fn parse_cpus(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(cpus) if (0.01..1e6).contains(&cpus) => Ok(cpus),
        _ => Err(format!("`{text}` is not a number of CPUs: write for example `2` or `0.5`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_cpus_may_be_a_fraction() {
        assert_eq!(parse_cpus("0.5"), Ok(0.5));
        assert!(parse_cpus("0").is_err() && parse_cpus("two").is_err());
    }
}
