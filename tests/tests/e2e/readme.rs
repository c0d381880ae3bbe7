//! The examples in README.md run as they are printed.

use ncaas_tests::background_pipe::BackgroundPipe;
use ncaas_tests::bucket::files_below;
use ncaas_tests::engine::{CleanUp, FIXTURE};
use ncaas_tests::{Run, pipe_in, unique};

const README: &str = include_str!("../../../README.md");

const IMAGE: &str = "neurocaas/contrib:pca.demo";

const DOCKERFILE: &str =
    r#"CMD ["sh", "-c", "grep -q rate \"$2\" && cp \"$1\" io-dir/results/components", "analysis"]"#;

/// The block of shell that begins with these words, with another image for the demonstration's.
fn readme_block(begin: &str, image: &str) -> String {
    let block =
        README.split("```").find_map(|block| block.strip_prefix("sh\n").filter(|block| block.starts_with(begin)));
    block.unwrap_or_else(|| panic!("no block that begins with `{begin}`")).replace(IMAGE, image)
}

#[test]
fn the_pipe_and_the_submission_in_the_readme_return_a_result() {
    let folder = tempfile::tempdir().unwrap();
    let image = format!("ncaas/test:{}", unique("readme"));
    let mut clean_up = CleanUp::new();
    clean_up.image(&image);
    std::fs::write(folder.path().join("Dockerfile"), format!("FROM {FIXTURE}\n{DOCKERFILE}\n")).unwrap();
    Run::tool("ncaas-build").args(["image", ".", "-t", &image]).dir(folder.path()).run();
    std::fs::write(folder.path().join("session1.npy"), "a recording").unwrap();
    std::fs::write(folder.path().join("config.yaml"), "rate: 30\n").unwrap();

    let submission = readme_block("ncaas-submit init", &image);
    let (init, send) = submission.split_once('\n').unwrap();
    pipe_in(folder.path(), init, &[]).ok();
    let platform = BackgroundPipe::start(folder.path(), &readme_block("ncaas-submit watch", &image));
    let sent = pipe_in(folder.path(), send, &[]);
    drop(platform);

    let stderr = std::fs::read_to_string(folder.path().join("stderr")).unwrap();
    assert_eq!(sent.status, 0, "{}\n{stderr}", sent.stderr);
    let results = folder.path().join("pca/lab/results");
    let result = files_below(&results).into_iter().find(|path| path.ends_with("process_results/components"));
    let result = result.unwrap_or_else(|| panic!("{:#?}\n{stderr}", files_below(folder.path())));
    assert_eq!(std::fs::read_to_string(results.join(result)).unwrap(), "a recording");
}
