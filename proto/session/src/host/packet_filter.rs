//! Which rules of nftables drop what connection tracking takes for invalid, read from `nft -j list ruleset`
//! (libnftables-json(5)).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::facts::InvalidDrop;

/// The connection state.
const INVALID: &str = "invalid";

/// Family, table, chain.
type Chain = (String, String, String);

/// The rules that drop packets of state invalid, in chains that packets reach, ordered.
///
/// # Errors
/// The text is not what nft prints.
pub fn invalid_drops(json: &str) -> Result<Vec<InvalidDrop>, serde_json::Error> {
    let ruleset: Value = serde_json::from_str(json)?;
    let mut hooks: BTreeMap<Chain, BTreeSet<&str>> = BTreeMap::new();
    let mut rules: Vec<(Chain, &[Value])> = Vec::new();
    for object in ruleset["nftables"].as_array().into_iter().flatten() {
        if let Some(hook) = object["chain"]["hook"].as_str()
            && let Some(chain) = chain_of(&object["chain"], "name")
        {
            hooks.entry(chain).or_default().insert(hook);
        }
        if let Some(chain) = chain_of(&object["rule"], "chain")
            && let Some(statements) = object["rule"]["expr"].as_array()
        {
            rules.push((chain, statements));
        }
    }
    spread(&mut hooks, &rules);
    let mut drops = BTreeSet::new();
    for (chain, statements) in &rules {
        if !drops_invalid(statements) {
            continue;
        }
        let (family, table, name) = chain;
        drops.extend(hooks.get(chain).into_iter().flatten().map(|hook| InvalidDrop {
            chain: format!("{family} {table} {name}"),
            hook: (*hook).to_owned(),
            interfaces: incoming(statements),
        }));
    }
    Ok(drops.into_iter().collect())
}

fn chain_of(object: &Value, name: &str) -> Option<Chain> {
    let text = |key: &str| object[key].as_str().map(str::to_owned);
    Some((text("family")?, text("table")?, text(name)?))
}

/// Chains are reached from the hooks of those that jump to them. Each round reaches further by one jump, and the kernel
/// allows 16 (`NFT_JUMP_STACK_SIZE`).
fn spread<'a>(hooks: &mut BTreeMap<Chain, BTreeSet<&'a str>>, rules: &[(Chain, &'a [Value])]) {
    for _ in 0..16 {
        let mut has_changed = false;
        for ((family, table, chain), statements) in rules {
            let from = hooks.get(&(family.clone(), table.clone(), chain.clone())).cloned();
            let Some(from) = from else { continue };
            for target in statements.iter().flat_map(targets) {
                let reached =
                    hooks.entry((family.clone(), table.clone(), target.to_owned())).or_default();
                let before = reached.len();
                reached.extend(&from);
                has_changed |= reached.len() > before;
            }
        }
        if !has_changed {
            return;
        }
    }
}

/// Chains that a statement goes to, by itself or through a map of verdicts.
fn targets(statement: &Value) -> Vec<&str> {
    let of = |verdict| ["jump", "goto"].into_iter().filter_map(move |word| target(word, verdict));
    of(statement).chain(verdicts(statement).flat_map(|(_, verdict)| of(verdict))).collect()
}

fn target<'a>(word: &str, verdict: &'a Value) -> Option<&'a str> {
    verdict.get(word)?.get("target")?.as_str()
}

/// Keys and verdicts of a map that stands in the rule itself.
fn verdicts(statement: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let pairs = statement["vmap"]["data"]["set"].as_array().into_iter().flatten();
    pairs.filter_map(|pair| Some((pair.get(0)?, pair.get(1)?)))
}

fn drops_invalid(statements: &[Value]) -> bool {
    let is_drop =
        |verdict: &Value| verdict.get("drop").is_some() || verdict.get("reject").is_some();
    let by_match = statements.iter().any(|statement| is_state_match(&statement["match"]))
        && statements.iter().any(is_drop);
    let by_map = statements.iter().any(|statement| {
        is_state(&statement["vmap"]["key"])
            && verdicts(statement)
                .any(|(key, verdict)| names(key).contains(INVALID) && is_drop(verdict))
    });
    by_match || by_map
}

fn is_state(expression: &Value) -> bool {
    expression["ct"]["key"] == "state"
}

/// `ct state invalid`, alone or among others, or any but others.
fn is_state_match(condition: &Value) -> bool {
    let names = names(&condition["right"]);
    let holds = match condition["op"].as_str() {
        Some("!=") => !names.contains(INVALID),
        Some(_) | None => names.contains(INVALID),
    };
    is_state(&condition["left"]) && holds
}

/// The interfaces that a rule names for packets that come in; none where it names none.
fn incoming(statements: &[Value]) -> Option<BTreeSet<String>> {
    statements.iter().find_map(|statement| {
        let condition = &statement["match"];
        let key = condition["left"]["meta"]["key"].as_str();
        let is_incoming = matches!(key, Some("iifname" | "iif")) && condition["op"] != "!=";
        is_incoming.then(|| names(&condition["right"]).into_iter().map(str::to_owned).collect())
    })
}

/// The words of a value, of a list, of a set.
fn names(value: &Value) -> BTreeSet<&str> {
    match value {
        Value::String(word) => [word.as_str()].into(),
        Value::Array(values) => values.iter().flat_map(names).collect(),
        Value::Object(entries) => entries.values().flat_map(names).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => BTreeSet::new(),
    }
}
