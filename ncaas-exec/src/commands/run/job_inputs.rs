//! The dataset and the config of a job.

use ncaas_core::config::{self, Config};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::inputs::{self, InputPath, locate};
use ncaas_core::layout;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Datasets, InputFile};

use super::input_checksum::checksum_input;

#[derive(Debug, Clone, Default)]
pub(super) struct JobInputs {
    pub(super) data: Option<InputPath>,
    pub(super) config: Option<InputPath>,
    /// Their names in the record, in this order.
    names: Vec<String>,
}

impl JobInputs {
    /// Locates the dataset and the config of a record. Fails as [`locate`] does, and with [`Kind::BadRecord`]
    /// if the record names several datasets.
    pub(super) fn locate(record: &Record) -> Result<Self> {
        let dataname = record.dataname();
        let data = match &dataname {
            None => None,
            Some(Datasets::One(name)) => Some(locate(record, name, layout::INPUTS)?),
            Some(Datasets::Many(_)) => {
                return Err(Failure::new(
                    Kind::BadRecord,
                    "the record names several datasets, but a job has one dataset",
                ));
            }
        };
        let config = record.text("configname").map(|name| locate(record, name, layout::CONFIGS)).transpose()?;
        let names = dataname.iter().flat_map(Datasets::names).chain(record.text("configname"));
        Ok(JobInputs { names: names.map(str::to_owned).collect(), data, config })
    }

    /// Reads the platform's fields of the config. A config from the command line can have a format that only the
    /// analysis knows: then it has no such fields.
    pub(super) fn read_config(&self, record: &Record) -> Result<Config> {
        let Some(path) = &self.config else { return Ok(Config::default()) };
        let name = path.host.to_string_lossy();
        if !config::has_config_extension(&name) {
            return Ok(Config::default());
        }
        config::parse(&name, &inputs::read(record, path, config::MAX_SIZE)?)
    }

    /// Sizes and checksums, for the record.
    pub(super) async fn checksums(&self) -> Result<Vec<InputFile>> {
        let mut checksums = Vec::new();
        for (name, path) in self.names.iter().zip(self.paths()) {
            checksums.push(checksum_input(name, path).await?);
        }
        Ok(checksums)
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &InputPath> {
        self.data.iter().chain(&self.config)
    }
}
