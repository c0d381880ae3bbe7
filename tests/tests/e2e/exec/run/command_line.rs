//! How an image's command gets the dataset: arguments, placeholders, moved mounts, the workflow protocol.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ncaas_tests::Run;
use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::unique;
use ncaas_tests::workspace::{Workspace, container_output};

/// An image that a test makes from the fixture by changes in Dockerfile syntax.
struct OwnImage {
    tag: String,
    _clean_up: CleanUp,
}

impl OwnImage {
    fn new(changes: &[&str]) -> Self {
        Self::with_scripts(&[], changes)
    }

    /// An image that also has scripts, each a path and its content.
    fn with_scripts(scripts: &[(&str, &str)], changes: &[&str]) -> Self {
        ScriptContainer::new(scripts).image(changes)
    }
}

/// A container of the fixture with scripts, of which a test makes images.
struct ScriptContainer {
    name: String,
    _clean_up: CleanUp,
}

impl ScriptContainer {
    fn new(scripts: &[(&str, &str)]) -> Self {
        let (name, mut clean_up) = (unique("own"), CleanUp::new());
        clean_up.container(&name);
        docker(&["create", "--name", &name, FIXTURE]);
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in scripts {
            let file = folder.path().join("script");
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            docker(&["cp", file.to_str().unwrap(), &format!("{name}:{path}")]);
        }
        ScriptContainer { name, _clean_up: clean_up }
    }

    fn image(&self, changes: &[&str]) -> OwnImage {
        let (tag, mut clean_up) = (format!("ncaas-test/{}:1", unique("own")), CleanUp::new());
        clean_up.image(&tag);
        let mut arguments = vec!["commit"];
        for change in changes {
            arguments.extend(["--change", change]);
        }
        arguments.extend([self.name.as_str(), tag.as_str()]);
        docker(&arguments);
        OwnImage { tag, _clean_up: clean_up }
    }
}

/// The output of a job of an image that gets `d.npy` and `c.json`.
fn printed(image: &str, flags: &[&str], command: &[&str]) -> Result<String, String> {
    let workspace = Workspace::new();
    workspace.write("d.npy", "the data");
    workspace.write("c.json", "{}");
    let run =
        workspace.exec(&["run", image, "--data", "d.npy", "--config", "c.json"]).args(flags).arg("--").args(command);
    let started = run.run();
    let record = started.record();
    if !record.error_kind().is_empty() {
        return Err(record.error_kind().to_owned());
    }
    let ended = workspace.exec(&["wait"]).stdin(started.stdout).run();
    Ok(container_output(&ended.record()))
}

const DATA: &str = "/home/neurocaasdev/io-dir/inputs/d.npy";
const CONFIG: &str = "/home/neurocaasdev/io-dir/configs/c.json";

