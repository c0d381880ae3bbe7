//! The order in which jobs start: that in which their records came.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use tokio::sync::Notify;

/// The records that have come and whose jobs have no slot yet.
#[derive(Debug, Default)]
pub(super) struct StartOrder {
    next: Cell<u64>,
    waiting: RefCell<BTreeSet<u64>>,
    changed: Notify,
}

/// A record's place in the order. Dropping it lets the next one start.
#[derive(Debug)]
pub(super) struct Ticket<'o> {
    order: &'o StartOrder,
    number: u64,
}

impl StartOrder {
    /// The ticket of the next record.
    pub(super) fn ticket(&self) -> Ticket<'_> {
        let number = self.next.replace(self.next.get() + 1);
        self.waiting.borrow_mut().insert(number);
        Ticket { order: self, number }
    }
}

impl Ticket<'_> {
    /// Waits until all earlier tickets are dropped.
    pub(super) async fn wait_for_turn(&self) {
        loop {
            let changed = self.order.changed.notified();
            if self.order.waiting.borrow().first() == Some(&self.number) {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.order.waiting.borrow_mut().remove(&self.number);
        self.order.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_record_waits_for_those_that_came_before_it() {
        let order = StartOrder::default();
        let (first, second, third) = (order.ticket(), order.ticket(), order.ticket());
        first.wait_for_turn().await;
        let started = RefCell::new(Vec::new());
        let start = async |ticket: Ticket<'_>, name: &'static str| {
            ticket.wait_for_turn().await;
            started.borrow_mut().push(name);
        };
        tokio::join!(start(third, "third"), start(second, "second"), async { drop(first) });
        assert_eq!(started.into_inner(), ["second", "third"]);
    }
}
