//! `ncaas-logs compare`.

use ncaas_tests::Run;
use serde_json::json;

#[test]
fn compare_shows_the_differences_of_two_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let save = |name: &str, image_id: &str, sha256: &str| {
        let record = json!({"image": "pca", "image_id": image_id, "container": {"status": "success", "duration_s": 2.0},
            "results": [{"path": "results/job__pca_1/process_results/out.npy", "size": 3, "sha256": sha256, "source": "/x"}]});
        std::fs::write(folder.path().join(name), record.to_string()).unwrap();
    };
    save("a.record.json", "sha256:1", "aa");
    save("b.record.json", "sha256:2", "bb");
    let compare = |a: &str, b: &str| Run::tool("ncaas-logs").args(["compare", a, b]).dir(folder.path()).run();
    let differences = compare("a.record.json", "b.record.json").ok().json().remove(0);
    assert_eq!(differences["fields"], json!({"image_id": {"a": "sha256:1", "b": "sha256:2"}}));
    assert_eq!((&differences["results"]["changed"], &differences["same"]), (&json!(["out.npy"]), &json!(false)));
    assert_eq!(compare("a.record.json", "a.record.json").ok().json()[0]["same"], true);
    let logs = folder.path().join("results/job__pca_1/logs");
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::copy(folder.path().join("a.record.json"), logs.join("a.record.json")).unwrap();
    let differences = compare("./results/job__pca_1", "b.record.json").ok().json().remove(0);
    assert_eq!(differences["a"], logs.canonicalize().unwrap().join("a.record.json").to_str().unwrap());
    compare("a.record.json", "none.json").ended_saying(1, "cannot read `none.json`");
}

#[test]
fn results_of_two_datasets_of_a_submission_are_compared_by_their_names_in_the_folder_of_each() {
    let folder = tempfile::tempdir().unwrap();
    for (dataset, label) in [(1, "a.npy"), (2, "b.npy")] {
        let record = json!({"job": {"id": "job__pca_1", "dataset": dataset, "datasets": 2, "label": label},
            "container": {"status": "success"}, "results": [{"path": format!("results/job__pca_1/process_results/{label}/out"),
            "size": 3, "sha256": label, "source": "/x"}]});
        std::fs::write(folder.path().join(format!("{label}.record.json")), record.to_string()).unwrap();
    }
    let compare = Run::tool("ncaas-logs").args(["compare", "a.npy.record.json", "b.npy.record.json"]);
    assert_eq!(compare.dir(folder.path()).run().ok().json()[0]["results"]["changed"], json!(["out"]));
}

#[test]
fn a_misspelt_ended_job_gets_the_nearest_one_of_the_io_dir() {
    let folder = tempfile::tempdir().unwrap();
    let id = ncaas_tests::unique("ended");
    let logs = folder.path().join(format!("io-dir/results/{id}/logs"));
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::create_dir_all(folder.path().join(format!("io-dir/results/{id}x-without-record"))).unwrap();
    let record = json!({"job": {"id": id, "dataset": 1, "datasets": 1}, "dataname": format!("/data/{id}.npy"),
        "io_dir": folder.path().join("io-dir"), "container": {"id": "x", "name": "x", "status": "success"}});
    std::fs::write(logs.join(format!("{id}.npy.record.json")), record.to_string()).unwrap();
    let typo = id.replace("ended", "edned");
    for (typo, meant) in [
        (typo.clone(), id.clone()),
        (format!("{typo}.npy"), format!("{id}.npy")),
        (format!("io-dir/results/{typo}"), format!("io-dir/results/{id}")),
    ] {
        let hint = format!("hint: did you mean `{meant}`?\n");
        for arguments in [&["compare", &id, &typo][..], &["state", &typo]] {
            Run::tool("ncaas-logs").args(arguments).dir(folder.path()).run().ended_saying(1, &hint);
        }
    }
}

#[test]
fn tables_fit_a_terminal_of_any_width() {
    let folder = tempfile::tempdir().unwrap();
    let save = |name: &str, image: &str| {
        let container = json!({"name": format!("job__pca_2026_11_27_10_00_00_123456-2-{name}"), "state": "exited",
            "status": "out-of-memory", "exit_code": 137, "started_at": "2026-11-22T10:00:00Z", "duration_s": 3700.0});
        let record = json!({"image": image.repeat(30), "container": container, "error": null});
        std::fs::write(folder.path().join(format!("{name}.record.json")), record.to_string()).unwrap();
    };
    save("aabbccdd", "pca");
    save("eeff0011", "spikesorter");
    for width in [60, 80, 110, 200] {
        let shown = |arguments: &str| {
            let command = format!("stty rows 24 cols {width}; ncaas-logs {arguments}");
            let script = format!("script --quiet --return --command '{command}' /dev/null");
            ncaas_tests::pipe_in(folder.path(), &script, &[]).text()
        };
        let state = shown("state ./aabbccdd.record.json ./eeff0011.record.json");
        let compare = shown("compare aabbccdd.record.json eeff0011.record.json");
        for table in [&state, &compare] {
            assert!(table.lines().all(|line| line.trim_end().chars().count() <= width), "{width}: {table}");
        }
        assert!(state.contains("ccdd") && state.contains("0011") && state.contains("1h 1m 40s"), "{width}: {state}");
        assert!(compare.contains("pca") && compare.contains("spike"), "{width}: {compare}");
    }
}
