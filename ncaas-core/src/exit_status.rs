//! The exit status of a program. [`Kind::exit_status`] is that of a failure of the whole program.

use crate::failure::Kind;

/// A program's exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus(pub u8);

impl ExitStatus {
    /// Every record succeeded.
    pub const SUCCESS: ExitStatus = ExitStatus(0);
    /// The tool itself failed, and not the command whose exit code is its status otherwise.
    pub const TOOL_FAILED: ExitStatus = ExitStatus(125);

    /// The status of a stage in which a record has failed with this kind of failure: 3 if a server cannot be reached
    /// at all, else 1, because the failure concerns one record.
    pub fn for_record(kind: Kind) -> ExitStatus {
        ExitStatus(if kind.exit_status() == 3 { 3 } else { 1 })
    }

    /// The exit code of a command in a container.
    pub fn of_command(code: i64) -> ExitStatus {
        u8::try_from(code).map_or(ExitStatus::TOOL_FAILED, ExitStatus)
    }

    /// Whether a signal ended the program.
    pub fn is_interrupted(self) -> bool {
        self.0 > 128
    }
}