#[test]
fn the_dataset_is_the_first_argument_of_the_script_in_every_form_of_an_image() {
    let print = r#"echo "$1 $2""#;
    for changes in [
        vec![r#"ENTRYPOINT echo "$1 $2""#],
        vec![r#"ENTRYPOINT ["bash","-o","pipefail","-c"]"#, r#"CMD ["echo \"$1 $2\""]"#],
        vec![r#"CMD ["env","A=1","timeout","5","bash","-l","-c","echo \"$1 $2\""]"#],
        vec![r#"CMD echo"#],
        vec![r#"ENTRYPOINT ["echo"]"#, r#"CMD ["--help"]"#],
    ] {
        let image = OwnImage::new(&changes);
        assert_eq!(printed(&image.tag, &[], &[]), Ok(format!("{DATA} {CONFIG}")), "{changes:?}");
    }
    assert_eq!(printed(FIXTURE, &[], &["bash", "-c", print]), Ok(format!("{DATA} {CONFIG}")));
}

#[test]
fn images_of_other_platforms_run_as_they_are() {
    let scripts = [
        ("/bin/run.sh", "#!/bin/sh\necho \"$# $1 $2\"\n"),
        ("/bin/entrypoint.sh", "#!/bin/sh\nexec \"$@\"\n"),
        ("/bin/tool", "#!/bin/sh\nexec run.sh \"$@\"\n"),
        ("/bin/tini", "#!/bin/sh\nshift\nexec \"$@\"\n"),
        ("/bin/gosu", "#!/bin/sh\nshift\nexec \"$@\"\n"),
        ("/bin/conda", "#!/bin/sh\nshift 4\nexec \"$@\"\n"),
    ];
    let rows: [(&[&str], &[&str]); 17] = [
        (&[r#"CMD ["run.sh"]"#], &[]),
        (&[r#"ENTRYPOINT ["run.sh"]"#, r#"CMD ["--help"]"#], &[]),
        (&[r#"ENTRYPOINT run.sh"#], &[]),
        (&[r#"ENTRYPOINT ["/bin/bash","-eo","pipefail","-c","run.sh \"$@\"","--"]"#], &[]),
        (&[r#"CMD ["bash","-lc","exec run.sh \"$@\""]"#], &[]),
        (&[r#"CMD ["env","A=1","timeout","9","run.sh"]"#], &[]),
        (&[r#"ENTRYPOINT ["tini","--"]"#, r#"CMD ["run.sh"]"#], &[]),
        (&[r#"ENTRYPOINT ["gosu","lab","run.sh"]"#], &[]),
        (&[r#"ENTRYPOINT ["conda","run","--no-capture-output","-n","x"]"#, r#"CMD ["run.sh"]"#], &[]),
        (&[r#"ENTRYPOINT ["entrypoint.sh"]"#, r#"CMD ["run.sh"]"#], &[]),
        (&["USER 1234:1234", "WORKDIR /tmp", r#"CMD ["run.sh"]"#], &[]),
        (&["VOLUME /home/neurocaasdev/io-dir", r#"CMD ["bash","-c","run.sh ${data} ${config}"]"#], &[]),
        (&[r#"CMD ["run.sh"]"#], &["--read-only", "--tmpfs", "/tmp"]),
        (&[r#"ENTRYPOINT ["/usr/bin/env","-S","A=1 run.sh"]"#], &[]),
        (&[r#"ENTRYPOINT ["entrypoint.sh"]"#, r#"CMD ["/bin/tool"]"#, "VOLUME /home"], &[]),
        (&["WORKDIR /opt", "WORKDIR app", r#"ENTRYPOINT ["../../bin/run.sh"]"#], &[]),
        (&[r#"ENTRYPOINT ["entrypoint.sh"]"#, r#"CMD ["tool"]"#, "ONBUILD RUN false"], &["--user", "65534"]),
    ];
    let container = ScriptContainer::new(&scripts);
    for (changes, flags) in rows {
        let image = container.image(changes);
        assert_eq!(printed(&image.tag, flags, &[]), Ok(format!("2 {DATA} {CONFIG}")), "{changes:?}");
    }
    let wrapper = container.image(&[r#"ENTRYPOINT ["entrypoint.sh"]"#, r#"CMD ["bash"]"#]);
    assert_eq!(printed(&wrapper.tag, &[], &[]), Err("usage".to_owned()), "it would execute the dataset");
}

#[test]
fn an_image_that_the_platforms_client_saved_gives_exactly_its_results() {
    let script = "#!/bin/sh\ncp \"$1\" io-dir/results/copy\necho x >io-dir/results/other\n";
    let changes = [
        "VOLUME /home/neurocaasdev/io-dir /empty",
        r#"ENTRYPOINT []"#,
        r#"CMD ["bash","-c","/home/neurocaasdev/run.sh ${data} ${config}"]"#,
    ];
    let image = OwnImage::with_scripts(&[("/home/neurocaasdev/run.sh", script)], &changes);
    let workspace = Workspace::new();
    let (data, config) = (workspace.write("d.npy", "the data"), workspace.write("c.json", "{}"));
    let started = workspace.exec(&["run", &image.tag, "--data", &data, "--config", &config]).run();
    let ended = workspace.exec(&["wait"]).stdin(started.stdout).run();
    let collected = Run::tool("ncaas-sync").arg("collect").dir(workspace.path()).stdin(ended.stdout).run();
    let results = collected.record().results.unwrap().into_iter().map(|result| result.path);
    let id = collected.record().job.unwrap().id;
    let expected = ["copy", "other"].map(|name| format!("results/{id}/process_results/{name}"));
    assert_eq!(results.collect::<Vec<_>>(), expected, "{}", collected.stderr);
}

/// A stand-in for the platform's `neurocaas-contrib workflow`: it finds its job by the two files, as the client does.
const WORKFLOW_CLIENT: &str = r#"#!/bin/bash
set -e
dir=$(sed 's/.*"path": *"\([^"]*\)".*/\1/' "$HOME/.neurocaas_contrib_storageloc.json")
registered() { sed "s/.*\"$1\": *{\"localsource\": *\"\([^\"]*\)\".*/\1/" "$dir/registration.json"; }
copy() { mkdir -p "$dir/$2"; cp "$(registered "$1")" "$dir/$2/"; }
case $2 in
  get-data) copy data inputs ;;
  get-config) copy config configs ;;
  get-datapath) echo "$dir/inputs/$(basename "$(registered data)")" ;;
  get-configpath) echo "$dir/configs/$(basename "$(registered config)")" ;;
  get-dataname) basename "$(registered data)" ;;
  get-resultpath-tmp) mkdir -p "$dir/results"; echo "$dir/results" ;;
  get-resultpath) echo "$(registered resultpath)/process_results/$(basename "$4")" ;;
  put-result) to=$(registered resultpath)/process_results; mkdir -p "$to"; cp "$4" "$to/" ;;
esac
"#;

#[test]
fn an_analysis_of_the_platform_runs_by_its_workflow_calls_and_leaves_out_scratch_copies() {
    let analysis = r#"#!/bin/bash
set -e
neurocaas-contrib workflow get-data
neurocaas-contrib workflow get-config
datapath=$(neurocaas-contrib workflow get-datapath)
configpath=$(neurocaas-contrib workflow get-configpath)
name=$(neurocaas-contrib workflow get-dataname)
tmp=$(neurocaas-contrib workflow get-resultpath-tmp)
cat "$datapath" "$configpath" >"$tmp/pcaresults"
echo scratch >"$tmp/scratch"
neurocaas-contrib workflow put-result -r "$tmp/pcaresults"
echo "$# $name $(neurocaas-contrib workflow get-resultpath -l pcaresults)"
"#;
    let scripts = [("/bin/neurocaas-contrib", WORKFLOW_CLIENT), ("/bin/run_pca.sh", analysis)];
    let image = OwnImage::with_scripts(
        &scripts,
        &[r#"ENTRYPOINT []"#, r#"CMD ["run_pca.sh"]"#, "LABEL org.neurocaas.protocol=workflow"],
    );
    let workspace = Workspace::new();
    let (data, config) = (workspace.write("d.npy", "the data\n"), workspace.write("c.json", "{}\n"));
    for user in ["neurocaasdev", "0:0"] {
        let flags = ["run", &image.tag, "--data", &data, "--config", &config, "--user", user];
        let started = workspace.exec(&flags).run();
        let ended = workspace.exec(&["wait"]).stdin(started.stdout).run();
        let output = container_output(&ended.record());
        assert_eq!(output, "0 d.npy /tmp/neurocaas_contrib/process_results/pcaresults", "{}", ended.stderr);
        let collected = Run::tool("ncaas-sync").arg("collect").dir(workspace.path()).stdin(ended.stdout).run();
        let record = collected.record();
        let path = format!("results/{}/process_results/pcaresults", record.job.unwrap().id);
        let results: Vec<String> = record.results.unwrap().into_iter().map(|result| result.path).collect();
        let copy = fs::read_to_string(workspace.path().join("io-dir").join(&path)).unwrap();
        assert_eq!((results, copy.as_str()), (vec![path], "the data\n{}\n"), "{user}");
    }
}

#[test]
fn an_image_whose_command_is_only_a_shell_does_not_execute_the_dataset() {
    assert_eq!(printed(FIXTURE, &[], &[]), Err("usage".to_owned()));
    let workspace = Workspace::new();
    workspace.write("d.npy", "");
    let planned = workspace.exec(&["run", FIXTURE, "--data", "d.npy", "--dry-run"]).run();
    let record =
        planned.ended_saying(0, "would be refused: the command `bash` would execute the dataset").json().remove(0);
    assert_eq!(record["dry_run"]["docker_run"], serde_json::Value::Null);
    assert_eq!(record["dry_run"]["mounts"][0]["inside"], DATA);
}

#[test]
fn placeholders_and_moved_mounts_name_the_paths() {
    let flags = ["--mount", "data=/input,config=/conf,results=/output,logs="];
    let command = ["echo", "--in", "{data}", "--out={out}", "{config}", "{dataset}", "{inputs}"];
    let expected = "--in /input/d.npy --out=/output /conf/c.json d.npy /input";
    assert_eq!(printed(FIXTURE, &flags, &command), Ok(expected.to_owned()));
    let script = ["sh", "-c", "cat /input/d.npy > /output/copy && cat /output/copy"];
    assert_eq!(printed(FIXTURE, &flags, &script), Ok("the data".to_owned()));
}

#[test]
fn labels_of_an_image_say_how_its_jobs_are_run() {
    let image = OwnImage::new(&[
        r#"LABEL org.neurocaas.command="echo --in {data} {results}" org.neurocaas.mounts="data=/input,results=/output""#,
    ]);
    assert_eq!(printed(&image.tag, &[], &[]), Ok("--in /input/d.npy /output".to_owned()));
    let invalid = OwnImage::new(&["LABEL org.neurocaas.mounts=data=input"]);
    assert_eq!(printed(&invalid.tag, &[], &["true"]), Err("usage".to_owned()));
}

#[test]
fn further_volumes_are_read_only_and_the_entrypoint_can_be_replaced() {
    let atlas = tempfile::tempdir().unwrap();
    fs::write(atlas.path().join("a"), "atlas").unwrap();
    let volume = format!("{}:/atlas", atlas.path().display());
    let script = "cat /atlas/a; echo x > /atlas/a || echo refused; pwd";
    let flags = ["--volume", &volume, "--entrypoint", "sh -c", "--workdir", "/tmp"];
    let output = printed(FIXTURE, &flags, &[script]).unwrap();
    assert!(output.starts_with("atlas") && output.contains("refused\n/tmp"), "{output}");
}

#[test]
fn a_workflow_script_gets_no_arguments_and_finds_its_registration() {
    let script = r#"folder=$(sed 's/.*"path":"\([^"]*\)".*/\1/' ~/.neurocaas_contrib_storageloc.json)
        echo "$# $folder"; cat "$folder/registration.json"; echo; touch "$folder/process_results/out" && echo written"#;
    let output = printed(FIXTURE, &["--protocol", "workflow"], &["bash", "-c", script, "script"]).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!((lines[0], lines[2]), ("0 /tmp/neurocaas_contrib", "written"), "{output}");
    let registration: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(registration["data"]["localsource"], DATA);
    assert_eq!(registration["config"]["localsource"], CONFIG);
    assert_eq!(registration["resultpath"]["localsource"], "/tmp/neurocaas_contrib");
    let read_only = printed(FIXTURE, &["--protocol", "workflow", "--read-only", "--tmpfs", "/tmp"], &["true"]);
    assert_eq!(read_only, Err("usage".to_owned()), "the client writes there");
}

#[test]
fn with_aws_credentials_a_workflow_script_finds_its_inputs_by_their_s3_keys() {
    let workspace = Workspace::new();
    let io_dir = workspace.path().join("io-dir");
    fs::create_dir_all(io_dir.join("inputs")).unwrap();
    fs::write(io_dir.join("inputs/d.npy"), "1").unwrap();
    let job = format!("job__pca_{}", unique("aws"));
    let script = "cat /tmp/neurocaas_contrib/registration.json; echo; echo $AWS_SECRET_ACCESS_KEY $AWS_ENDPOINT_URL";
    let record = serde_json::json!({"job": {"id": job, "bucket": "s3://pca", "group": "lab", "dataset": 1, "datasets": 1},
        "dataname": "lab/inputs/d.npy", "io_dir": io_dir, "image": FIXTURE, "command": ["sh", "-c", script]});
    for (flags, expected) in [
        (&["--aws-credentials"][..], r#"{"s3":"s3://pca/lab/inputs/d.npy"}"#),
        (&[], r#"{"localsource":"/home/neurocaasdev/io-dir/inputs/d.npy"}"#),
    ] {
        let run = workspace.exec(&["run", "--protocol", "workflow"]).args(flags).stdin(record.to_string());
        let run = run
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "sesame")
            .env("AWS_ENDPOINT_URL", "http://s");
        let started = run.run();
        assert!(!started.text().contains("sesame") && !started.stderr.contains("sesame"), "{}", started.text());
        let ended = workspace.exec(&["wait"]).stdin(started.stdout).run();
        let output = container_output(&ended.record());
        let (registration, variables) = output.split_once('\n').unwrap_or((&output, ""));
        let registration: serde_json::Value = serde_json::from_str(registration).unwrap();
        assert_eq!(
            (registration["data"].to_string().as_str(), &registration["config"]),
            (expected, &serde_json::json!({}))
        );
        assert_eq!(variables.trim(), if flags.is_empty() { "" } else { "sesame http://s" });
        workspace.exec(&["rm", "--force", &ended.record().container.unwrap().id]).run();
    }
}

#[test]
fn an_image_with_a_label_of_the_tools_is_refused_and_its_containers_are_not_listed() {
    let image = OwnImage::new(&[r#"LABEL org.neurocaas.tool=ncaas-exec org.neurocaas.record="{\"io_dir\":\"/etc\"}""#]);
    assert_eq!(printed(&image.tag, &[], &["true"]), Err("usage".to_owned()));
    let (name, mut clean_up) = (unique("forged"), CleanUp::new());
    clean_up.container(&name);
    docker(&["create", "--name", &name, &image.tag]);
    let listed = Run::tool("ncaas-exec").args(["ls", "--all", "--json"]).run();
    assert!(!listed.text().contains(&name), "{}", listed.text());
}
