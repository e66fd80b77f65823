//! What is wrong with manifests whatever the cluster holds, so that it is told with all the rest before anything is sent.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_proto::convert::{allot_vrids, resource_from_wire, resource_key_from_wire};
use fulcrum_proto::v1;
use fulcrum_proto::v1::resource::Spec;

use super::{Manifest, Mistake};

/// Adds every bad value and every resource given twice. Where that or a mistake before it means that nothing will be
/// sent, adds also what the manifests' resources do to each other, as the server would tell of it.
pub(crate) fn check(manifests: &[Manifest], mistakes: &mut Vec<Mistake>) {
    let mut set = Vec::new();
    let mut broken = BTreeSet::new();
    let mut first = BTreeMap::new();
    // What the controllers allot stands for a VRID that is left out: that none is left here they alone can tell.
    let is_instance =
        |resource: &&v1::Resource| matches!(resource.spec, Some(Spec::VrrpInstance(_)));
    let instances = manifests.iter().map(|manifest| &manifest.resource).filter(is_instance);
    let instances: Vec<v1::Resource> = instances.cloned().collect();
    let allotted = allot_vrids(&instances, []);
    let mut allotted = allotted.iter();
    for (index, manifest) in manifests.iter().enumerate() {
        let allotted = Some(&manifest.resource).filter(is_instance).and_then(|_| allotted.next());
        let wire = allotted.unwrap_or(&manifest.resource);
        let key = resource_key_from_wire(&manifest.resource);
        if let Some(key) = &key
            && let Some(other) = first.insert(key.clone(), manifest)
        {
            let at = other.place("");
            let description = format!(
                "{:?}: {key} is in {}:{}:{} already; keep one of them",
                manifest.name(),
                other.file,
                at.line,
                at.column
            );
            mistakes.push(mistake(manifest, "name", description));
            continue;
        }
        let mut violations = Vec::new();
        let resource = resource_from_wire(0, wire, &mut violations);
        for violation in violations {
            let field = violation.field.trim_start_matches("resources[0].");
            if !manifest.is_refused(field) {
                mistakes.push(mistake(manifest, field, violation.description));
            }
        }
        match resource {
            Some(resource) if manifest.is_fit_for_rules() => set.push((index, resource)),
            Some(_) | None => broken.extend(key),
        }
    }
    if !mistakes.is_empty() {
        for violation in fulcrum_intent::examine_alone(&set, &broken) {
            if let Ok(mistake) = super::mistake(manifests, &violation.field, &violation.description)
            {
                mistakes.push(mistake);
            }
        }
    }
    mistakes.sort();
}

fn mistake(manifest: &Manifest, field: &str, description: String) -> Mistake {
    Mistake {
        file: manifest.file.clone(),
        at: manifest.place(field),
        field: field.to_owned(),
        description,
    }
}
