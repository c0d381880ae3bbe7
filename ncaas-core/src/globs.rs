//! Globs that select files: a name anywhere (`*.npy`), or a path (`out/**`).

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::failure::{Failure, Kind, Result};

/// Parses globs into one set. Each matches the paths that it names, and everything below them.
///
/// # Errors
/// [`Kind::Usage`] if one is not a valid glob, or they are too complex.
pub fn parse_globs<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    let mut added = Vec::new();
    for pattern in patterns {
        added.push(pattern);
        let plain = pattern.trim_end_matches('/');
        let anywhere = if plain.contains('/') { plain.to_owned() } else { format!("**/{plain}") };
        for glob in [format!("{anywhere}/**"), anywhere] {
            let glob = GlobBuilder::new(&glob).literal_separator(true).backslash_escape(true).build();
            set.add(glob.map_err(|error| invalid_glob(pattern, &error))?);
        }
    }
    set.build().map_err(|error| invalid_glob(&added.join("`, `"), &error))
}

fn invalid_glob(pattern: &str, error: &globset::Error) -> Failure {
    Failure::new(Kind::Usage, format!("`{pattern}` is not a valid glob: {}", error.kind()))
        .hint("`*.npy` matches a name anywhere, `out/**` a path; quote the glob so that the shell does not expand it")
}
