//! What a job that succeeded must have produced.

use globset::GlobSet;
use ncaas_core::engine::Engine;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::PROCESS_RESULTS;
use ncaas_core::record::fields::ResultFile;

use crate::select::globs;

/// On an image or container: what its jobs must produce, a glob a line.
const LABEL: &str = "org.neurocaas.expect";

/// Globs of which each has to match one result or more.
#[derive(Debug)]
pub(crate) struct Expected {
    globs: Vec<(String, GlobSet)>,
}

impl Expected {
    pub(crate) fn new(patterns: &[String]) -> Result<Expected> {
        let globs = patterns.iter().map(|pattern| Ok((pattern.clone(), globs([pattern.as_str()])?)));
        Ok(Expected { globs: globs.collect::<Result<_>>()? })
    }

    /// What a container's job must produce: what the command line says, else what the container's label says.
    pub(crate) async fn of(&self, engine: Option<&Engine>, container: &str) -> Result<Expecting> {
        if !self.globs.is_empty() {
            return Ok(self.begin());
        }
        let Some(engine) = engine else { return Ok(Expecting::default()) };
        // A container that is gone expects nothing any more.
        let Ok(inspected) = engine.inspect(container).await else { return Ok(Expecting::default()) };
        let label = inspected.config.and_then(|config| config.labels?.remove(LABEL)).unwrap_or_default();
        let patterns: Vec<String> =
            label.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        Ok(Expected::new(&patterns)?.begin())
    }

    fn begin(&self) -> Expecting {
        Expecting { missing: self.globs.clone(), results: 0 }
    }
}

/// What is still expected, as results are seen one by one.
#[derive(Debug, Default)]
pub(crate) struct Expecting {
    missing: Vec<(String, GlobSet)>,
    results: u64,
}

impl Expecting {
    pub(crate) fn see(&mut self, result: &ResultFile) {
        self.results += 1;
        self.missing.retain(|(_, glob)| !glob.is_match(within(&result.path)));
    }

    /// Fails where something has not been seen.
    pub(crate) fn outcome(&self) -> Result<()> {
        let missing: Vec<String> = self.missing.iter().map(|(pattern, _)| format!("`{pattern}`")).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let words =
            format!("the job exited with 0, but none of its {} results matches {}", self.results, missing.join(" or "));
        Err(Failure::new(Kind::ResultsMissing, words).hint("its log says what it did instead: `ncaas-logs lines`"))
    }
}

/// A result's path relative to `process_results`.
fn within(path: &str) -> &str {
    let marker = format!("/{PROCESS_RESULTS}/");
    path.find(&marker).map_or(path, |at| &path[at + marker.len()..])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose globs cannot be read has failed")]
mod tests {
    use super::*;

    #[test]
    fn each_glob_has_to_match_a_result() {
        let result = ResultFile { path: "results/job__a_1/process_results/out/a.npy".into(), ..Default::default() };
        let outcome = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|&p| p.to_owned()).collect();
            let mut expecting = Expected::new(&patterns).unwrap().begin();
            expecting.see(&result);
            expecting.outcome()
        };
        assert!(outcome(&["*.npy"]).is_ok());
        assert!(outcome(&["out/*.npy"]).is_ok());
        let failure = outcome(&["*.npy", "*.png"]).unwrap_err();
        assert_eq!(failure.kind, Kind::ResultsMissing);
        assert!(failure.message.contains("`*.png`") && !failure.message.contains("`*.npy`"));
    }
}
