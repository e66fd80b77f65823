//! Whether a recorded history of registers could have come from one that does one thing at a time, each within its call: linearizability. Pure.
//!
//! Keys are independent, so that each is judged by itself (Herlihy and Wing 1990, locality). The search goes back over the writes that may have come
//! first, as Wing and Gong (1993) have it, and remembers which sets of operations it has tried with which value, as Lowe (2017) adds. A write without
//! an answer may have taken effect at any time after its call, or never.

use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Sets of operations that are tried for one key before the search gives up: some seconds of work, and some hundred megabytes.
const MAX_TRIED: usize = 300_000;

/// What was done with a register, which holds 0 at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// It was written. No two writes of a key write the same.
    Write(u64),
    /// It was read, and held this.
    Read(u64),
}

/// An operation on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// When it was asked for.
    pub(crate) called: u64,
    /// When it was answered; `None` when it is not known whether it took effect.
    pub(crate) answered: Option<u64>,
    /// What it did.
    pub(crate) done: Done,
}

/// Why a history is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No order explains it. These could not be placed, after as many as could.
    NotLinearizable { key: String, unplaced: Vec<Operation> },
    /// It is too much to search.
    TooLarge { key: String },
}

/// Judges a history of many keys. Gives how many sets of operations were tried.
pub(crate) fn check(history: &BTreeMap<String, Vec<Operation>>) -> Result<usize, Fault> {
    let mut tried = 0;
    for (key, operations) in history {
        tried += check_key(key, operations)?;
    }
    Ok(tried)
}

fn check_key(key: &str, operations: &[Operation]) -> Result<usize, Fault> {
    let operations = relevant(operations);
    let mut search = Search { operations: &operations, tried: HashSet::new() };
    let mut longest = Placed::new(operations.len());
    let mut open = vec![(Placed::new(operations.len()), 0)];
    while let Some((placed, value)) = open.pop() {
        let (placed, value, next) = search.expand(placed, value);
        if search.is_explained(&placed) {
            return Ok(search.tried.len());
        }
        if placed.count > longest.count {
            longest = placed.clone();
        }
        if search.tried.len() > MAX_TRIED {
            return Err(Fault::TooLarge { key: key.to_owned() });
        }
        for index in next {
            let mut further = placed.clone();
            further.add(index);
            let written = match operations[index].done {
                Done::Write(written) => written,
                Done::Read(_) => value,
            };
            if search.tried.insert((further.bits.clone(), written)) {
                open.push((further, written));
            }
        }
    }
    let rest = operations.iter().enumerate().filter(|(index, _)| !longest.has(*index));
    let unplaced = rest.map(|(_, operation)| *operation).take(12).collect();
    Err(Fault::NotLinearizable { key: key.to_owned(), unplaced })
}

/// Those that matter, in the order in which they were called. A read without an answer tells nothing, and a write without one that nobody read
/// may as well never have happened.
fn relevant(operations: &[Operation]) -> Vec<Operation> {
    let read: BTreeSet<u64> = operations
        .iter()
        .filter_map(|operation| match (operation.done, operation.answered) {
            (Done::Read(value), Some(_)) => Some(value),
            (Done::Read(_), None) | (Done::Write(_), _) => None,
        })
        .collect();
    let mut kept: Vec<Operation> = operations
        .iter()
        .filter(|operation| match (operation.done, operation.answered) {
            (_, Some(_)) => true,
            (Done::Write(value), None) => read.contains(&value),
            (Done::Read(_), None) => false,
        })
        .copied()
        .collect();
    kept.sort_by_key(|operation| operation.called);
    kept
}

/// Which operations have their place in the order.
#[derive(Clone, Debug)]
struct Placed {
    bits: Vec<u64>,
    count: usize,
}

impl Placed {
    fn new(operations: usize) -> Self {
        Self { bits: vec![0; operations.div_ceil(64)], count: 0 }
    }

    fn has(&self, index: usize) -> bool {
        self.bits[index / 64] >> (index % 64) & 1 == 1
    }

