//! `ncaas-logs compare`.

use ncaas_tests::Run;
use serde_json::json;

#[test]
fn compare_shows_in_what_two_jobs_differ() {
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
    compare("a.record.json", "none.json").ended_saying(1, "cannot read `none.json`");
}
