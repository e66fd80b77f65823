//! Who may write what, and that what says so stays when the rest is brought back or pruned.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fulcrum_model::access::{AccessRole, AccessRule, Holder, JoinToken, Operators, Part};
use fulcrum_model::notification::{EventSeverity, NotificationPolicy};
use fulcrum_model::resource::{Kind, Resource, ResourceKey, Spec};

use super::*;
use crate::access::{Grants, Lookup, sites_of};
use crate::history::{Resources, undo_of};
use crate::{ChangeAction, restore, revert};

fn rule(text: &str, operators: &[&str], role: AccessRole, sites: &[&str]) -> Resource {
    let operators = match operators {
        ["*"] => Operators::All,
        names => Operators::Named(names.iter().map(|it| name(it)).collect()),
    };
    let sites = sites.iter().map(|it| name(it)).collect();
    resource(text, Spec::AccessRule(AccessRule { operators, role, sites }))
}

fn token(text: &str) -> Resource {
    let spec = JoinToken {
        identity: Holder { part: Part::Director, name: name("d9") },
        secret_sha256: [7; 32],
        expires: Duration::from_secs(1),
        addresses: BTreeSet::new(),
    };
    resource(text, Spec::JoinToken(spec))
}

fn policy(text: &str, sites: &[&str]) -> Resource {
    let policy = NotificationPolicy {
        kinds: BTreeSet::new(),
        least_severity: EventSeverity::Info,
        sites: sites.iter().map(|it| name(it)).collect(),
        label_selector: String::new(),
        group_wait: Duration::ZERO,
        group_interval: Duration::ZERO,
        give_up_after: Duration::ZERO,
        smtp: None,
        webhook: None,
        command: None,
    };
    resource(text, Spec::NotificationPolicy(Box::new(policy)))
}

/// The seed, and a second site with a real server of its own.
fn two_sites() -> Vec<Resource> {
    let mut far = real_server("far1", "192.168.2.138", 80);
    if let Spec::RealServer(server) = &mut far.spec {
        server.site = name("west");
    }
    let mut set = seed();
    set.extend([site("west"), far]);
    set
}

/// What is said of a change by an operator whom these rules grant things; empty when it may be written.
fn told(rules: &[Resource], put: &[Resource], delete: &[(Kind, &str)]) -> String {
    let mut set = two_sites();
    set.extend_from_slice(rules);
    let resources: Resources = set.into_iter().map(|it| (it.key(), it)).collect();
    let mut after: BTreeMap<ResourceKey, Option<Resource>> =
        put.iter().map(|it| (it.key(), Some(it.clone()))).collect();
    let gone = |(kind, text): &(Kind, &str)| ResourceKey { kind: *kind, name: name(text) };
    after.extend(delete.iter().map(|it| (gone(it), None)));
    let none = BTreeMap::new();
    let before = Lookup { resources: &resources, otherwise: &none };
    let after = Lookup { resources: &resources, otherwise: &after };
    let changes = after.otherwise.keys().map(|key| (before.get(key), after.get(key)));
    let grants = Grants::of("anna", &resources, &["root".to_owned()]);
    grants.check(changes, &before, &after).err().map(|it| it.to_string()).unwrap_or_default()
}

#[test]
fn writes_need_a_role_where_their_subject_is() {
    use AccessRole::{Admin, Operator, Viewer};
    let of = |role, sites: &[&str]| vec![rule("r", &["anna"], role, sites)];
    let labelled = |key: &str| {
        let mut labelled = real_server("web1", "192.168.1.138", 80);
        labelled.labels.insert(key.to_owned(), "x".to_owned());
        labelled
    };
    let with_far = pool("tomcats", &["web1", "web2", "far1"]);
    let order = || vec![drain("order", "web1", None)];
    let server = || vec![virtual_server("more", VIP, 81)];
    let none = Vec::new;
    let cases: [(Vec<Resource>, Vec<Resource>, &str); 21] = [
        (vec![], order(), "Drain order needs operator of site main"),
        (of(Viewer, &[]), order(), "Drain order needs operator of site main"),
        (of(Operator, &["west"]), order(), "Drain order needs operator of site main"),
        (of(Operator, &["main"]), order(), ""),
        (of(Operator, &[]), order(), ""),
        (of(Operator, &[]), vec![handover("h", "vi-1", "d1"), restart("r", "web1")], ""),
        (of(Operator, &[]), vec![labelled("rack")], ""),
        (
            of(Operator, &[]),
            vec![labelled("fulcrum.owner")],
            "RealServer web1 needs admin of site main",
        ),
        (of(Operator, &[]), server(), "VirtualServer more needs admin of site main"),
        (of(Admin, &["main"]), server(), ""),
        (of(Admin, &["west"]), server(), "VirtualServer more needs admin of site main"),
        // Another site's real server cannot be taken into a pool,
        (of(Admin, &["main"]), vec![with_far.clone()], "Pool tomcats needs admin of site west"),
        (of(Admin, &["main", "west"]), vec![with_far], ""),
        // nor be moved from one site into another.
        (
            of(Admin, &["main"]),
            vec![real_server("far1", "192.168.2.138", 80)],
            "RealServer far1 needs admin of site west",
        ),
        // What belongs to no site is of all.
        (
            of(Admin, &["main"]),
            vec![pool("empty", &[])],
            "Pool empty needs admin of all sites, for it belongs to none",
        ),
        (of(Admin, &["main", "west"]), vec![site("north")], "Site north needs admin of site north"),
        (
            of(Admin, &["main"]),
            vec![rule("more", &["anna"], Admin, &[])],
            "AccessRule more needs admin of all sites, for it belongs to none",
        ),
        (
            of(Admin, &["main"]),
            vec![token("t")],
            "JoinToken t needs admin of all sites, for it belongs to none",
        ),
        (
            of(Admin, &["main"]),
            vec![policy("p", &["main"])],
            "NotificationPolicy p needs admin of all sites, for it belongs to none",
        ),
        (vec![rule("all", &["*"], Admin, &[])], vec![token("t"), site("north")], ""),
        (of(Admin, &[]), none(), ""),
    ];
    for (rules, put, expected) in cases {
        assert_eq!(told(&rules, &put, &[]), expected, "{rules:?} {put:?}");
    }
    let gone = [(Kind::RealServer, "far1")];
    assert_eq!(told(&of(Admin, &["west"]), &[], &gone), "");
    assert_eq!(told(&of(Admin, &["main"]), &[], &gone), "RealServer far1 needs admin of site west");
    // Two rules together.
    let both = [rule("a", &["anna"], Operator, &["main"]), rule("b", &["anna"], Admin, &["west"])];
    assert_eq!(told(&both, &[drain("order", "web1", None)], &gone), "");
    assert_eq!(told(&both, &server(), &[]), "VirtualServer more needs admin of site main");
}

