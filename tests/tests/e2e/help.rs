//! `--help`: its examples are accepted by the tools, and the tools have the same options.

use ncaas_tests::verbs::{TOOLS, verbs_of};
use ncaas_tests::{Run, pipe_in};

/// So wide is the narrowest terminal that people have; help that is wider is broken there, and no shell takes it.
const WIDTH: usize = 80;

/// By whose commit an image is named.
const REPOSITORY: &str =
    "git init --quiet . && git -c user.name=n -c user.email=e commit --quiet --allow-empty --message m";

/// Each call of a tool leaves its arguments behind where the tool does not understand them; none gets an engine.
const WRAPPERS: &str = r#"
    for tool in ncaas-build ncaas-exec ncaas-logs ncaas-sync ncaas-submit; do
        eval "$tool() { try $tool \"\$@\"; }"
    done
    try() {
        local said=stderr.$BASHPID
        DOCKER_HOST=unix:///nowhere timeout 2 "$@" <<<'{}' >/dev/null 2>"$said"
        (($? != 2)) || { echo "$*"; cat "$said"; } >>misunderstood
    }
"#;

fn help(tool: &str, verb: &str) -> String {
    Run::tool(tool).args([verb, "--help"]).run().ok().text()
}

/// The indented lines below a heading.
fn lines_below<'a>(help: &'a str, heading: &str) -> Vec<&'a str> {
    help.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| line.starts_with("  ")).collect()
}

/// The mistakes in the examples of a tool's verbs.
fn problems(tool: &str) -> Vec<String> {
    let verbs = verbs_of(tool);
    assert!(verbs.len() > 4, "{verbs:?}");
    let mut problems = Vec::new();
    for verb in verbs.iter().map(|verb| verb.name.as_str()) {
        let help = help(tool, verb);
        let examples = lines_below(&help, "Examples:");
        if examples.is_empty() {
            problems.push(format!("{tool} {verb} has no example"));
        }
        let wide = examples.iter().filter(|line| line.chars().count() > WIDTH);
        problems.extend(wide.map(|line| format!("{tool} {verb}, too wide: {line}")));
        let folder = tempfile::tempdir().unwrap();
        // The files that the examples name and that a tool opens first.
        for name in ["pca/lab", "bucket/lab", "data"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        // A directory stands in for S3, and has no queue.
        let examples = examples.join("\n").replace("s3://", "./").replace("--notify", "").replace("--queue", "");
        pipe_in(folder.path(), &format!("{REPOSITORY}\n{WRAPPERS}\n{examples}\nwait"), &[]);
        let misunderstood = std::fs::read_to_string(folder.path().join("misunderstood"));
        problems.extend(misunderstood.map(|lines| format!("{tool} {verb}, misunderstood: {lines}")));
    }
    problems
}

#[test]
fn every_verb_has_help_examples_that_its_tool_accepts() {
    let problems: Vec<String> = std::thread::scope(|scope| {
        let tools = TOOLS.map(|tool| scope.spawn(move || problems(tool)));
        tools.into_iter().flat_map(|tool| tool.join().unwrap()).collect()
    });
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_verb_has_help_a_version_and_a_quiet_mode() {
    for tool in TOOLS {
        for verb in verbs_of(tool).iter().map(|verb| verb.name.as_str()) {
            let by_name = Run::tool(tool).args(["help", verb]).run().ok().text();
            assert_eq!(by_name, help(tool, verb));
            assert!(
                Run::tool(tool).args([verb, "--version"]).run().ok().text().starts_with(&format!("{tool}-{verb} "))
            );
            // A shell prints nothing besides its own output.
            assert!(verb == "shell" || by_name.contains("-q, --quiet"), "{tool} {verb}: {by_name}");
        }
    }
}

#[test]
fn bash_completes_the_options_of_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    for tool in TOOLS {
        Run::tool(tool).args(["--generate", "completions", "."]).dir(folder.path()).run().ok();
        let verbs = verbs_of(tool).into_iter().map(|verb| verb.name).collect::<Vec<_>>().join(" ");
        // As bash calls the function for a TAB after `TOOL VERB --`.
        let script = format!(
            r#"source {tool}.bash
            function=$(complete -p {tool} | grep -oE -- '-F [^ ]+' | cut -d ' ' -f 2)
            for verb in {verbs}; do
                COMP_WORDS=({tool} $verb --) COMP_CWORD=2
                $function {tool} -- $verb
                [[ " ${{COMPREPLY[*]}} " == *" --help "* ]] || echo "$verb: ${{COMPREPLY[*]}}"
            done"#
        );
        assert_eq!(pipe_in(folder.path(), &script, &[]).text(), "", "{tool}");
    }
}
