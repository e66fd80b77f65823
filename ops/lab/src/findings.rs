//! What a scenario found: its figures, and the bounds that it broke.

use serde_json::{Map, Value, json};

use crate::say;

/// Figures and breaches of one scenario. It passed when it ran to its end and broke no bound.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    figures: Vec<(String, f64)>,
    breaches: Vec<String>,
}

impl Findings {
    /// Keeps a figure; its unit is in its name.
    pub(crate) fn figure(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        say!("  figure {name} = {}", trim(value));
        self.figures.push((name, value));
    }

    /// A bound that must hold; when it does not, the scenario has not passed.
    pub(crate) fn require(&mut self, holds: bool, what: impl Into<String>) {
        let what = what.into();
        if holds {
            say!("  holds: {what}");
        } else {
            say!("  BROKEN: {what}");
            self.breaches.push(what);
        }
    }

    /// Requires `value <= most`.
    pub(crate) fn at_most(&mut self, what: &str, value: f64, most: f64) {
        self.require(value <= most, format!("{what} {} is at most {}", trim(value), trim(most)));
    }

    /// The figure of that name.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// All bounds held so far.
    pub(crate) fn holds(&self) -> bool {
        self.breaches.is_empty()
    }

    /// Why there is no more to find: the scenario could not go on.
    pub(crate) fn gave_up(&mut self, why: &anyhow::Error) {
        let why = format!("could not measure: {why:#}");
        say!("{why}");
        self.breaches.push(why);
    }

    /// The line that `--json` prints; what is broken is told only where something is.
    pub(crate) fn line(&self, scenario: &str) -> String {
        let figures: Map<String, Value> =
            self.figures.iter().map(|(name, value)| (name.clone(), number(*value))).collect();
        let mut line = json!({ "scenario": scenario, "passed": self.holds(), "figures": figures });
        if !self.holds() {
            line["broken"] = json!(self.breaches);
        }
        line.to_string()
    }
}

/// Whole numbers without a fraction, others with at most one digit of it, or three below 10.
fn number(value: f64) -> Value {
    let scale = if value.abs() < 10.0 { 1_000.0 } else { 10.0 };
    let rounded = (value * scale).round() / scale;
    if rounded.fract() == 0.0 && rounded.abs() < 1e15 {
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
        return Value::from(rounded as i64);
    }
    Value::from(rounded)
}

/// A number as people read it.
pub(crate) fn trim(value: f64) -> String {
    number(value).to_string()
}

/// The middle of the values, or the mean of the two in the middle; `None` of no values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.is_empty() {
        None
    } else if sorted.len() % 2 == 1 {
        Some(sorted[middle])
    } else {
        Some(f64::midpoint(sorted[middle - 1], sorted[middle]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        for (values, expected) in [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![9.0, 1.0], Some(5.0)),
            (vec![9.0, 1.0, 2.0], Some(2.0)),
        ] {
            assert_eq!(median(&values), expected, "{values:?}");
        }
    }

    #[test]
    fn the_line_has_the_agreed_form() {
        let mut findings = Findings::default();
        findings.figure("failed", 3.0);
        findings.figure("out_of_tables_ms", 41.26);
        findings.figure("two_owners_s", 0.0254);
        assert_eq!(
            findings.line("tomcat-crash"),
            r#"{"figures":{"failed":3,"out_of_tables_ms":41.3,"two_owners_s":0.025},"passed":true,"scenario":"tomcat-crash"}"#
        );
    }

    #[test]
    fn what_is_broken_is_in_the_line() {
        let mut findings = Findings::default();
        findings.at_most("failed", 3.0, 5.0);
        findings.at_most("lost", 1.0, 0.0);
        findings.gave_up(&anyhow::anyhow!("no answer").context("no page"));
        assert_eq!(
            findings.line("seed"),
            r#"{"broken":["lost 1 is at most 0","could not measure: no page: no answer"],"figures":{},"passed":false,"scenario":"seed"}"#
        );
    }
}
