//! A folder of this machine that no path and no symbolic link can leave.
//!
//! A container can replace files and folders that it sees by links. So only the io-dir itself is opened by its path,
//! which the user chose. Everything below is opened by handle: a link that stays in the io-dir is followed, and any
//! other is refused.

mod open_folder;
mod partial_file;

pub use open_folder::{Folder, open_real_folder};
pub use partial_file::PartialFile;
