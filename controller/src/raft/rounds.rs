//! Rounds that many share: whoever waits when a round begins is answered by it, and whoever comes later by the next.
//!
//! A round tells what was so when it began or later, never before. So what it tells is true for all who had asked by then, and a thousand
//! readers cost as many messages between controllers as one.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

/// Callers that wait in the queue itself. More wait at its door.
const QUEUE: usize = 4096;

/// Lets callers share rounds. Cheap to clone; the rounds end with the last clone.
#[derive(Debug)]
pub(crate) struct Rounds<T> {
    asked: mpsc::Sender<oneshot::Sender<T>>,
}

impl<T> Clone for Rounds<T> {
    fn clone(&self) -> Self {
        Self { asked: self.asked.clone() }
    }
}

impl<T: Clone + Send + 'static> Rounds<T> {
    /// Has `round` called for each round, one after the other.
    pub(crate) fn spawn<F>(mut round: impl FnMut() -> F + Send + 'static) -> Self
    where
        F: Future<Output = T> + Send,
    {
        let (asked, mut arrived) = mpsc::channel::<oneshot::Sender<T>>(QUEUE);
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            while arrived.recv_many(&mut waiting, QUEUE).await > 0 {
                let told = round().await;
                for answer in waiting.drain(..) {
                    // Whoever asked may have given up.
                    let _ = answer.send(told.clone());
                }
            }
        });
        Self { asked }
    }

    /// What the next round that begins tells; `None` when there are none any more.
    pub(crate) async fn next(&self) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.asked.send(answer).await.ok()?;
        answered.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Rounds that end when they are let, each telling its number.
    fn counted() -> (Rounds<u64>, Arc<AtomicU64>, Arc<Semaphore>) {
        let (begun, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
        let (count, passed) = (Arc::clone(&begun), Arc::clone(&gate));
        let rounds = Rounds::spawn(move || {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let passed = Arc::clone(&passed);
            async move {
                passed.acquire().await.expect("the gate stays").forget();
                number
            }
        });
        (rounds, begun, gate)
    }

    #[tokio::test]
    async fn whoever_comes_during_a_round_shares_the_next_one() {
        let (rounds, begun, gate) = counted();
        let ask = || {
            let rounds = rounds.clone();
            tokio::spawn(async move { rounds.next().await })
        };
        let first = ask();
        while begun.load(Ordering::SeqCst) < 1 {
            tokio::task::yield_now().await;
        }
        // The first round has begun: what it tells may be older than what these ask for.
        let later: Vec<_> = (0..100).map(|_| ask()).collect();
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(2);
        assert_eq!(first.await.expect("it ends"), Some(1));
        for answer in later {
            assert_eq!(answer.await.expect("it ends"), Some(2));
        }
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn those_who_gave_up_keep_nobody_waiting() {
        let (rounds, begun, gate) = counted();
        let given_up = {
            let rounds = rounds.clone();
            tokio::spawn(async move { rounds.next().await })
        };
        while begun.load(Ordering::SeqCst) < 1 {
            tokio::task::yield_now().await;
        }
        given_up.abort();
        gate.add_permits(2);
        assert_eq!(rounds.next().await, Some(2));
    }
}
