//! Several machines, each with its pipe, share a backlog of submissions.

use ncaas_tests::cluster_lab::Lab;
use ncaas_tests::shared_backlog::SharedBacklog;

#[test]
fn machines_share_a_backlog_and_take_the_oldest_first() {
    let lab = Lab::new(&["n1", "n2"]);
    let backlog = SharedBacklog::run(&lab, 12, 1, 2);
    let counts: Vec<usize> = backlog.shares.values().map(|share| share.jobs.len()).collect();
    assert!(counts.len() == 2 && counts.iter().all(|count| *count >= 3), "{counts:?}");
    // Each machine claims four at most: a submission starts after the seventh after it at the latest.
    for (number, start) in backlog.starts.iter().enumerate() {
        let later = backlog.starts.iter().skip(number + 8);
        assert!(later.clone().all(|later| later > start), "{number}: {:?}", backlog.starts);
    }
}
