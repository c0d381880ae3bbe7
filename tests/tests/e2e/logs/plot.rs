//! `ncaas-logs plot`.

use ncaas_tests::Run;
use serde_json::json;

#[test]
fn plot_draws_svg_and_png_from_saved_records() {
    let folder = tempfile::tempdir().unwrap();
    let line = |second: u32, status: &str| {
        json!({"dataname": "lab/inputs/<a&b>.npy", "container": {"id": "x", "name": "x", "state": "exited", "status": status,
            "started_at": format!("2026-11-22T10:00:{second:02}.5Z"), "finished_at": "2026-11-22T10:01:00Z"},
            "usage": {"cpu_s": 1.5, "series": [[0.0, 50.0, 1000], [5.0, 70.0, 2000]]}})
    };
    std::fs::write(folder.path().join("a.record.json"), line(1, "success").to_string()).unwrap();
    std::fs::write(folder.path().join("b.record.json"), line(9, "out-of-memory").to_string()).unwrap();
    let plot = |arguments: &[&str]| Run::tool("ncaas-logs").arg("plot").args(arguments).dir(folder.path()).run();
    let said = plot(&["a.record.json", "b.record.json"]).ok().json().remove(0);
    assert_eq!(said["jobs"], 2);
    let svg = std::fs::read_to_string(folder.path().join("jobs.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("&lt;a&amp;b>.npy"), "{svg}");
    assert!(svg.contains("1 succeeded") && svg.contains("1 out of memory"), "{svg}");
    plot(&["-o", "jobs.png", "a.record.json"]).ok();
    assert!(std::fs::read(folder.path().join("jobs.png")).unwrap().starts_with(b"\x89PNG\r\n"));
    // A pipe writes the record of a job when it runs, and again at its end.
    let mut running =
        json!({"container": {"id": "x", "name": "x", "state": "running", "started_at": "2026-11-22T10:00:01.5Z"}});
    running["dataname"] = json!("lab/inputs/<a&b>.npy");
    for (name, lines) in
        [("all.jsonl", [&running, &line(1, "success")]), ("reversed.jsonl", [&line(1, "success"), &running])]
    {
        std::fs::write(folder.path().join(name), format!("{}\n{}\n", lines[0], lines[1])).unwrap();
        assert_eq!(plot(&[name]).ok().json().remove(0)["jobs"], 1);
        let svg = std::fs::read_to_string(folder.path().join("jobs.svg")).unwrap();
        assert!(svg.contains("1 succeeded"), "{name}: {svg}");
    }
    let report =
        Run::tool("ncaas-logs").args(["report", "-q", "all.jsonl"]).dir(folder.path()).run().ok().json().remove(0);
    assert_eq!(report["jobs"], 1);
    // A job that waited, and then ran.
    let job = json!({"id": "job__pca_1", "dataset": 1, "datasets": 1});
    let (mut waiting, mut ran) = (json!({"dataname": "lab/inputs/a.npy"}), line(1, "success"));
    (waiting["job"], ran["job"]) = (job.clone(), job);
    // Its record after a restart of the pipe names no container.
    let mut pushed = ran.clone();
    pushed["container"]["id"] = json!("");
    std::fs::write(folder.path().join("waited.jsonl"), format!("{waiting}\n{waiting}\n{ran}\n{pushed}\n")).unwrap();
    let said = plot(&["waited.jsonl"]).ok().json().remove(0);
    assert_eq!((&said["jobs"], &said["without_a_run"]), (&json!(1), &json!(0)));
    std::fs::write(folder.path().join("waiting.jsonl"), format!("{waiting}\n{waiting}\n")).unwrap();
    let said = plot(&["waiting.jsonl"]).json().remove(0);
    assert_eq!((&said["jobs"], &said["without_a_run"]), (&json!(0), &json!(1)));
    // A bad record does not keep the others out of the picture.
    for (verb, file) in [("plot", "jobs.svg"), ("report", "report.html")] {
        std::fs::remove_file(folder.path().join(file)).unwrap();
        let ran = Run::tool("ncaas-logs")
            .args([verb, "-q"])
            .stdin(format!("{}\n{{\n", line(1, "success")))
            .dir(folder.path());
        let ran = ran.run();
        assert!(ran.status == 1 && String::from_utf8_lossy(&ran.stdout).contains(r#""jobs":1"#), "{ran:?}");
        assert!(folder.path().join(file).exists(), "{ran:?}");
    }
    plot(&["missing.json"]).ended_saying(1, "cannot read `missing.json`");
}
