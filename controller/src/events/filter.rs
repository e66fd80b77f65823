//! Which events somebody asks for. Pure.

use std::collections::BTreeSet;

use fulcrum_proto::v1;
use tonic::Status;

use crate::api::errors;

/// Most kinds that a filter names: more than there are.
const MAX_KINDS: usize = 64;

/// Which events; the default takes all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    kinds: BTreeSet<i32>,
    least_severity: i32,
    subject_kind: i32,
    subject_name: String,
    site: String,
    since: Option<(i64, i32)>,
}

impl Filter {
    /// Reads what was asked for.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` names every bad field.
    pub fn new(wire: Option<&v1::EventFilter>) -> Result<Self, Status> {
        let Some(wire) = wire else { return Ok(Self::default()) };
        let mut violations = Vec::new();
        if wire.kinds.len() > MAX_KINDS {
            let text = format!("{}: name at most {MAX_KINDS} kinds", wire.kinds.len());
            violations.push(errors::violation("filter.kinds", text));
        }
        let unknown = wire.kinds.iter().enumerate().filter(|(_, kind)| {
            v1::EventKind::try_from(**kind).map_or(true, |kind| kind == v1::EventKind::Unspecified)
        });
        for (index, kind) in unknown.take(MAX_KINDS) {
            let text = format!("{kind}: this controller knows no such kind of event");
            violations.push(errors::violation(&format!("filter.kinds[{index}]"), text));
        }
        if v1::EventSeverity::try_from(wire.least_severity).is_err() {
            let text = format!("{}: use info, warning or error", wire.least_severity);
            violations.push(errors::violation("filter.least_severity", text));
        }
        if v1::EventSubjectKind::try_from(wire.subject_kind).is_err() {
            let text = format!("{}: this controller knows no such subject", wire.subject_kind);
            violations.push(errors::violation("filter.subject_kind", text));
        }
        if !violations.is_empty() {
            return Err(errors::bad_request(&violations));
        }
        Ok(Self {
            kinds: wire.kinds.iter().copied().collect(),
            least_severity: wire.least_severity,
            subject_kind: wire.subject_kind,
            subject_name: wire.subject_name.clone(),
            site: wire.site.clone(),
            since: wire.since.map(|since| (since.seconds, since.nanos)),
        })
    }

    /// Whether it takes an event.
    pub fn takes(&self, event: &v1::Event) -> bool {
        let (kind, name) =
            event.subject.as_ref().map_or((0, ""), |subject| (subject.kind, &subject.name));
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && event.severity >= self.least_severity
            && (self.subject_kind == 0 || self.subject_kind == kind)
            && (self.subject_name.is_empty() || self.subject_name == name)
            && (self.site.is_empty() || self.site == event.site)
            && self.since.is_none_or(|since| {
                event.time.is_some_and(|time| (time.seconds, time.nanos) >= since)
            })
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    #[test]
    fn every_condition_of_a_filter_must_hold() {
        type Edit = fn(&mut v1::EventFilter);
        let event = v1::Event {
            kind: v1::EventKind::RealServerOut.into(),
            severity: v1::EventSeverity::Warning.into(),
            subject: Some(v1::EventSubject {
                kind: v1::EventSubjectKind::RealServer.into(),
                name: "web1".to_owned(),
            }),
            site: "main".to_owned(),
            time: Some(prost_types::Timestamp { seconds: 100, nanos: 5 }),
            ..Default::default()
        };
        let cases: [(Edit, bool); 11] = [
            (|_| {}, true),
            (|f| f.kinds = vec![1, v1::EventKind::RealServerOut.into()], true),
            (|f| f.kinds = vec![1], false),
            (|f| f.least_severity = v1::EventSeverity::Warning.into(), true),
            (|f| f.least_severity = v1::EventSeverity::Error.into(), false),
            (|f| f.subject_kind = v1::EventSubjectKind::RealServer.into(), true),
            (|f| f.subject_kind = v1::EventSubjectKind::Director.into(), false),
            (|f| f.subject_name = "web2".to_owned(), false),
            (|f| f.site = "east".to_owned(), false),
            (|f| f.since = Some(prost_types::Timestamp { seconds: 100, nanos: 5 }), true),
            (|f| f.since = Some(prost_types::Timestamp { seconds: 100, nanos: 6 }), false),
        ];
        for (edit, expected) in cases {
            let mut wire = v1::EventFilter::default();
            edit(&mut wire);
            let filter = Filter::new(Some(&wire)).expect("it is good");
            assert_eq!(filter.takes(&event), expected, "{wire:?}");
        }
        let bad = v1::EventFilter { kinds: vec![0, 999], least_severity: 9, ..Default::default() };
        let error = Filter::new(Some(&bad)).expect_err("three bad fields");
        let fields = error.get_details_bad_request().expect("it names them").field_violations;
        let fields: Vec<_> = fields.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["filter.kinds[0]", "filter.kinds[1]", "filter.least_severity"]);
    }
}
