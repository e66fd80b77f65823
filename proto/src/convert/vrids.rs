//! VRIDs that a request leaves out.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use fulcrum_model::resource::{Resource, Spec};

use crate::v1;
use crate::v1::resource::Spec as WireSpec;

/// Site, whether the family is IPv6, and VRID.
type Identity = (String, bool, u32);

/// The resources with a VRID for each VRRP instance that has none: its own of `current`, where that is free at its place, or else the
/// lowest that no instance of its site and family has. The order of the resources decides nothing. Where none is
/// left it stays 0, which is refused.
pub fn allot_vrids<'r, 'c>(
    resources: &'r [v1::Resource],
    current: impl IntoIterator<Item = &'c Resource>,
) -> Cow<'r, [v1::Resource]> {
    let mut lacking: Vec<(String, usize)> = Vec::new();
    for (index, resource) in resources.iter().enumerate() {
        if instance_of(resource).is_some_and(|instance| instance.vrid == 0) {
            let name = resource.metadata.as_ref().map(|metadata| metadata.name.clone());
            lacking.push((name.unwrap_or_default(), index));
        }
    }
    if lacking.is_empty() {
        return Cow::Borrowed(resources);
    }
    lacking.sort();
    let mut known: BTreeMap<&str, Identity> = BTreeMap::new();
    for resource in current {
        if let Spec::VrrpInstance(instance) = &resource.spec {
            let is_ipv6 = instance.vips.first().is_some_and(|vip| vip.address().is_ipv6());
            let identity = (instance.site.to_string(), is_ipv6, u32::from(instance.vrid.get()));
            known.insert(resource.name.as_str(), identity);
        }
    }
    let mut used: BTreeSet<Identity> = known.values().cloned().collect();
    let given = resources.iter().filter_map(instance_of).filter(|instance| instance.vrid != 0);
    used.extend(given.map(|instance| identity(instance, instance.vrid)));
    let mut allotted = resources.to_vec();
    for (name, index) in lacking {
        let Some(WireSpec::VrrpInstance(instance)) =
            allotted.get_mut(index).and_then(|resource| resource.spec.as_mut())
        else {
            continue;
        };
        let own = known.get(name.as_str()).filter(|own| {
            let here = identity(instance, own.2);
            **own == here || !used.contains(&here)
        });
        let free = || (1..=255).find(|vrid| !used.contains(&identity(instance, *vrid)));
        let Some(vrid) = own.map(|own| own.2).or_else(free) else { continue };
        instance.vrid = vrid;
        used.insert(identity(instance, vrid));
    }
    Cow::Owned(allotted)
}

fn instance_of(resource: &v1::Resource) -> Option<&v1::VrrpInstance> {
    match &resource.spec {
        Some(WireSpec::VrrpInstance(instance)) => Some(instance),
        _ => None,
    }
}

fn identity(instance: &v1::VrrpInstance, vrid: u32) -> Identity {
    let is_ipv6 = instance.vips.first().is_some_and(|vip| vip.contains(':'));
    (instance.site.clone(), is_ipv6, vrid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str, site: &str, vip: &str, vrid: u32) -> v1::Resource {
        let member =
            v1::VrrpMember { director: "d1".to_owned(), priority: 100, ..Default::default() };
        let spec = v1::VrrpInstance {
            site: site.to_owned(),
            vips: vec![vip.to_owned()],
            members: vec![member],
            vrid,
            ..Default::default()
        };
        let metadata = v1::Metadata { name: name.to_owned(), ..Default::default() };
        v1::Resource { metadata: Some(metadata), spec: Some(WireSpec::VrrpInstance(spec)) }
    }

    fn allot(set: &[v1::Resource], current: &[v1::Resource]) -> Vec<u32> {
        let read = |wire| {
            let mut errors = Vec::new();
            let read = crate::convert::resource_from_wire(0, wire, &mut errors);
            read.unwrap_or_else(|| panic!("{errors:?}"))
        };
        let current: Vec<Resource> = current.iter().map(read).collect();
        let allotted = allot_vrids(set, &current);
        allotted.iter().filter_map(instance_of).map(|instance| instance.vrid).collect()
    }

    #[test]
    fn each_gets_the_lowest_that_is_free_on_its_segment_and_keeps_it() {
        let (v4, v6) = ("192.168.1.150", "fe80::1");
        let set = [
            instance("b", "main", v4, 0),
            instance("a", "main", v4, 0),
            instance("c", "main", v4, 1),
            instance("d", "east", v4, 0),
            instance("e", "main", v6, 0),
        ];
        assert_eq!(allot(&set, &[]), [3, 2, 1, 1, 1]);
        // Applied again beside others, each keeps what it has.
        let has = [
            instance("b", "main", v4, 7),
            instance("z", "main", v4, 2),
            instance("d", "main", v4, 9),
            instance("y", "east", v4, 9),
        ];
        assert_eq!(allot(&set, &has), [7, 3, 1, 1, 1]);
        let moved = [instance("d", "east", v4, 0)];
        assert_eq!(allot(&moved, &has[..3]), [9]);
        assert_eq!(allot(&moved, &has), [1]);
        // Nobody has one left.
        let all: Vec<_> =
            (1..=255).map(|vrid| instance(&format!("i{vrid}"), "main", v4, vrid)).collect();
        assert_eq!(allot(&set[..1], &all), [0]);
        assert!(matches!(allot_vrids(&all, []), Cow::Borrowed(_)));
    }
}
