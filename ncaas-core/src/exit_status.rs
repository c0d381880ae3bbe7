//! The exit status of a program.

/// A program's exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus(pub u8);

impl ExitStatus {
    /// Every record succeeded.
    pub const SUCCESS: ExitStatus = ExitStatus(0);

    /// Whether a signal ended the program.
    pub fn is_interrupted(self) -> bool {
        self.0 > 128
    }
}
