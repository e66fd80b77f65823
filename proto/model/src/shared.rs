//! Equal values that are kept once.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Most values that are kept before those that nobody else has are let go.
const MOST: usize = 64;

/// Values that are in use, each once.
#[derive(Debug)]
pub struct Shared<T: ?Sized> {
    known: BTreeSet<Arc<T>>,
    /// Let go of what is unused at so many.
    tidy_at: usize,
}

impl<T: Ord + ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Self { known: BTreeSet::new(), tidy_at: MOST }
    }
}

impl<T: Ord + ?Sized> Shared<T> {
    /// Puts the known value in place of an equal one, or takes note of it.
    pub fn share(&mut self, value: &mut Arc<T>) {
        if let Some(known) = self.known.get(value) {
            value.clone_from(known);
            return;
        }
        if self.known.len() >= self.tidy_at {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            // What is in use may be much: the next time comes when as much was added.
            self.tidy_at = MOST.max(2 * self.known.len());
        }
        self.known.insert(Arc::clone(value));
    }

    /// Takes back a value that its holder gives up: it is let go where nobody else has it. One that is merely dropped is let
    /// go some values later.
    pub fn release(&mut self, value: Arc<T>) {
        // That one, and the one that is known.
        if Arc::strong_count(&value) <= 2 {
            self.known.remove(&value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_kept_once() {
        let mut shared = Shared::<str>::default();
        let (mut one, mut other) = (Arc::from("a"), Arc::from("a"));
        shared.share(&mut one);
        shared.share(&mut other);
        assert!(Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn what_is_released_last_is_let_go_at_once() {
        let mut shared = Shared::<str>::default();
        let (mut one, mut other) = (Arc::from("a"), Arc::from("a"));
        shared.share(&mut one);
        shared.share(&mut other);
        shared.release(one);
        assert_eq!(shared.known.len(), 1, "another has it");
        shared.release(other);
        assert!(shared.known.is_empty());
    }

    #[test]
    fn what_nobody_has_is_let_go() {
        let mut shared = Shared::<str>::default();
        let kept: Vec<Arc<str>> = (0..MOST).map(|number| number.to_string().into()).collect();
        for value in &kept {
            shared.share(&mut Arc::clone(value));
        }
        for number in MOST..9 * MOST {
            shared.share(&mut number.to_string().into());
            assert!(shared.known.len() <= 2 * MOST, "{number}");
        }
        assert!(kept.iter().all(|value| Arc::strong_count(value) == 2));
    }
}
