//! Pages of List, all of one revision. Pure.

use std::borrow::Cow;
use std::ops::Bound;

use fulcrum_model::Revision;
use fulcrum_model::resource::Resource;
use fulcrum_model::resource::ResourceKey;
use fulcrum_proto::convert::{self, FieldViolation};
use fulcrum_proto::v1;
use sha2::{Digest as _, Sha256};
use tonic::Status;

use super::filter::Filter;
use super::{errors, etag};
use crate::raft::IntentState;

/// Most resources of a page, where a size is given.
const MAX_PAGE: u32 = 1000;

/// A page of the resources that are asked for, or all of them where no size is given.
///
/// # Errors
/// `INVALID_ARGUMENT` with every bad field; `OUT_OF_RANGE` when the revision of the first page is no longer kept.
pub fn list(
    request: &v1::ListRequest,
    state: &IntentState,
    to_wire: fn(&Resource) -> v1::Resource,
) -> Result<v1::ListResponse, Status> {
    let mut violations = Vec::new();
    let v1::ListRequest { kind, name_prefix, labels, label_selector, .. } = request;
    let filter = Filter::read(*kind, name_prefix, labels, label_selector, &mut violations);
    if request.page_size > MAX_PAGE {
        let text = format!("{}: a page has at most {MAX_PAGE} resources", request.page_size);
        violations.push(errors::violation("page_size", text));
    }
    let digest = digest(request);
    let token = Token::read(&request.page_token, &digest, &mut violations);
    if !violations.is_empty() {
        return Err(errors::bad_request(&violations));
    }
    let revision = token.as_ref().map_or(state.revision, |token| token.revision);
    let resources = if revision == state.revision {
        Cow::Borrowed(&state.resources)
    } else {
        let then = state.history.resources_at(state.revision, &state.resources, revision);
        Cow::Owned(then.map_err(|error| errors::not_kept(&error))?)
    };
    let after = token.map_or(Bound::Unbounded, |token| Bound::Excluded(token.after));
    let wanted = resources.range((after, Bound::Unbounded)).map(|(_, resource)| resource);
    let mut wanted = wanted.filter(|resource| filter.takes(resource)).peekable();
    let size = if request.page_size == 0 { usize::MAX } else { request.page_size as usize };
    let page: Vec<_> = wanted.by_ref().take(size).collect();
    let last = wanted.peek().and(page.last());
    let next = last.map(|last| Token { revision, after: last.key() }.write(&digest));
    let tell = |resource: &_| etag::tell(state, to_wire(resource));
    Ok(v1::ListResponse {
        resources: page.into_iter().map(tell).collect(),
        revision: revision.0,
        next_page_token: next.unwrap_or_default(),
    })
}

/// Where a page begins: after that resource, in the intent of that revision.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    revision: Revision,
    after: ResourceKey,
}

impl Token {
    fn write(&self, digest: &str) -> String {
        let Self { revision, after: ResourceKey { kind, name } } = self;
        format!("{revision}.{digest}.{}.{name}", i32::from(convert::kind_to_wire(*kind)))
    }

    /// None at the first page, and where it is wrong.
    fn read(text: &str, digest: &str, violations: &mut Vec<FieldViolation>) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let mut refuse = |remedy: &str| {
            let shown: String = text.chars().take(100).collect();
            violations.push(errors::violation("page_token", format!("{shown:?}: {remedy}")));
        };
        let parts: Vec<&str> = text.splitn(4, '.').collect();
        let read = || {
            let [revision, _, kind, name] = parts[..] else { return None };
            let kind = convert::kind_from_wire(kind.parse().ok()?)?;
            let after = ResourceKey { kind, name: name.parse().ok()? };
            Some(Self { revision: Revision(revision.parse().ok()?), after })
        };
        let token = read();
        match token {
            None => refuse("give next_page_token of the answer before, or none"),
            Some(_) if parts.get(1) != Some(&digest) => {
                refuse(
                    "it is of another request: ask for the same kind, prefix and labels, or begin without it",
                );
            }
            Some(_) => return token,
        }
        None
    }
}

