//! Whole answers given lately, by request id. What is remembered by every controller is only the revision.

use std::collections::{BTreeMap, VecDeque};

use fulcrum_proto::v1;

/// Lines that the answers kept may have in all: one per difference told.
const MAX_LINES: usize = 200_000;

/// Whole answers given lately.
#[derive(Debug, Default)]
pub(super) struct Answers {
    by_id: BTreeMap<String, v1::ApplyResponse>,
    /// Ids, oldest first.
    order: VecDeque<String>,
    lines: usize,
}

impl Answers {
    /// Keeps an answer; older ones go when there are too many. An id that is kept already stays as it is.
    pub(super) fn keep(&mut self, request_id: &str, response: &v1::ApplyResponse) {
        if request_id.is_empty() || self.by_id.contains_key(request_id) {
            return;
        }
        self.lines += lines(response);
        self.by_id.insert(request_id.to_owned(), response.clone());
        self.order.push_back(request_id.to_owned());
        while self.lines > MAX_LINES
            && let Some(oldest) = self.order.pop_front()
        {
            let gone = self.by_id.remove(&oldest);
            self.lines -= gone.map_or(0, |gone| lines(&gone));
        }
    }

    /// The answer to a request.
    pub(super) fn get(&self, request_id: &str) -> Option<v1::ApplyResponse> {
        self.by_id.get(request_id).cloned()
    }
}

/// One for the answer itself, so that empty ones count too.
fn lines(response: &v1::ApplyResponse) -> usize {
    let agents = response.agent_changes.iter();
    let of_agents: usize = agents.map(|agent| 1 + agent.changed.len() + agent.removed.len()).sum();
    1 + response.changes.len() + of_agents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(revision: u64, changes: usize) -> v1::ApplyResponse {
        let changes = vec![v1::Change::default(); changes];
        v1::ApplyResponse { revision, changes, ..Default::default() }
    }

    #[test]
    fn answers_are_kept_until_newer_ones_need_the_room() {
        let mut answers = Answers::default();
        answers.keep("", &response(1, 1));
        answers.keep("a", &response(2, 1));
        answers.keep("a", &response(3, 1));
        let revision = |answers: &Answers, id| answers.get(id).map(|kept| kept.revision);
        assert_eq!(revision(&answers, ""), None);
        assert_eq!(revision(&answers, "a"), Some(2));
        answers.keep("b", &response(4, MAX_LINES - 3));
        assert_eq!(revision(&answers, "a"), Some(2));
        answers.keep("c", &response(5, 0));
        assert_eq!(revision(&answers, "a"), None);
        assert_eq!(revision(&answers, "b"), Some(4));
        // One that is too large by itself is not kept, nor is what was before it.
        answers.keep("d", &response(6, MAX_LINES));
        assert_eq!((revision(&answers, "d"), revision(&answers, "c")), (None, None));
        assert_eq!(answers.lines, 0);
    }
}
