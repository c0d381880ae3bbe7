//! The examples in README.md run as they are printed, and print what is printed there.

use std::path::Path;

use ncaas_tests::engine::{CleanUp, FIXTURE};
use ncaas_tests::{pipe_in, unique};

const README: &str = include_str!("../../../README.md");
/// The image that the examples build, and the one that they build on.
const IMAGE: &str = "neurocaas/contrib:mean.demo";
const BASE: &str = "neurocaas/contrib:base";

/// A command and its output.
struct Example {
    command: String,
    output: Vec<String>,
}

/// The examples below a heading, with other images. A block of `sh` is one command without output.
fn examples(heading: &str, image: &str) -> Vec<Example> {
    let section = README.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let blocks = section.split("```").skip(1).step_by(2);
    let examples = blocks.flat_map(|block| {
        if let Some(script) = block.strip_prefix("sh\n") {
            return vec![Example { command: script.to_owned(), output: Vec::new() }];
        }
        let mut examples: Vec<Example> = Vec::new();
        for line in block.strip_prefix("console\n").unwrap_or_default().lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                examples.push(Example { command: command.to_owned(), output: Vec::new() });
            } else if let Some(rest) = line.strip_prefix("> ") {
                let example = examples.last_mut().unwrap();
                example.command = format!("{}\n{rest}", example.command);
            } else {
                examples.last_mut().unwrap().output.push(line.to_owned());
            }
        }
        examples
    });
    // The base image is this machine's and not to be made anew.
    let examples = examples.filter(|example| !example.command.starts_with("ncaas-build base"));
    let replace = |text: &str| text.replace(IMAGE, image).replace(BASE, FIXTURE);
    examples
        .map(|example| Example {
            command: replace(&example.command),
            output: example.output.iter().map(|line| replace(line)).collect(),
        })
        .collect()
}

/// Whether the same lines came, in any order: stages of a pipe write to stderr when they finish.
fn are_printed(lines: &[String], printed: &[String]) -> bool {
    let mut left = lines.to_vec();
    for printed in printed {
        let Some(position) = left.iter().position(|line| matches(line, printed)) else { return false };
        left.remove(position);
    }
    left.is_empty()
}

/// Whether a line is as it is printed, in which `...` stands for any text.
fn matches(line: &str, printed: &str) -> bool {
    let parts: Vec<&str> = printed.split("...").collect();
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    if parts.len() == 1 {
        return line == printed;
    }
    line.starts_with(first) && line.ends_with(last) && parts.iter().all(|part| line.contains(part))
}

/// A line without the time that a job took.
fn without_time(line: &str) -> String {
    match line.split_once(" succeeded in ") {
        Some((start, end)) => format!("{start} succeeded in{}", end.find(" s").map_or("", |at| &end[at..])),
        None => line.to_owned(),
    }
}

fn run(folder: &Path, examples: &[Example]) {
    for Example { command, output } in examples {
        // As on a terminal, both streams are shown.
        let ran = pipe_in(folder, &format!("exec 2>&1\n{command}"), &[]);
        let text = ran.text();
        assert_eq!(ran.status, 0, "{command}\n{text}");
        let lines: Vec<String> = text.lines().map(without_time).collect();
        let output: Vec<String> = output.iter().map(|line| without_time(line)).collect();
        let is_same = are_printed(&lines, &output);
        assert!(is_same, "{command}\nprints\n{text}\ninstead of\n{}", output.join("\n"));
    }
}

#[test]
fn the_examples_in_the_readme_print_what_is_printed_there() {
    let folder = tempfile::tempdir().unwrap();
    let image = format!("neurocaas/contrib:mean.{}", unique("readme"));
    let mut clean_up = CleanUp::new();
    clean_up.image(&image);
    let tutorial = examples("Tutorial", &image);
    // The first example makes the folder that the others run in.
    run(folder.path(), &tutorial[..1]);
    let folder = folder.path().join("tutorial");
    assert!(tutorial.len() > 10, "only {} examples were found", tutorial.len());
    run(&folder, &tutorial[1..]);
    run(&folder, &examples("Many datasets", &image));
    let first = README.split("\n## ").next().unwrap();
    assert!(first.contains("```console"));
    run(&folder, &examples("# ncaas", &image));
}
