//! Which resources a caller asks for. Pure.

use std::collections::BTreeMap;

use fulcrum_model::resource::{Kind, Resource, ResourceKey};
use fulcrum_proto::convert::FieldViolation;
use fulcrum_proto::selector::{Selector, SelectorError};
use fulcrum_proto::v1;

use super::errors;

/// Longest prefix of a name in bytes: as a name.
const MAX_PREFIX_BYTES: usize = 63;
/// Most labels of a filter: as a resource has.
const MAX_LABELS: usize = 64;

/// Which resources. The default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    kind: Option<Kind>,
    name_prefix: String,
    labels: BTreeMap<String, String>,
    selector: Selector,
}

impl Filter {
    /// Reads the fields that List and Watch share; what is wrong is added to `violations`.
    pub fn read(
        kind: i32,
        name_prefix: &str,
        labels: &BTreeMap<String, String>,
        selector: &str,
        violations: &mut Vec<FieldViolation>,
    ) -> Self {
        let is_given = kind != i32::from(v1::Kind::Unspecified);
        let kind = is_given.then(|| errors::read_kind(kind)).transpose().unwrap_or_else(|fault| {
            violations.push(errors::violation("kind", fault));
            None
        });
        if name_prefix.len() > MAX_PREFIX_BYTES {
            let bytes = name_prefix.len();
            let text = format!("{bytes} bytes: a name has at most {MAX_PREFIX_BYTES}");
            violations.push(errors::violation("name_prefix", text));
        }
        if labels.len() > MAX_LABELS {
            let text = format!("{}: a resource has at most {MAX_LABELS} labels", labels.len());
            violations.push(errors::violation("labels", text));
        }
        let selector = selector.parse().unwrap_or_else(|error: SelectorError| {
            violations.push(errors::violation("label_selector", error.to_string()));
            Selector::default()
        });
        Self { kind, name_prefix: name_prefix.to_owned(), labels: labels.clone(), selector }
    }

    /// Whether a resource of that kind and name may be asked for: it never changes for one.
    pub fn takes_key(&self, key: &ResourceKey) -> bool {
        self.kind.is_none_or(|kind| kind == key.kind)
            && key.name.as_str().starts_with(&self.name_prefix)
    }

    /// Whether a resource is asked for as it is now.
    pub fn takes(&self, resource: &Resource) -> bool {
        self.takes_key(&resource.key())
            && self.labels.iter().all(|(key, value)| resource.labels.get(key) == Some(value))
            && self.selector.takes(&resource.labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(name: &str, rack: &str) -> Resource {
        let labels = [("rack".to_owned(), rack.to_owned())].into();
        let metadata = v1::Metadata { name: name.to_owned(), labels, ..Default::default() };
        let spec = Some(v1::resource::Spec::Site(v1::Site::default()));
        let wire = v1::Resource { metadata: Some(metadata), spec };
        fulcrum_proto::convert::resource_from_wire(0, &wire, &mut Vec::new()).expect("a good site")
    }

    #[test]
    fn all_that_is_asked_for_must_hold() {
        type Case =
            (i32, &'static str, &'static [(&'static str, &'static str)], &'static str, bool);
        let (site_kind, pool_kind) = (v1::Kind::Site.into(), v1::Kind::Pool.into());
        let cases: [Case; 9] = [
            (0, "", &[], "", true),
            (site_kind, "ma", &[("rack", "a")], "rack in (a, b)", true),
            (pool_kind, "", &[], "", false),
            (0, "mb", &[], "", false),
            (0, "", &[("rack", "b")], "", false),
            (0, "", &[("row", "a")], "", false),
            (0, "", &[("rack", "a"), ("row", "1")], "", false),
            (0, "", &[("rack", "a")], "rack,!row", true),
            (0, "", &[("rack", "a")], "rack!=a", false),
        ];
        for (kind, prefix, labels, selector, expected) in cases {
            let labels = labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            let mut violations = Vec::new();
            let filter = Filter::read(kind, prefix, &labels, selector, &mut violations);
            assert_eq!(violations, []);
            assert_eq!(filter.takes(&site("main", "a")), expected, "{filter:?}");
        }
        let mut violations = Vec::new();
        let many = (0..65).map(|number| (number.to_string(), String::new())).collect();
        Filter::read(99, &"x".repeat(64), &many, "a of b", &mut violations);
        let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["kind", "name_prefix", "labels", "label_selector"]);
    }
}
