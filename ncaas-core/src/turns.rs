//! Work of several groups of a bucket in an order in which the groups take turns: thousands of items of one group delay
//! the items of another by one each.

use std::collections::BTreeMap;

/// Items by group; within a group, the one with the lowest key comes first.
#[derive(Debug)]
pub struct Turns<K, T> {
    groups: BTreeMap<String, BTreeMap<K, T>>,
    /// The group whose turn was last.
    last: String,
}

impl<K, T> Default for Turns<K, T> {
    fn default() -> Self {
        Turns { groups: BTreeMap::new(), last: String::new() }
    }
}

impl<K: Ord, T> Turns<K, T> {
    /// Adds an item, or replaces the one with the same group and key.
    pub fn push(&mut self, group: &str, key: K, item: T) {
        self.groups.entry(group.to_owned()).or_default().insert(key, item);
    }

    /// Takes the next item of the groups that are allowed to have a turn.
    pub fn pop(&mut self, is_allowed: impl Fn(&str) -> bool) -> Option<T> {
        let later = self.groups.keys().filter(|group| **group > self.last);
        let earlier = self.groups.keys().filter(|group| **group <= self.last);
        let group = later.chain(earlier).find(|group| is_allowed(group))?.clone();
        let items = self.groups.get_mut(&group)?;
        let (_, item) = items.pop_first()?;
        if items.is_empty() {
            self.groups.remove(&group);
        }
        self.last = group;
        Some(item)
    }

    /// Removes an item that has not had its turn.
    pub fn remove(&mut self, group: &str, key: &K) {
        if let Some(items) = self.groups.get_mut(group) {
            items.remove(key);
            if items.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    /// Whether no item is left.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_take_turns_and_the_lowest_key_of_a_group_comes_first() {
        let mut turns = Turns::default();
        for (group, key) in [("a", 3), ("a", 1), ("a", 2), ("b", 9), ("c", 0), ("d", 0)] {
            turns.push(group, key, format!("{group}{key}"));
        }
        turns.remove("d", &0);
        let order: Vec<String> = std::iter::from_fn(|| turns.pop(|_| true)).collect();
        assert_eq!(order, ["a1", "b9", "c0", "a2", "a3"]);
        assert!(turns.is_empty());
        turns.push("a", 1, "a1".to_owned());
        turns.push("b", 1, "b1".to_owned());
        assert_eq!(turns.pop(|group| group != "a").as_deref(), Some("b1"));
        assert_eq!(turns.pop(|group| group != "a"), None);
    }
}
