//! Buckets, groups and jobs with typing errors are refused, with the nearest right name.

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::submissions::{ncaas_submit, run_verb, submit_one_dataset, with_inputs};

fn send_to(target: &str) -> ncaas_tests::Ran {
    ncaas_submit(&["send", target, "--data", "lab/inputs/x.npy", "--config", "lab/configs/c.yaml"]).run()
}

#[test]
fn an_unknown_group_is_refused_with_the_nearest_one() {
    for bucket in [with_inputs(TestBucket::directory("pca")), with_inputs(TestBucket::s3("typo"))] {
        let ran = send_to(&format!("{}/labb", bucket.address())).ended_saying(2, "has no group `labb`");
        assert!(ran.stderr.contains("did you mean `lab`?") && ran.stderr.contains("init"), "{}", ran.stderr);
        assert!(!bucket.keys().iter().any(|key| key.contains("labb")), "nothing was created");
    }
}

#[test]
fn an_unknown_job_is_refused_with_the_nearest_one() {
    for bucket in [with_inputs(TestBucket::directory("pca")), with_inputs(TestBucket::s3("typo"))] {
        let id = submit_one_dataset(&bucket, "2026_11_22");
        for verb in ["cancel", "retry", "wait"] {
            let ran = run_verb(&bucket, verb, &["2026_11_23"]).ended_saying(1, "has no submission `2026_11_23`");
            assert!(ran.stderr.contains(&format!("did you mean `{id}`?")), "{}", ran.stderr);
        }
        assert!(!bucket.keys().iter().any(|key| key.contains("cancel.json")), "no marker was written");
    }
}

#[test]
fn a_bucket_is_not_taken_for_a_group_or_a_group_for_a_bucket() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    submit_one_dataset(&bucket, "1");
    let ran = send_to(&bucket.address()).ended_saying(2, "is a bucket without a group");
    assert!(ran.stderr.contains("/pca/lab`"), "{}", ran.stderr);
    let group = format!("{}/lab", bucket.address());
    for verb in ["watch", "ls"] {
        let ran = ncaas_submit(&[verb, &group]).run().ended_saying(2, "is a group, not a bucket");
        assert!(ran.stderr.contains("`--group lab` selects the group"), "{}", ran.stderr);
    }
}

#[test]
fn an_unknown_group_is_not_watched_or_listed() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    for verb in ["watch", "ls"] {
        let ran = ncaas_submit(&[verb, &bucket.address(), "--group", "labb"]).run();
        assert!(ran.ended_saying(2, "has no group `labb`").stderr.contains("did you mean `lab`?"));
    }
}

#[test]
fn an_unknown_bucket_is_refused_with_the_nearest_one_beside_it() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    submit_one_dataset(&bucket, "1");
    let wrong = format!("{}a", bucket.address());
    for arguments in [&["watch", &wrong][..], &["ls", &wrong], &["cancel", &format!("{wrong}/lab"), "1"]] {
        let ran = ncaas_submit(arguments).run().ended_saying(1, "does not exist");
        assert!(ran.stderr.contains(&format!("did you mean `{}`?", bucket.address())), "{}", ran.stderr);
    }
    send_to(&format!("{wrong}/lab")).ended_saying(1, "did you mean");
}

#[test]
fn a_verb_that_needs_jobs_names_the_bucket_as_a_bucket() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    submit_one_dataset(&bucket, "1");
    ncaas_submit(&["retry", "--force", &bucket.address()]).run().ended_saying(2, "is a bucket without a group");
}
