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

    /// Fails where something is missing: what the command line says, else what the container's label says.
    pub(crate) async fn check(&self, results: &[ResultFile], engine: Option<&Engine>, container: &str) -> Result<()> {
        if !self.globs.is_empty() {
            return self.all_there(results);
        }
        let Some(engine) = engine else { return Ok(()) };
        // A container that is gone expects nothing any more.
        let Ok(inspected) = engine.inspect(container).await else { return Ok(()) };
        let label = inspected.config.and_then(|config| config.labels?.remove(LABEL)).unwrap_or_default();
        let patterns: Vec<String> =
            label.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        Expected::new(&patterns)?.all_there(results)
    }

    fn all_there(&self, results: &[ResultFile]) -> Result<()> {
        let missing: Vec<String> = self
            .globs
            .iter()
            .filter(|(_, glob)| !results.iter().any(|result| glob.is_match(within(&result.path))))
            .map(|(pattern, _)| format!("`{pattern}`"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            Kind::ResultsMissing,
            format!(
                "the job exited with 0, but none of its {} results matches {}",
                results.len(),
                missing.join(" or ")
            ),
        )
        .hint("its log says what it did instead: `ncaas-logs lines`"))
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
        let expected =
            |patterns: &[&str]| Expected::new(&patterns.iter().map(|&p| p.to_owned()).collect::<Vec<_>>()).unwrap();
        assert!(expected(&["*.npy"]).all_there(std::slice::from_ref(&result)).is_ok());
        assert!(expected(&["out/*.npy"]).all_there(std::slice::from_ref(&result)).is_ok());
        let failure = expected(&["*.npy", "*.png"]).all_there(&[result]).unwrap_err();
        assert_eq!(failure.kind, Kind::ResultsMissing);
        assert!(failure.message.contains("`*.png`") && !failure.message.contains("`*.npy`"));
    }
}