    fn add(&mut self, index: usize) {
        self.bits[index / 64] |= 1 << (index % 64);
        self.count += 1;
    }
}

struct Search<'a> {
    operations: &'a [Operation],
    tried: HashSet<(Vec<u64>, u64)>,
}

impl Search<'_> {
    /// Places every read that fits the value now, for that takes nothing from what comes later, and gives the writes that may come next.
    fn expand(&self, mut placed: Placed, value: u64) -> (Placed, u64, Vec<usize>) {
        loop {
            let candidates = self.candidates(&placed);
            let fitting =
                candidates.iter().find(|index| self.operations[**index].done == Done::Read(value));
            let Some(read) = fitting else {
                let is_write =
                    |index: &usize| matches!(self.operations[*index].done, Done::Write(_));
                return (placed, value, candidates.into_iter().filter(is_write).collect());
            };
            placed.add(*read);
        }
    }

    /// Operations without a place that were called before any of them was answered.
    fn candidates(&self, placed: &Placed) -> Vec<usize> {
        let rest = || (0..self.operations.len()).filter(|index| !placed.has(*index));
        let first_answer =
            rest().filter_map(|index| self.operations[index].answered).min().unwrap_or(u64::MAX);
        rest().take_while(|index| self.operations[*index].called <= first_answer).collect()
    }

    /// Whether all that was answered has its place.
    fn is_explained(&self, placed: &Placed) -> bool {
        let is_open =
            |index: usize| !placed.has(index) && self.operations[index].answered.is_some();
        !(0..self.operations.len()).any(is_open)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// From when to when; 0 stands for no answer.
    fn operation(called: u64, answered: u64, done: Done) -> Operation {
        Operation { called, answered: Some(answered).filter(|at| *at != 0), done }
    }

    fn write(called: u64, answered: u64, value: u64) -> Operation {
        operation(called, answered, Done::Write(value))
    }

    fn read(called: u64, answered: u64, value: u64) -> Operation {
        operation(called, answered, Done::Read(value))
    }

    fn is_taken(operations: &[Operation]) -> bool {
        let history = BTreeMap::from([("k".to_owned(), operations.to_vec())]);
        check(&history).is_ok()
    }

    #[test]
    fn histories_are_taken_or_not() {
        let cases: [(&str, Vec<Operation>, bool); 14] = [
            ("nothing", vec![], true),
            ("one after the other", vec![write(1, 2, 5), read(3, 4, 5)], true),
            ("a read of what is there at first", vec![read(1, 2, 0), write(3, 4, 5)], true),
            ("a lost write", vec![write(1, 2, 5), read(3, 4, 0)], false),
            ("a read during a write, before it", vec![write(1, 4, 5), read(2, 3, 0)], true),
            ("a read during a write, after it", vec![write(1, 4, 5), read(2, 3, 5)], true),
            (
                "a stale read after a newer one",
                vec![write(1, 9, 5), read(2, 3, 5), read(4, 5, 0)],
                false,
            ),
            (
                "two writes at once, seen in both orders",
                vec![write(1, 9, 5), write(1, 9, 6), read(2, 3, 5), read(4, 5, 6), read(6, 7, 5)],
                false,
            ),
            (
                "two writes at once, seen in one order",
                vec![write(1, 9, 5), write(1, 9, 6), read(2, 3, 6), read(4, 5, 5), read(10, 11, 5)],
                true,
            ),
            (
                "an overwritten value comes back",
                vec![write(1, 2, 5), write(3, 4, 6), read(5, 6, 6), read(7, 8, 5)],
                false,
            ),
            ("a value that nobody wrote", vec![write(1, 2, 5), read(3, 4, 7)], false),
            (
                "a write without an answer takes effect late",
                vec![write(1, 0, 5), read(2, 3, 0), read(100, 101, 5)],
                true,
            ),
            (
                "a write without an answer takes effect and goes",
                vec![write(1, 0, 5), read(2, 3, 5), read(4, 5, 0)],
                false,
            ),
            ("a read before the write was asked for", vec![read(1, 2, 5), write(3, 4, 5)], false),
        ];
        for (name, operations, expected) in cases {
            assert_eq!(is_taken(&operations), expected, "{name}");
        }
    }

    #[test]
    fn a_fault_names_the_key_and_what_has_no_place() {
        let history = BTreeMap::from([
            ("good".to_owned(), vec![write(1, 2, 5), read(3, 4, 5)]),
            ("bad".to_owned(), vec![write(1, 2, 5), read(3, 4, 0), write(5, 6, 7)]),
        ]);
        let unplaced = vec![read(3, 4, 0), write(5, 6, 7)];
        let expected = Fault::NotLinearizable { key: "bad".to_owned(), unplaced };
        assert_eq!(check(&history), Err(expected));
    }

    /// By trying every order, for histories of a few operations.
    fn is_explained_by_some_order(operations: &[Operation]) -> bool {
        fn place(rest: &[Operation], value: u64) -> bool {
            if rest.iter().all(|operation| operation.answered.is_none()) {
                return true;
            }
            let first_answer = rest.iter().filter_map(|o| o.answered).min().unwrap_or(u64::MAX);
            (0..rest.len()).any(|index| {
                let operation = rest[index];
                let mut others = rest.to_vec();
                others.remove(index);
                operation.called <= first_answer
                    && match operation.done {
                        Done::Write(written) => place(&others, written),
                        Done::Read(found) => found == value && place(&others, value),
                    }
            })
        }
        let known = |operation: &&Operation| {
            operation.answered.is_some() || matches!(operation.done, Done::Write(_))
        };
        place(&operations.iter().filter(known).copied().collect::<Vec<_>>(), 0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever was recorded of a few operations, the search says what trying every order says.
        #[test]
        fn the_search_says_what_trying_every_order_says(
            drawn in proptest::collection::vec((0_u64..12, 0_u64..6, any::<bool>(), 0_u64..4, 0_u8..6), 0..7),
        ) {
            let operations: Vec<Operation> = (1..).zip(drawn).map(|(number, (called, took, is_write, value, known))| {
                let done = if is_write { Done::Write(number) } else { Done::Read(value) };
                let answered = if known == 0 { None } else { Some(called + took) };
                Operation { called, answered, done }
            }).collect();
            prop_assert_eq!(is_taken(&operations), is_explained_by_some_order(&operations));
        }

        /// What a register that does one thing at a time has done is always taken, and a read that it did not answer so never.
        #[test]
        fn what_a_register_did_is_taken_and_a_stale_read_is_not(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..5, 0_u64..5, 0_u8..10), 1..120),
            place in any::<prop::sample::Index>(),
        ) {
            let (mut value, mut operations, mut late_ones) = (0, Vec::new(), BTreeSet::new());
            for (number, (is_write, early, late, fate)) in (1_u64..).zip(steps) {
                // Each takes effect at ten times its number, and is called before and answered after that.
                let at = number * 10;
                let (called, answered) = (at - early, Some(at + late).filter(|_| fate != 0));
                let done = if is_write { value = number; Done::Write(number) } else { Done::Read(value) };
                operations.push(Operation { called, answered, done });
                if is_write && answered.is_none() {
                    late_ones.insert(number);
                }
            }
            prop_assert!(is_taken(&operations));
            // A read long after the last write that finds something else.
            let end = 10_000;
            let other = place.index(usize::try_from(value).expect("a small number") + 1) as u64;
            // One that was not answered may as well come late.
            prop_assume!(other == value || !late_ones.contains(&other));
            operations.push(Operation { called: end, answered: Some(end + 1), done: Done::Read(value) });
            operations.push(Operation { called: end + 2, answered: Some(end + 3), done: Done::Read(other) });
            prop_assert_eq!(is_taken(&operations), other == value);
        }
    }
}
