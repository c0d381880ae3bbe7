//! Jobs start in the order of their records; the groups of a bucket take turns.
//!
//! Without the turns, a submission of thousands of datasets would hold up every later one.

use std::cell::RefCell;

use ncaas_core::turns::Turns;
use tokio::sync::Notify;

/// The records that have come and whose jobs have no slot yet.
#[derive(Debug, Default)]
pub(super) struct StartOrder {
    queue: RefCell<TicketQueue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct TicketQueue {
    /// Number of tickets so far.
    issued: u64,
    waiting: Turns<u64, u64>,
    /// The ticket that may start.
    current: Option<u64>,
}

impl TicketQueue {
    fn current(&mut self) -> Option<u64> {
        self.current = self.current.or_else(|| self.waiting.pop(|_| true));
        self.current
    }
}

/// A record's place in the order. Dropping it lets the next one start.
#[derive(Debug)]
pub(super) struct StartTicket<'o> {
    order: &'o StartOrder,
    group: String,
    number: u64,
}

impl StartOrder {
    /// The ticket of the next record, of a job of this group. The group of a job from arguments is empty.
    pub(super) fn ticket(&self, group: &str) -> StartTicket<'_> {
        let mut queue = self.queue.borrow_mut();
        queue.issued += 1;
        let number = queue.issued;
        queue.waiting.push(group, number, number);
        StartTicket { order: self, group: group.to_owned(), number }
    }
}

impl StartTicket<'_> {
    /// Waits until it is this ticket's turn.
    pub(super) async fn wait_for_turn(&self) {
        loop {
            let changed = self.order.changed.notified();
            if self.order.queue.borrow_mut().current() == Some(self.number) {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for StartTicket<'_> {
    fn drop(&mut self) {
        let mut queue = self.order.queue.borrow_mut();
        if queue.current == Some(self.number) {
            queue.current = None;
        } else {
            queue.waiting.remove(&self.group, &self.number);
        }
        drop(queue);
        self.order.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order in which the jobs of these groups start.
    async fn order_of(groups: &[&'static str]) -> Vec<String> {
        let order = StartOrder::default();
        let started = RefCell::new(Vec::new());
        let first = order.ticket("first");
        first.wait_for_turn().await;
        let tickets = groups.iter().enumerate().map(|(number, group)| (number, *group, order.ticket(group)));
        let start = async |number: usize, group: &'static str, ticket: StartTicket<'_>| {
            ticket.wait_for_turn().await;
            started.borrow_mut().push(format!("{group}{number}"));
        };
        // The last one is polled first.
        let mut starts: Vec<_> = tickets.map(|(number, group, ticket)| start(number, group, ticket)).collect();
        starts.reverse();
        let all = futures_util::future::join_all(starts);
        tokio::join!(all, async { drop(first) });
        started.into_inner()
    }

    #[tokio::test]
    async fn a_record_waits_for_those_of_its_group_that_came_before_it() {
        assert_eq!(order_of(&["a", "a", "a"]).await, ["a0", "a1", "a2"]);
    }

    #[tokio::test]
    async fn groups_take_turns() {
        assert_eq!(order_of(&["a", "a", "a", "b", "c", "b"]).await, ["a0", "b3", "c4", "a1", "b5", "a2"]);
    }
}
