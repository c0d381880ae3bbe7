//! The labels of a submission's datasets, which are in the names of their log and status files.

use std::collections::HashSet;

use super::names::{MAX_LABEL, base_name, short_hash};

/// A unique label for each dataset: its base name, or with its number (`session1.npy.2`) if an earlier dataset has that
/// name.
pub fn dataset_labels(datasets: &[&str]) -> Vec<String> {
    let bases: Vec<String> = datasets.iter().map(|dataset| file_label(base_name(dataset))).collect();
    // All base names are in use, so that no numbered label equals one of them.
    let mut taken: HashSet<String> = bases.iter().cloned().collect();
    let mut seen: HashSet<&String> = HashSet::new();
    let mut labels = Vec::with_capacity(bases.len());
    for (base, number) in bases.iter().zip(1..) {
        let mut label = base.clone();
        if !seen.insert(base) {
            label = format!("{base}.{number}");
            let mut again = 2;
            while !taken.insert(label.clone()) {
                label = format!("{base}.{number}.{again}");
                again += 1;
            }
        }
        labels.push(label);
    }
    labels
}

/// A name as a label, without control characters: it is shown on terminals. A long name is shortened, and a part of its
/// checksum keeps it distinct.
pub(crate) fn file_label(name: &str) -> String {
    let clean = name.replace(char::is_control, "_");
    if clean.len() <= MAX_LABEL {
        return clean;
    }
    format!("{}~{}", &clean[..clean.floor_char_boundary(MAX_LABEL - 9)], short_hash(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_datasets_have_the_same_label() {
        let cases: [(&[&str], &[&str]); 7] = [
            (&["a/x.npy", "b/x.npy", "c/folder/"], &["x.npy", "x.npy.2", "folder"]),
            (&["c/x.npy.3", "a/x.npy", "b/x.npy"], &["x.npy.3", "x.npy", "x.npy.3.2"]),
            (&["a/x.npy", "b/x.npy", "c/x.npy.2"], &["x.npy", "x.npy.2.2", "x.npy.2"]),
            (&["x", "a/x", "x.2", "x.2.2", "b/x.2"], &["x", "x.2.3", "x.2", "x.2.2", "x.2.5"]),
            (&["a/x", "a/x/", "a/x"], &["x", "x.2", "x.3"]),
            (&["a\nb", "a_b", "a\tb"], &["a_b", "a_b.2", "a_b.3"]),
            (&[], &[]),
        ];
        for (datasets, labels) in cases {
            assert_eq!(dataset_labels(datasets), labels, "{datasets:?}");
            let distinct: HashSet<String> = dataset_labels(datasets).into_iter().collect();
            assert_eq!(distinct.len(), datasets.len(), "{datasets:?}");
        }
    }

    #[test]
    fn a_label_fits_into_a_file_name() {
        let (long, other) = ("é".repeat(150), format!("{}a", "é".repeat(149)));
        let labels = dataset_labels(&[&long, &other, &long]);
        assert!(labels.iter().all(|label| label.len() <= MAX_LABEL + 8), "{labels:?}");
        assert!(labels[0] != labels[1] && labels[0] != labels[2]);
    }
}