#[test]
fn grants_are_told_in_words() {
    let rules = [
        rule("a", &["anna", "bo"], AccessRole::Operator, &["main", "west"]),
        rule("b", &["*"], AccessRole::Viewer, &[]),
    ];
    let resources: Resources = rules.into_iter().map(|it| (it.key(), it)).collect();
    let told = |operator: &str, resources: &Resources| {
        Grants::of(operator, resources, &["root".to_owned()]).to_string()
    };
    assert_eq!(told("anna", &resources), "operator of main and west, viewer");
    assert_eq!(told("carl", &resources), "viewer");
    assert_eq!(told("root", &resources), "admin, viewer");
    assert_eq!(told("carl", &Resources::new()), "nothing");
}

#[test]
fn a_virtual_server_is_of_the_sites_of_its_instance_and_pool() {
    let resources: Resources = two_sites().into_iter().map(|it| (it.key(), it)).collect();
    let otherwise = BTreeMap::from([{
        let pool = pool("tomcats", &["far1"]);
        (pool.key(), Some(pool))
    }]);
    let lookup = Lookup { resources: &resources, otherwise: &otherwise };
    let sites = sites_of(&virtual_server("web", VIP, 80), &lookup);
    assert_eq!(sites, BTreeSet::from([name("main"), name("west")]));
}

#[test]
fn access_stays_when_the_rest_is_pruned_or_brought_back() {
    let mine = rule("mine", &["anna"], AccessRole::Admin, &[]);
    let mut owned = rule("owned", &["bo"], AccessRole::Viewer, &[]);
    owned.labels.insert(crate::OWNER_LABEL.to_owned(), "pipeline".to_owned());
    let mut set = seed();
    set.extend([mine.clone(), owned.clone(), token("t")]);
    let now = intent(set);
    let gone = |owner: Option<&str>| {
        let removal = Removal { owner: owner.map(ToOwned::to_owned), ..Removal::unlisted() };
        let prepared = prepare(&now, indexed(seed()), &removal, true).expect("valid");
        prepared.delete.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(gone(None), Vec::<String>::new());
    assert_eq!(gone(Some("pipeline")), ["AccessRule owned"]);
    // Before there were rules, and with one that is gone and a token that was used since.
    let other = rule("other", &["eve"], AccessRole::Admin, &[]);
    let mut then = seed();
    then.extend([other, token("used")]);
    let then: Resources = then.into_iter().map(|it| (it.key(), it)).collect();
    let (set, removal) = restore(&now, &then);
    assert_eq!((set, removal.named), (Vec::new(), BTreeSet::new()));
    // What nobody confirmed is undone, rules too; but a token is not good twice.
    let used = token("used");
    let before: Resources = [used.clone(), mine.clone()].map(|it| (it.key(), it)).into();
    let (added, touched) = (owned.key(), [used.key(), mine.key(), owned.key()].into());
    let undo = undo_of(&before, &touched, &[used.key(), mine.key()].into());
    assert_eq!(undo.iter().filter(|it| it.action == ChangeAction::Delete).count(), 2);
    assert_eq!(revert(&undo), (vec![mine], vec![added]));
}

#[test]
fn a_rule_names_sites_that_exist() {
    let far = rule("far", &["anna"], AccessRole::Viewer, &["mian"]);
    assert_eq!(
        rejections(&intent(seed()), vec![far], &Removal::default()),
        [
            "resources[0].spec.sites[0]: \"mian\": there is no Site of this name; did you mean \"main\"?"
        ]
    );
}
