//! Looking after what is in hand: here until it is done, elsewhere until its watcher has ended.

use std::time::Duration;

use ncaas_core::bucket::Key;
use ncaas_core::failure::Result;
use ncaas_core::layout::{self, END, PROCESS_RESULTS};
use tokio::time::sleep;

use super::claim;
use super::{Found, Watch};

/// How often.
const ROUND: Duration = Duration::from_secs(2);

/// How many of what is in hand here are looked at in a round: the cost does not grow with how many there are.
const A_ROUND: usize = 20;

impl Watch {
    /// Says that this watcher lives, and takes up what nobody has in hand any more.
    pub(super) async fn tend(&self) {
        let mut at = 0;
        loop {
            if let Err(failure) = self.watchers.sweep().await {
                self.trouble.tell(&failure);
            }
            for _ in 0..300 {
                sleep(ROUND).await;
                if let Err(failure) = self.tend_once(&mut at).await {
                    self.trouble.tell(&failure);
                }
            }
        }
    }

    async fn tend_once(&self, at: &mut usize) -> Result<()> {
        if !self.in_hand.borrow().is_empty() {
            self.watchers.beat().await?;
        }
        self.tend_elsewhere().await?;
        self.tend_here(at).await
    }

    /// Lets go of what is done, and takes up again what was given back: its claim is gone, and its end not there.
    async fn tend_here(&self, at: &mut usize) -> Result<()> {
        let places: Vec<(String, String)> = {
            let in_hand = self.in_hand.borrow();
            *at = if *at >= in_hand.len() { 0 } else { *at };
            in_hand.keys().skip(*at).take(A_ROUND).cloned().collect()
        };
        *at += places.len();
        for (group, id) in places {
            let prefix = layout::job_prefix(&group, &id);
            if self.bucket.head(&Key::new(format!("{prefix}{PROCESS_RESULTS}/{END}"))?).await?.is_some() {
                self.let_go(&id, &group);
            } else if self.bucket.head(&claim::key(&group, &id)?).await?.is_none() {
                self.take_up_again(&group, &id);
            }
        }
        Ok(())
    }

    fn take_up_again(&self, group: &str, id: &str) {
        let submission = self.in_hand.borrow_mut().remove(&(group.to_owned(), id.to_owned()));
        if let Some(key) = submission {
            self.queue.push(Found::new(key, "taken up again"));
        }
    }

    /// Looks into what other watchers had that have ended.
    async fn tend_elsewhere(&self) -> Result<()> {
        let watchers: Vec<String> = self.elsewhere.borrow().keys().cloned().collect();
        for watcher in watchers {
            if !self.watchers.lives(&watcher).await? {
                let left = self.elsewhere.borrow_mut().remove(&watcher).unwrap_or_default();
                for found in left {
                    self.queue.push(Found::new(found.key, "left by another watcher"));
                }
            }
        }
        Ok(())
    }
}
