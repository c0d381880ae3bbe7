//! Globs that a successful job's results must match.

use globset::GlobSet;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::globs::parse_globs;
use ncaas_core::layout::PROCESS_RESULTS;
use ncaas_core::quantity::format_count;
use ncaas_core::record::fields::ResultFile;

/// Globs of which each must match at least one result.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExpectedResults {
    globs: Vec<(String, GlobSet)>,
}

impl ExpectedResults {
    pub(crate) fn new(patterns: &[String]) -> Result<ExpectedResults> {
        let globs = patterns.iter().map(|pattern| Ok((pattern.clone(), parse_globs([pattern.as_str()])?)));
        Ok(ExpectedResults { globs: globs.collect::<Result<_>>()? })
    }

    /// These globs, or those of the label of a job's container if there are none.
    pub(crate) fn or_from_label(&self, label: &str) -> Result<ExpectedResults> {
        if !self.globs.is_empty() {
            return Ok(self.clone());
        }
        let patterns: Vec<String> =
            label.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        ExpectedResults::new(&patterns)
    }

    /// Starts a check of the results of the job in a container.
    pub(crate) fn check(self, container: &str) -> Check {
        Check { container: container.to_owned(), unmatched: self.globs, results: 0 }
    }
}

/// A check of results that are seen one by one.
#[derive(Debug)]
pub(crate) struct Check {
    container: String,
    unmatched: Vec<(String, GlobSet)>,
    results: u64,
}

impl Check {
    pub(crate) fn add(&mut self, result: &ResultFile) {
        self.results += 1;
        self.unmatched.retain(|(_, glob)| !glob.is_match(path_in_results(&result.path)));
    }

    /// Fails if a glob matched none of the results.
    pub(crate) fn finish(&self) -> Result<()> {
        let unmatched: Vec<String> = self.unmatched.iter().map(|(pattern, _)| format!("`{pattern}`")).collect();
        if unmatched.is_empty() {
            return Ok(());
        }
        let results = format_count(self.results, "result");
        let message = format!("the job exited with 0 and has {results}, but none matches {}", unmatched.join(" or "));
        Err(Failure::new(Kind::ResultsMissing, message)
            .hint(format!("read its log: `ncaas-logs lines {}`", self.container)))
    }
}

/// The path of a result relative to `process_results`.
fn path_in_results(path: &str) -> &str {
    let marker = format!("/{PROCESS_RESULTS}/");
    path.find(&marker).map_or(path, |at| &path[at + marker.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_glob_must_match_a_result() {
        let result = ResultFile { path: "results/job__a_1/process_results/out/a.npy".into(), ..Default::default() };
        let outcome = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|&p| p.to_owned()).collect();
            let mut check = ExpectedResults::new(&patterns).unwrap().check("pca");
            check.add(&result);
            check.finish()
        };
        assert!(outcome(&["*.npy"]).is_ok());
        assert!(outcome(&["out/*.npy"]).is_ok());
        let failure = outcome(&["*.npy", "*.png"]).unwrap_err();
        assert_eq!(failure.kind, Kind::ResultsMissing);
        assert!(failure.message.contains("`*.png`") && !failure.message.contains("`*.npy`"));
    }
}
