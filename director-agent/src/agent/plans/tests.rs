//! What of a decision reaches the wanted table.

use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::plan::DrainPlan;

use super::*;
use crate::decide::fixtures::{name, virtual_server};

#[test]
fn one_that_leaves_is_out_of_the_table_with_its_allowance() {
    let grace = Duration::from_mins(1);
    let mut decider = Decider::default();
    let (mut table, mut allowances) = (Table::default(), Allowances::default());
    let mut shares = Shared::default();
    for grace in [Some(grace), None] {
        let mut plan = virtual_server("web", 1, &["web1", "web2"]);
        Arc::make_mut(&mut plan.destinations)[0].drain = Some(Box::new(DrainPlan {
            name: name("web1"),
            reason: String::new(),
            requested_by: String::new(),
            grace,
        }));
        let plan = Arc::new(plan);
        let (effect, _) =
            decider.change_plan(Duration::ZERO, &[Arc::clone(&plan)], &[], |_, _| None);
        put_weights(&mut table, &mut allowances, &mut shares, &decider, &effect.weights);
        let key = virtual_server_key(&plan.listen);
        let [drained, other] =
            [0, 1].map(|place| destination_key(&plan.listen, &plan.destinations[place]));
        assert_eq!(table.destination(&key, &drained).is_some(), grace.is_none());
        assert!(table.destination(&key, &other).is_some());
        assert_eq!(allowances.get(&key, &drained), grace);
        assert_eq!(allowances.get(&key, &other), None);
    }
}
