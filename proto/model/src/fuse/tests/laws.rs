//! What holds for every pool.

use proptest::prelude::*;

use super::*;

fn any_server() -> impl Strategy<Value = Server> {
    let probe = prop::sample::select(vec![P::Pending, P::Pass, P::Pass, P::Fail]);
    let verdict = prop::sample::select(vec![
        None,
        Some(V::Up),
        Some(V::Saturated),
        Some(V::Draining),
        Some(V::Stopping),
        Some(V::Down),
        Some(V::Unknown),
    ]);
    let history = prop::option::of(0_u64..10).prop_map(|current| {
        current.map(|current| History::adopted(weight(current))).unwrap_or_default()
    });
    let grace = prop::option::of((0_u64..100).prop_map(Duration::from_secs));
    let drain = prop::option::weighted(0.3, grace);
    let path = prop::sample::select(vec![
        PathProbe::NotAsked,
        PathProbe::Untried,
        PathProbe::Passing,
        PathProbe::Passing,
        PathProbe::Failing("timed out".to_owned()),
    ]);
    let drains = (drain, prop::bool::weighted(0.2));
    (0_u64..20, (probe, path), verdict, any::<bool>(), drains, history).prop_map(
        |(planned, (probe, path), verdict, proven, (drain, is_local), history)| {
            let planned = weight(planned);
            let server =
                Server { planned, probe, path, verdict, proven, history, ..Server::well() };
            let server = if is_local { server.drained_locally() } else { server };
            match drain {
                Some(grace) => server.drained(grace),
                None => server,
            }
        },
    )
}

fn any_world() -> impl Strategy<Value = World> {
    let quorum = (1_u32..40).prop_flat_map(|weight| (Just(weight), 0..weight));
    let slow_start = prop::option::of((1_u64..30).prop_map(Duration::from_secs));
    let servers = prop::collection::vec(any_server(), 0..5);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (servers, prop::option::of(any::<bool>()), quorum, slow_start, flags).prop_map(
        |(members, sorry, (weight, hysteresis), slow_start, (resets, asks_agents, was_met))| {
            World {
                requirement: if asks_agents {
                    AgentRequirement::Required
                } else {
                    AgentRequirement::None
                },
                sorry: sorry.map(|proven| Server {
                    planned: Weight::ONE,
                    proven,
                    ..Server::well()
                }),
                quorum: Quorum { weight, hysteresis },
                was_quorum_met: was_met,
                slow_start,
                on_failure: if resets { FailurePolicy::Reset } else { FailurePolicy::Keep },
                ..World::new(members)
            }
        },
    )
}

impl World {
    fn asks_agents(&self) -> bool {
        self.requirement == AgentRequirement::Required
    }

    fn is_safe(&self, server: &Server) -> bool {
        !self.asks_agents() || server.proven
    }

    /// The director sees it serve, and nobody ordered it out.
    fn serves(&self, server: &Server) -> bool {
        let is_ordered_out =
            self.asks_agents() && matches!(server.verdict, Some(V::Draining | V::Stopping));
        !server.is_drained()
            && matches!(server.probe, P::Pass)
            && self.is_safe(server)
            && !is_ordered_out
            && server.planned > Weight::ZERO
    }
}

fn has_weight(decision: &PoolDecision) -> bool {
    weights(decision).iter().any(|weight| *weight > 0)
}