/// What a token must be asked with again.
fn digest(request: &v1::ListRequest) -> String {
    let v1::ListRequest { kind, name_prefix, labels, label_selector, .. } = request;
    let asked = format!("{:?}", (kind, name_prefix, labels, label_selector));
    let hash = Sha256::digest(asked.as_bytes());
    let first = hash.first_chunk().copied().map_or(0, u32::from_be_bytes);
    format!("{first:08x}")
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::testing::examples;
    use crate::testing::states::write;

    /// The example set at revision 7: 8 resources.
    fn written() -> IntentState {
        let mut state = IntentState::default();
        write(&mut state, 7, examples::cluster(), &[]);
        state
    }

    fn asked(page_size: u32, page_token: &str) -> v1::ListRequest {
        v1::ListRequest { page_size, page_token: page_token.to_owned(), ..Default::default() }
    }

    fn names(answer: &v1::ListResponse) -> Vec<String> {
        let metadata = answer.resources.iter().filter_map(|resource| resource.metadata.as_ref());
        metadata.map(|metadata| metadata.name.clone()).collect()
    }

    #[test]
    fn pages_hold_each_resource_once_as_it_was_at_the_first() {
        let mut state = written();
        let whole = list(&asked(0, ""), &state, convert::resource_to_wire).expect("a good request");
        assert_eq!((whole.resources.len(), whole.next_page_token.as_str()), (8, ""));
        for size in [1, 3, 4, 8, 1000] {
            let (mut found, mut token) = (Vec::new(), String::new());
            loop {
                let page = list(&asked(size, &token), &state, convert::resource_to_wire)
                    .expect("a good request");
                assert_eq!(page.revision, 7);
                found.extend(page.resources);
                token = page.next_page_token;
                // Others write between two pages.
                let index = state.revision.0 + 2;
                let changed = vec![examples::site(&format!("new{index}"))];
                write(&mut state, index, changed, &[(v1::Kind::VirtualServer, "web")]);
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(found, whole.resources, "{size}");
            state = written();
        }
        let filtered =
            v1::ListRequest { kind: v1::Kind::Director.into(), page_size: 1, ..Default::default() };
        let first = list(&filtered, &state, convert::resource_to_wire).expect("a good request");
        assert_eq!(names(&first), ["d1"]);
        let second = v1::ListRequest { page_token: first.next_page_token, ..filtered };
        let second = list(&second, &state, convert::resource_to_wire).expect("a good request");
        assert_eq!(
            (names(&second), second.next_page_token),
            (vec!["d2".to_owned()], String::new())
        );
    }

    #[test]
    fn a_token_is_good_for_its_request_and_for_as_long_as_its_revision_is_kept() {
        let mut state = written();
        let token = list(&asked(3, ""), &state, convert::resource_to_wire)
            .expect("a good request")
            .next_page_token;
        let other = v1::ListRequest { name_prefix: "d".to_owned(), ..asked(3, &token) };
        for request in [other, asked(3, "x"), asked(1001, "7.0.1"), asked(3, &"9.".repeat(90))] {
            let status =
                list(&request, &state, convert::resource_to_wire).expect_err("it is wrong");
            assert_eq!(status.code(), Code::InvalidArgument, "{request:?}");
            let details = status.get_error_details();
            let bad = details.bad_request().expect("it names the fields");
            assert!(bad.field_violations.iter().all(|it| it.field.starts_with("page_")));
        }
        write(&mut state, 9, vec![examples::site("east")], &[]);
        state.history = fulcrum_intent::history::History::default();
        let status =
            list(&asked(3, &token), &state, convert::resource_to_wire).expect_err("it is not kept");
        assert_eq!(status.code(), Code::OutOfRange);
    }
}
