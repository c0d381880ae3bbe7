//! The names of groups.

use ncaas_core::bucket::Key;
use ncaas_core::failure::{Failure, Kind, Result};

/// Makes sure that a text can be a group.
///
/// # Errors
/// [`Kind::Usage`] or [`Kind::BadKey`] where it cannot.
pub(crate) fn validate_group(group: &str) -> Result<()> {
    Key::new(group)?;
    if group.contains('/') || group.starts_with('.') {
        return Err(Failure::new(
            Kind::Usage,
            format!("`{group}` is not a valid group: a group is the name of one folder in the bucket"),
        ));
    }
    Ok(())
}
