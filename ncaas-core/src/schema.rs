//! `--schema`: each verb prints the JSON Schema of the records that it reads and writes.

use std::io::{self, Write};

use clap::{Arg, ArgAction, ArgMatches, Command};
use schemars::JsonSchema;
pub use schemars::Schema;

use crate::exit_status::ExitStatus;
use crate::failure::{Failure, Result};

const FLAG: &str = "schema";

/// The version of the record format, in each JSON Schema. It rises when a field is removed, renamed or changes its type
/// or meaning; new fields and new error kinds do not raise it (docs/records.md has the promise).
const RECORD_FORMAT_VERSION: u32 = 1;

/// The JSON Schema of a type of record.
pub fn schema_of<T: JsonSchema>() -> Schema {
    let mut schema = schemars::schema_for!(T);
    schema.insert("version".to_owned(), RECORD_FORMAT_VERSION.into());
    schema
}

/// Gives each verb the flag.
pub(crate) fn with_flag(command: Command) -> Command {
    let flag = Arg::new(FLAG).long(FLAG).action(ArgAction::SetTrue).exclusive(true);
    let flag = flag.help("Print the JSON Schema of the verb's records");
    command.mut_subcommands(|verb| if verb.is_hide_set() { verb } else { verb.arg(&flag) })
}

/// The verb that was called with the flag.
pub(crate) fn requested_verb(matches: &ArgMatches) -> Option<&str> {
    let (verb, arguments) = matches.subcommand()?;
    is_set(arguments, FLAG).then_some(verb)
}

/// Whether a flag is set. A verb need not have it.
pub(crate) fn is_set(arguments: &ArgMatches, flag: &str) -> bool {
    arguments.try_get_one::<bool>(flag).ok().flatten().copied().unwrap_or_default()
}

/// Writes a schema to stdout. A reader that is gone is not a failure.
pub(crate) fn print(schema: &Schema) -> Result<ExitStatus> {
    let mut stdout = io::stdout().lock();
    let written = serde_json::to_writer(&mut stdout, schema).map_err(io::Error::from);
    match written.and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::io("write", "stdout".as_ref(), &error)),
        _ => Ok(ExitStatus::SUCCESS),
    }
}
