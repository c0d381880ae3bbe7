//! The name that a user most likely meant by a misspelt one.

use std::path::Path;

use crate::failure::{Failure, Kind};

/// How many files of a folder are compared with a misspelt name.
const MOST_FILES: usize = 1000;

/// More typing errors than this make another name.
const MOST_ERRORS: usize = 3;

/// The name with the fewest typing errors, if there are few for its length.
pub fn nearest<'n>(text: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    all_nearest(text, names).first().copied()
}

/// Same as [`nearest`], for things with several spellings: the thing whose spelling is nearest.
pub fn nearest_spelling<'n, T>(text: &str, spellings: impl IntoIterator<Item = (&'n str, T)>) -> Option<T> {
    let errors = spellings.into_iter().filter_map(|(name, thing)| Some((typing_errors(text, name)?, thing)));
    errors.min_by_key(|(errors, _)| *errors).map(|(_, thing)| thing)
}

/// Same as [`nearest`]: all names with the fewest typing errors.
pub fn all_nearest<'n>(text: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let errors = names.into_iter().filter_map(|name| Some((typing_errors(text, name)?, name)));
    let mut similar: Vec<(usize, &str)> = errors.collect();
    let fewest = similar.iter().map(|(errors, _)| *errors).min();
    similar.retain(|(errors, _)| Some(*errors) == fewest);
    similar.into_iter().map(|(_, name)| name).collect()
}

/// The failure about a path. If it does not exist, the hint names the most similar file in its folder.
#[must_use]
pub fn suggest_file(failure: Failure, path: &Path) -> Failure {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return failure;
    };
    if failure.kind != Kind::FileNotFound {
        return failure;
    }
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(MOST_FILES);
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    match nearest(name, names.iter().map(String::as_str)) {
        Some(similar) => failure.hint(format!("did you mean `{}`?", path.with_file_name(similar).display())),
        None => failure,
    }
}

/// How many typing errors lead from a name to a text; none if too many do. A beginning that both have, up to a
/// separator, does not make them similar: many job ids and images begin alike.
fn typing_errors(text: &str, name: &str) -> Option<usize> {
    let (text, name) = (text.to_lowercase(), name.to_lowercase());
    let common = text.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    let is_separator = |character: char| "/:_".contains(character);
    let start =
        text.as_bytes()[..common].iter().rposition(|&byte| is_separator(char::from(byte))).map_or(0, |at| at + 1);
    let (own, other) = (text[start..].chars().count(), name[start..].chars().count());
    let most = (own / 3).clamp(1, MOST_ERRORS).min(text.chars().count().saturating_sub(1));
    // Each missing or additional character is an error. Counting all errors takes much longer.
    if own.abs_diff(other) > most {
        return None;
    }
    Some(strsim::osa_distance(&text[start..], &name[start..])).filter(|errors| *errors <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_name_is_suggested_and_no_other() {
        let names = || ["lab", "other", "job__pca_1", "neurocaas/contrib:mean.demo", "é_2"];
        let cases = [
            ("labb", Some("lab")),
            ("otehr", Some("other")),
            ("job__pca_2", Some("job__pca_1")),
            ("neurocaas/contrib:Maen.demo", Some("neurocaas/contrib:mean.demo")),
            ("neurocaas/contrib:pca.356d78a", None),
            ("é_1", Some("é_2")),
            ("zebra", None),
            ("x", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(nearest(text, names()), expected, "{text}");
        }
        assert_eq!(all_nearest("rn", ["start", "run", "rm"]), ["run", "rm"]);
    }
}
