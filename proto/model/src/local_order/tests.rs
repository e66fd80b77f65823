//! Tables of orders over time.

use super::*;

const M: fn(u64) -> Duration = Duration::from_mins;

/// So many minutes by the wall clock, and since boot.
fn at(wall: u64, up: u64) -> Moment {
    Moment { wall: SystemTime::UNIX_EPOCH + M(wall), up: M(up) }
}

fn wish(owner: &str, minutes: u64) -> LocalWish {
    LocalWish {
        owner: owner.to_owned(),
        reason: "tests".to_owned(),
        duration: M(minutes),
        force: false,
    }
}

fn release(owner: &str, force: bool) -> LocalRelease {
    LocalRelease { owner: owner.to_owned(), force }
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// Frozen by ann for 10 minutes and web1 drained by bob for 20, at minute 1000 by the wall clock and 5 since boot.
fn both() -> LocalOrders {
    let mut orders = LocalOrders::default();
    orders.drain(at(1000, 5), &name("web1"), &wish("bob", 20)).expect("nothing is in the way");
    orders.freeze(at(1000, 5), &wish("ann", 10)).expect("nothing is in the way");
    orders
}

#[test]
fn they_end_by_the_clock_that_says_so_first() {
    let cases = [
        ("at once", at(1000, 5), (true, true)),
        ("just before", at(1009, 14), (true, true)),
        ("the freeze is over", at(1010, 15), (false, true)),
        ("the wall clock was set forward", at(1015, 6), (false, true)),
        ("far forward", at(5000, 6), (false, false)),
        ("it was set back", at(10, 14), (true, true)),
        ("time since boot bounds it", at(10, 15), (false, true)),
        ("both are over", at(10, 25), (false, false)),
    ];
    for (what, now, expected) in cases {
        let mut orders = both();
        let ended = orders.expire(now);
        let found = (orders.frozen().is_some(), !orders.drains().is_empty());
        assert_eq!(found, expected, "{what}");
        let left = usize::from(found.0) + usize::from(found.1);
        assert_eq!(ended.len() + left, 2, "{what}: each is told once");
        assert!(ended.iter().all(|ended| ended.ending == Ending::Expired));
        assert_eq!(orders.is_empty(), expected == (false, false), "{what}");
    }
    let orders = both();
    assert_eq!(orders.next_expiry(at(1004, 9)), Some(M(6)));
    assert_eq!(orders.next_expiry(at(1, 14)), Some(M(1)), "set back");
    assert_eq!(LocalOrders::default().next_expiry(at(0, 0)), None);
}

#[test]
fn a_duration_has_its_bounds() {
    let mut orders = LocalOrders::default();
    for (asked, expected) in [(0, MIN_DURATION), (15, M(15)), (100_000, MAX_DURATION)] {
        let order = orders.freeze(at(1000, 5), &wish("ann", asked)).expect("her own");
        assert_eq!(order.expires_at, at(1000, 5).wall + expected);
        assert_eq!(order.up_until, M(5) + expected);
    }
}

#[test]
fn orders_survive_a_restart_and_drains_a_boot() {
    let cases = [
        ("a restart", true, at(1005, 10), (Some(M(5)), Some(M(15)))),
        ("a restart with the clock set back", true, at(10, 10), (Some(M(5)), Some(M(15)))),
        ("a restart after the freeze", true, at(1012, 17), (None, Some(M(8)))),
        ("a boot", false, at(1005, 0), (None, Some(M(15)))),
        ("a boot that took long", false, at(1030, 1), (None, None)),
        ("a boot without a clock", false, at(0, 1), (None, Some(M(20)))),
    ];
    for (what, is_same_boot, now, expected) in cases {
        let before = both();
        let (freeze, drains) = (before.freeze, before.drains);
        let (orders, ended) = LocalOrders::restored(freeze, drains, is_same_boot, now);
        let left = |order: &LocalOrder| order.remaining(now);
        let found = (orders.frozen().map(left), orders.drains().values().next().map(left));
        assert_eq!(found, expected, "{what}");
        let gone = usize::from(found.0.is_none()) + usize::from(found.1.is_none());
        assert_eq!(ended.len(), gone, "{what}: {ended:?}");
        for ended in ended {
            let is_rebooted = ended.real_server.is_none() && !is_same_boot;
            assert_eq!(ended.ending == Ending::Rebooted, is_rebooted, "{what}");
        }
    }
}

#[test]
fn a_file_that_says_too_much_is_bounded() {
    let mut before = both();
    before.freeze(at(1000, 5), &wish("ann", 10)).expect("her own");
    let freeze = before.freeze.map(|order| LocalOrder {
        up_until: Duration::MAX,
        expires_at: at(1_000_000, 0).wall,
        ..order
    });
    let (orders, _) = LocalOrders::restored(freeze, BTreeMap::new(), true, at(1000, 5));
    assert_eq!(orders.next_expiry(at(1000, 5)), Some(MAX_DURATION));
}

#[test]
fn an_order_is_its_owners() {
    let now = at(1001, 6);
    let forced = |wish| LocalWish { force: true, ..wish };
    let is_owned = |refusal: &LocalRefusal, by: &str| match refusal {
        LocalRefusal::Owned { order, .. } => order.owner == by,
        LocalRefusal::Frozen(_) | LocalRefusal::TooMany => false,
    };
    let mut orders = both();
    let refused = orders.freeze(now, &wish("bob", 5)).expect_err("it is ann's");
    assert!(is_owned(&refused, "ann"));
    assert_eq!(orders.freeze(now, &wish("ann", 5)).expect("hers").expires_at, at(1006, 0).wall);
    assert!(is_owned(&orders.thaw(&release("bob", false)).expect_err("it is ann's"), "ann"));
    assert_eq!(orders.freeze(now, &forced(wish("bob", 5))).expect("forced").owner, "bob");

    // Frozen: a drain would not reach the kernel, and no force lets it.
    let web2 = name("web2");
    let refused = orders.drain(now, &web2, &forced(wish("bob", 5))).expect_err("frozen");
    assert!(matches!(refused, LocalRefusal::Frozen(order) if order.owner == "bob"));
    assert_eq!(orders.thaw(&release("ann", true)).expect("forced").expect("one").owner, "bob");
    assert_eq!(orders.thaw(&release("ann", false)), Ok(None), "nothing to thaw");

    let web1 = name("web1");
    assert!(is_owned(&orders.drain(now, &web1, &wish("ann", 5)).expect_err("bob's"), "bob"));
    assert!(is_owned(&orders.undrain(&web1, &release("ann", false)).expect_err("bob's"), "bob"));
    assert_eq!(
        orders.undrain(&web1, &release("bob", false)).expect("his").expect("one").owner,
        "bob"
    );
    assert_eq!(orders.undrain(&web1, &release("bob", false)), Ok(None));
}

#[test]
fn drains_have_a_bound() {
    let mut orders = LocalOrders::default();
    let now = at(1000, 5);
    for number in 0..MOST_DRAINS {
        orders.drain(now, &name(&format!("web{number}")), &wish("ann", 5)).expect("there is room");
    }
    let refused = orders.drain(now, &name("one-more"), &wish("ann", 5));
    assert_eq!(refused, Err(LocalRefusal::TooMany));
    orders.drain(now, &name("web7"), &wish("ann", 6)).expect("a known one is renewed");
}
