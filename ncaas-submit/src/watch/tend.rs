//! Looking after what is in hand: here until it is done, elsewhere until its watcher has ended.

use std::time::Duration;

use ncaas_core::failure::Result;
use tokio::time::sleep;

use super::found::Found;
use super::{InHand, Watch};
use crate::claim;

/// How often others are looked after.
const ROUND: Duration = Duration::from_secs(2);

/// Each so many rounds, what is in hand here is looked at.
const ROUNDS: usize = 4;

/// How much of it is looked at then: the cost does not grow with how much there is.
const AT_ONCE: usize = 40;

/// Each so many rounds, what dead watchers have left of themselves is swept up.
const ROUNDS_TO_SWEEP: usize = 300;

impl Watch {
    /// Says that this watcher lives, and takes up what nobody has in hand any more.
    pub(super) async fn tend(&self) {
        let mut at = 0;
        for round in 0.. {
            if let Err(failure) = self.tend_once(round, &mut at).await {
                self.trouble.tell(&failure);
            }
            sleep(ROUND).await;
        }
    }

    async fn tend_once(&self, round: usize, at: &mut usize) -> Result<()> {
        if round.is_multiple_of(ROUNDS_TO_SWEEP) {
            self.watchers.sweep().await?;
        }
        if !self.in_hand.borrow().is_empty() {
            self.watchers.beat().await?;
        }
        self.tend_elsewhere().await?;
        if round.is_multiple_of(ROUNDS) {
            self.tend_here(at).await?;
        }
        Ok(())
    }

    /// Lets go of what is done, and takes up again what was given back: its claim is gone, and its end not there.
    async fn tend_here(&self, at: &mut usize) -> Result<()> {
        let looked_at: Vec<((String, String), InHand)> = {
            let in_hand = self.in_hand.borrow();
            *at = if *at >= in_hand.len() { 0 } else { *at };
            let round = in_hand.iter().skip(*at).take(AT_ONCE).filter(|(_, held)| held.handed_on);
            round.map(|(place, held)| (place.clone(), held.clone())).collect()
        };
        *at += AT_ONCE;
        for ((group, id), held) in looked_at {
            if held.results.ended_at().await?.is_some() {
                self.let_go(&id, &group);
                continue;
            }
            if self.was_given_back(&id, &group, &claim::key(&group, &id)?).await? {
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
