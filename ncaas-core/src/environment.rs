//! Environment variables on a command line, as the docker CLI reads them.

use crate::failure::{Failure, Kind, Result};

/// Parses each `NAME=VALUE`, or `NAME` for its value in this environment. A `NAME` that is not set is left out.
///
/// # Errors
/// [`Kind::Usage`] if a name is not valid.
pub fn parse_variables(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for text in texts {
        let (name, value) = match text.as_ref().split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_ref(), std::env::var(text.as_ref()).ok()),
        };
        check_name(name)?;
        variables.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(variables)
}

/// Checks the name of a variable.
///
/// # Errors
/// [`Kind::Usage`] if it is empty, or has white space, `=` or NUL in it.
pub fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.contains(['=', '\0']) || name.chars().any(char::is_whitespace) {
        return Err(Failure::new(Kind::Usage, format!("`{name}` is not a valid variable name")));
    }
    Ok(())
}
