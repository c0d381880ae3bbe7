//! The modes of folders that containers write to.

/// The mode of a folder that a container writes to as any user.
pub const MODE_SHARED: u32 = 0o777;
/// The mode of its parent folder, which other users of this machine cannot enter.
pub const MODE_PRIVATE: u32 = 0o700;
