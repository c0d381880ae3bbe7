//! Looking after what is in hand: here until it is done, elsewhere until its watcher has ended.

use std::time::Duration;

use ncaas_core::failure::Result;
use tokio::time::sleep;

use super::found::Found;
use super::{InHand, Watch};
use crate::claim;

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
        let looked_at: Vec<((String, String), InHand)> = {
            let in_hand = self.in_hand.borrow();
            *at = if *at >= in_hand.len() { 0 } else { *at };
            let round = in_hand.iter().skip(*at).take(A_ROUND).filter(|(_, held)| held.handed_on);
            round.map(|(place, held)| (place.clone(), held.clone())).collect()
        };
        *at += A_ROUND;
        for ((group, id), held) in looked_at {
            if held.results.ended_at().await?.is_some() {
                self.let_go(&id, &group);
                continue;
            }
            let claim = claim::read(&self.bucket, &claim::key(&group, &id)?).await?;
            if claim.is_none_or(|claim| claim.watcher != self.watchers.id()) {
                self.let_go(&id, &group);
                self.queue.push(Found::new(held.submission, "taken up again"));
            }
        }
        Ok(())
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
