//! The order in which a stage emits the records that it works on at the same time: within a group, the order in which
//! they arrived, so that jobs start in that order.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// How long complete work waits for slower work before it. A large dataset delays the small ones behind it by this
/// time, once.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The order of the records, or submissions, in work.
#[derive(Debug)]
pub struct EmissionOrder {
    queues: RefCell<Queues>,
    changed: Notify,
    longest_wait: Duration,
}

#[derive(Debug, Default)]
struct Queues {
    /// Number of tickets so far.
    issued: u64,
    /// The tickets of each group, without those that were overtaken, and whether their work is complete.
    groups: HashMap<String, BTreeMap<u64, bool>>,
}

/// A place in the order. Dropping it lets the next one leave.
#[derive(Debug)]
pub struct Ticket<'o> {
    order: &'o EmissionOrder,
    group: String,
    number: u64,
}

impl Default for EmissionOrder {
    fn default() -> Self {
        EmissionOrder { queues: RefCell::default(), changed: Notify::new(), longest_wait: LONGEST_WAIT }
    }
}

impl EmissionOrder {
    /// The ticket of the next work for this group.
    pub fn ticket(&self, group: &str) -> Ticket<'_> {
        let mut queues = self.queues.borrow_mut();
        queues.issued += 1;
        let number = queues.issued;
        queues.groups.entry(group.to_owned()).or_default().insert(number, false);
        Ticket { order: self, group: group.to_owned(), number }
    }

    fn change(&self, group: &str, change: impl FnOnce(&mut BTreeMap<u64, bool>)) {
        let mut queues = self.queues.borrow_mut();
        if let Some(tickets) = queues.groups.get_mut(group) {
            change(tickets);
            if tickets.is_empty() {
                queues.groups.remove(group);
            }
        }
        drop(queues);
        self.changed.notify_waiters();
    }
}

impl Ticket<'_> {
    /// Waits, when the work is complete, until what came before it has left. Overtakes work that takes too long.
    pub async fn wait_for_turn(&self) {
        self.order.change(&self.group, |tickets| {
            // One that was overtaken is not there.
            tickets.entry(self.number).and_modify(|is_done| *is_done = true);
        });
        if timeout(self.order.longest_wait, self.wait_until_first()).await.is_err() {
            self.order
                .change(&self.group, |tickets| tickets.retain(|number, is_done| *is_done || *number > self.number));
            self.wait_until_first().await;
        }
    }

    async fn wait_until_first(&self) {
        loop {
            let changed = self.order.changed.notified();
            let first =
                self.order.queues.borrow().groups.get(&self.group).and_then(|tickets| tickets.keys().next().copied());
            if first.is_none_or(|first| first >= self.number) {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.order.change(&self.group, |tickets| {
            tickets.remove(&self.number);
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    /// The order in which work for these groups leaves, which is complete at once, or when all other work has left
    /// (`slow`).
    async fn order_of(longest_wait: Duration, groups: &[&str], slow: Option<usize>) -> Vec<String> {
        let order = EmissionOrder { longest_wait, ..EmissionOrder::default() };
        let (left, changed) = (RefCell::new(Vec::new()), Notify::new());
        let tickets: Vec<_> = groups.iter().map(|group| order.ticket(group)).collect();
        let mut works: Vec<_> = tickets
            .into_iter()
            .enumerate()
            .map(async |(number, ticket)| {
                while slow == Some(number) && left.borrow().len() + 1 < groups.len() {
                    changed.notified().await;
                }
                ticket.wait_for_turn().await;
                left.borrow_mut().push(format!("{}{number}", groups[number]));
                changed.notify_waiters();
            })
            .collect();
        // The work on the last one is complete first.
        works.reverse();
        join_all(works).await;
        assert!(order.queues.borrow().groups.is_empty());
        left.into_inner()
    }

    #[tokio::test]
    async fn work_for_a_group_leaves_in_the_order_in_which_it_came() {
        let left = order_of(LONGEST_WAIT, &["a", "a", "b", "a"], None).await;
        let of_a: Vec<&str> = left.iter().map(String::as_str).filter(|name| name.starts_with('a')).collect();
        assert_eq!(of_a, ["a0", "a1", "a3"]);
    }

    #[tokio::test]
    async fn slow_work_holds_up_no_other_group_and_its_own_for_a_limited_time() {
        let left = order_of(Duration::from_millis(20), &["a", "a", "b", "a"], Some(0)).await;
        assert_eq!(left, ["b2", "a1", "a3", "a0"]);
    }
}