proptest! {
    #[test]
    fn a_drained_one_never_has_weight(mut world in any_world(), seconds in prop::collection::vec(0_u64..60, 1..5)) {
        for second in seconds {
            let decision = world.fuse(Duration::from_secs(second));
            for (member, decision) in world.members.iter().zip(&decision.members) {
                prop_assert!(!member.is_drained() || decision.place.weight() == Weight::ZERO);
                prop_assert!(decision.place.weight() <= member.planned.max(weight(9)), "planned or the kernel's");
            }
        }
    }

    #[test]
    fn agents_alone_never_empty_a_pool_nor_lose_its_quorum(mut world in any_world()) {
        let mut silent = world.clone();
        for member in &mut silent.members {
            member.verdict = member.verdict.filter(|verdict| *verdict != V::Down);
        }
        let some_serve = world.members.iter().any(|member| world.serves(member));
        let (with_agents, without) = (world.fuse(Duration::ZERO), silent.fuse(Duration::ZERO));
        let probes_answer = world.members.iter().all(|member| !matches!(member.probe, P::Pending));
        if probes_answer {
            prop_assert_eq!(with_agents.quorum, without.quorum);
        }
        if some_serve && sorry_weight(&with_agents).is_none() {
            prop_assert!(has_weight(&with_agents));
        }
    }

    /// Law 14.
    #[test]
    fn paths_alone_never_empty_a_pool(mut world in any_world()) {
        let mut unasked = world.clone();
        unasked.members.iter_mut().for_each(|member| member.path = PathProbe::NotAsked);
        let without = unasked.fuse(Duration::ZERO);
        let with = world.fuse(Duration::ZERO);
        if has_weight(&without) {
            prop_assert!(has_weight(&with) || sorry_weight(&with).is_some());
        }
        let some_pass = world.members.iter().any(|member| member.path == PathProbe::Passing);
        if !some_pass {
            prop_assert_eq!(with.quorum, without.quorum, "nobody is taken out");
        }
        let pairs = weights(&without).into_iter().zip(weights(&with)).zip(&world.members);
        for ((before, after), member) in pairs {
            let is_kept = before <= after || some_pass || sorry_weight(&with).is_some();
            prop_assert!(is_kept, "no way passes, so none takes {member:?} out");
        }
    }

    #[test]
    fn with_a_sorry_server_somebody_serves(mut world in any_world()) {
        let Some(sorry) = world.sorry.clone() else { return Ok(()) };
        let all_heard = world.members.iter().all(|m| m.is_drained() || !matches!(m.probe, P::Pending));
        let is_safe = world.is_safe(&sorry);
        let decision = world.fuse(Duration::ZERO);
        let sorry_serves = sorry_weight(&decision).is_some();
        prop_assert!(!(sorry_serves && has_weight(&decision)), "it serves alone");
        prop_assert!(!sorry_serves || is_safe && !decision.quorum.is_met);
        if is_safe && all_heard {
            prop_assert!(sorry_serves || has_weight(&decision));
        }
    }

    #[test]
    fn a_quorum_does_not_flap(
        planned in prop::collection::vec(1_u64..20, 1..6),
        (quorum, hysteresis) in (1_u32..40).prop_flat_map(|weight| (Just(weight), 0..weight)),
        flips in prop::collection::vec(any::<prop::sample::Index>(), 1..60),
    ) {
        let servers = planned.iter().map(|planned| Server { planned: weight(*planned), ..Server::well() });
        let mut world = World::new(servers).with_quorum(quorum, hysteresis);
        let whole: u64 = planned.iter().sum();
        let (quorum, hysteresis) = (u64::from(quorum).min(whole), u64::from(hysteresis));
        let mut was_met = true;
        for flip in flips {
            let member = flip.get(&planned.iter().enumerate().map(|(place, _)| place).collect::<Vec<_>>()).to_owned();
            let probe = &mut world.members[member].probe;
            *probe = if matches!(probe, P::Pass) { P::Fail } else { P::Pass };
            let QuorumState { is_met, in_rotation, .. } = world.fuse(Duration::ZERO).quorum;
            match (was_met, is_met) {
                (true, false) => prop_assert!(in_rotation == 0 || in_rotation < quorum.saturating_sub(hysteresis)),
                (false, true) => prop_assert!(in_rotation >= (quorum + hysteresis).min(whole)),
                (true, true) => prop_assert!(in_rotation >= quorum.saturating_sub(hysteresis).max(1)),
                (false, false) => prop_assert!(in_rotation < (quorum + hysteresis).min(whole)),
            }
            was_met = is_met;
        }
    }

    #[test]
    fn slow_start_only_rises_to_what_is_planned(
        planned in 1_u64..=65_535,
        slow_start_ms in 1_u64..3_600_000,
        back_at_ms in 1_u64..10_000_000,
    ) {
        let ms = Duration::from_millis;
        let adopted = Server::from(&(P::Pass, Some(V::Up), true, Some(8)));
        let back = Server { planned: weight(planned), history: History::default(), ..adopted.clone() };
        let mut world = World { slow_start: Some(ms(slow_start_ms)), ..World::new([adopted, back]) };
        let mut look = Some(ms(back_at_ms));
        let mut seen = Vec::new();
        while let Some(now) = look {
            let decision = world.fuse(now);
            seen.push(weights(&decision)[1]);
            look = decision.next_look;
            prop_assert!(look.is_some() || now == ms(back_at_ms + slow_start_ms));
        }
        prop_assert!(seen.iter().all(|weight| *weight >= 1) && seen.is_sorted(), "{seen:?}");
        prop_assert_eq!(seen.last().copied().map(u64::from), Some(planned));
        seen.dedup();
        prop_assert!(seen.len() <= 10 + 1, "the first and ten edits: {seen:?}");
    }
}
