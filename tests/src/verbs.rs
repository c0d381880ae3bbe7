//! The tools and their verbs, as their command lines define them.

use crate::Run;

/// The five tools.
pub const TOOLS: [&str; 5] = ["ncaas-build", "ncaas-exec", "ncaas-logs", "ncaas-sync", "ncaas-submit"];

/// A verb of a tool.
#[derive(Debug, Clone)]
pub struct Verb {
    /// Its name.
    pub name: String,
    /// Whether it reads records from stdin if it has no arguments.
    pub is_filter: bool,
}

/// All verbs of a tool.
///
/// # Panics
/// When the tool does not list them.
pub fn verbs_of(tool: &str) -> Vec<Verb> {
    let listed = Run::tool(tool).args(["--generate", "verbs"]).run().ok().json();
    let verb = |line: &serde_json::Value| Verb {
        name: line["verb"].as_str().unwrap().to_owned(),
        is_filter: line["filter"].as_bool().unwrap(),
    };
    listed.iter().map(verb).collect()
}
