use proptest::prelude::*;

use super::*;

/// Of a Tomcat 10.1 on `OpenJDK` 17 with `-XX:+UseSerialGC`, cut at the end that its head tells; paths changed.
const CAPTURE: &[u8] = include_bytes!("../captures/jdk17-serial.hsperf");

fn collector(invocations: u64, nanos: u64) -> Collector {
    Collector { invocations, time: Duration::from_nanos(nanos) }
}

#[test]
fn a_real_file_is_read() {
    let expected = Counters {
        uptime: Some(Duration::from_nanos(139_451_814_413)),
        young: collector(81, 197_773_387),
        old: collector(1, 37_957_646),
        concurrent: Collector::default(),
        safepoints: 89,
        safepoint_time: Duration::from_nanos(262_560_702),
        live_threads: 15,
        old_used: 11_693_192,
        old_capacity: 22_413_312,
    };
    assert_eq!(parse(CAPTURE), Ok(expected));
    assert_eq!(expected.collections(), collector(82, 235_731_033));
}

/// A file in either byte order, with entries of a name and a value.
fn build(is_little: bool, entries: &[(&str, i64)]) -> Vec<u8> {
    let int = |value: usize| {
        let value = i32::try_from(value).unwrap();
        if is_little { value.to_le_bytes() } else { value.to_be_bytes() }
    };
    let mut file = MAGIC.to_vec();
    file.extend([u8::from(is_little), VERSION, 0, 1]);
    file.resize(24, 0);
    file.extend(int(HEAD));
    file.extend(int(entries.len()));
    for (name, value) in entries {
        let name_ends = ENTRY_HEAD + name.len() + 1;
        let value_at = name_ends.next_multiple_of(8);
        file.extend(int(value_at + 8));
        file.extend(int(ENTRY_HEAD));
        file.extend(int(0));
        file.extend([LONG, 0, 1, 1]);
        file.extend(int(value_at));
        file.extend(name.as_bytes());
        file.resize(file.len() + value_at - name_ends + 1, 0);
        file.extend(if is_little { value.to_le_bytes() } else { value.to_be_bytes() });
    }
    file
}

#[test]
fn both_byte_orders_and_any_unit() {
    let entries = [
        ("sun.os.hrt.frequency", 1000),
        ("sun.os.hrt.ticks", 2500),
        ("sun.gc.collector.2.time", 500),
        ("java.threads.live", -1),
        ("of.no.interest", 7),
    ];
    for is_little in [true, false] {
        let counters = parse(&build(is_little, &entries)).unwrap();
        assert_eq!(counters.uptime, Some(Duration::from_millis(2500)));
        assert_eq!(counters.concurrent.time, Duration::from_millis(500));
        assert_eq!(counters.live_threads, 0, "a negative count is none");
    }
}

#[test]
fn malformed_files_are_refused() {
    let whole = build(true, &[("sun.os.hrt.frequency", 1), ("sun.os.hrt.ticks", 1)]);
    assert!(parse(&whole).is_ok());
    let edited = |at: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        parse(&file).unwrap_err()
    };
    assert_eq!(parse(b""), Err(HsperfError::Magic));
    assert_eq!(parse(b"#!/bin/sh"), Err(HsperfError::Magic));
    assert_eq!(parse(&whole[..4]), Err(HsperfError::Cut(0)), "the head is cut");
    assert_eq!(parse(&whole[..HEAD + 10]), Err(HsperfError::Cut(0)));
    assert_eq!(parse(&whole[..whole.len() - 1]), Err(HsperfError::Cut(1)));
    assert_eq!(edited(5, &[3]), HsperfError::Version(3));
    assert_eq!(edited(7, &[0]), HsperfError::Unfinished);
    assert_eq!(edited(24, &(-1_i32).to_le_bytes()), HsperfError::Cut(0));
    assert_eq!(edited(24, &i32::MAX.to_le_bytes()), HsperfError::Cut(0));
    assert_eq!(edited(28, &i32::MAX.to_le_bytes()), HsperfError::Cut(2), "entries beyond the end");
    assert_eq!(edited(HEAD, &0_i32.to_le_bytes()), HsperfError::Cut(0), "an entry without length");
    assert_eq!(edited(HEAD + 4, &i32::MAX.to_le_bytes()), HsperfError::Cut(0), "its name");
    assert_eq!(edited(HEAD + 16, &i32::MAX.to_le_bytes()), HsperfError::Cut(0), "its value");
    assert_eq!(edited(HEAD + 12, b"B"), HsperfError::Unit, "a text where a number is due");
    assert_eq!(parse(&build(true, &[("sun.os.hrt.frequency", 0)])), Err(HsperfError::Unit));
}

#[test]
fn the_share_is_of_the_last_seconds() {
    let reading = |uptime_ms: u64, collections: u64, gc_ms: u64| Counters {
        uptime: Some(Duration::from_millis(uptime_ms)),
        old: Collector { invocations: collections, time: Duration::from_millis(gc_ms) },
        live_threads: 9,
        ..Counters::default()
    };
    let mut readings = Readings::default();
    let mut push = |uptime, collections, gc| {
        // Our own clock counts for nothing where the JVM has one.
        let pace = readings.push(Duration::ZERO, reading(uptime, collections, gc));
        let pause_ms = pace.pause_time.as_millis();
        (pace.gc_share_permille, pace.pauses, pause_ms, pace.ran)
    };
    assert_eq!(push(60_000, 5, 800), (0, 0, 0, false), "nothing to compare with");
    assert_eq!(push(60_500, 6, 1_050), (500, 1, 250, true));
    assert_eq!(push(60_500, 6, 1_050), (500, 0, 0, false), "it stands still");
    assert_eq!(push(61_000, 6, 1_050), (250, 0, 0, true));
    assert_eq!(push(70_000, 6, 1_050), (25, 0, 0, true), "of 10 s");
    assert_eq!(push(70_400, 6, 1_050), (0, 0, 0, true), "the first has left the window");
    assert_eq!(push(75_000, 6, 1_050), (0, 0, 0, true));
    assert_eq!(push(75_500, 9, 9_050), (1000, 3, 8_000, true), "told when it ended");
    assert_eq!(push(300, 1, 20), (0, 0, 0, false), "another JVM");
}

#[test]
fn readings_are_bounded() {
    let mut readings = Readings::default();
    for _ in 0..1000 {
        readings.push(Duration::ZERO, Counters::default());
    }
    assert_eq!(readings.kept.len(), MAX_READINGS);
}

#[test]
fn a_jvm_without_a_clock_goes_by_ours() {
    let reading = |invocations, gc_ms| Counters {
        old: Collector { invocations, time: Duration::from_millis(gc_ms) },
        ..Counters::default()
    };
    let mut readings = Readings::default();
    let mut push = |at_ms, collections, gc| {
        let pace = readings.push(Duration::from_millis(at_ms), reading(collections, gc));
        (pace.gc_share_permille, pace.pauses, pace.ran)
    };
    assert_eq!(push(500, 5, 800), (0, 0, false));
    assert_eq!(push(1_000, 6, 900), (200, 1, false), "that it ran is not proven");
    assert_eq!(push(1_500, 1, 20), (0, 0, false), "another JVM");
    assert_eq!(push(2_500, 2, 520), (500, 1, false));
}

/// Of JVMs of 96 MiB whose heap was filled until it threw `OutOfMemoryError`, and which went on to make small objects that they let go
/// at once; six seconds apart.
#[test]
fn real_jvms_with_a_full_heap_are_exhausted() {
    let captures: [(&str, [&[u8]; 2], bool); 2] = [
        (
            "JDK 17, G1",
            [
                include_bytes!("../captures/jdk17-g1-full-1.hsperf"),
                include_bytes!("../captures/jdk17-g1-full-2.hsperf"),
            ],
            true,
        ),
        (
            "JDK 25, parallel",
            [
                include_bytes!("../captures/jdk25-parallel-full-1.hsperf"),
                include_bytes!("../captures/jdk25-parallel-full-2.hsperf"),
            ],
            false,
        ),
    ];
    for (what, files, has_clock) in captures {
        let mut readings = Readings::default();
        let paces = files.iter().zip([0, 6]).map(|(file, at)| {
            let counters = parse(file).unwrap();
            assert_eq!(counters.uptime.is_some(), has_clock, "{what}");
            readings.push(Duration::from_secs(at), counters)
        });
        let paces: Vec<Pace> = paces.collect();
        assert!(!paces[0].is_exhausted, "{what}: nothing to compare with");
        assert!(paces[1].gc_share_permille > 900, "{what}: {}", paces[1].gc_share_permille);
        assert!(paces[1].is_exhausted, "{what}");
    }
}

/// For so many seconds: full collections a second, share of the time, and how full they leave the old generation; in thousandths.
type Turn = (u64, u64, u64, u64);

#[test]
fn a_heap_is_exhausted_when_full_collections_free_nothing() {
    /// A reading each half second.
    fn after(turns: &[Turn]) -> bool {
        let mut readings = Readings::default();
        let (mut at_ms, mut invocations, mut gc_ms, mut told) = (60_000, 10, 900, false);
        for (seconds, a_second, share_permille, old_permille) in turns {
            for _ in 0..seconds * 2 {
                at_ms += 500;
                invocations += a_second / 2;
                gc_ms += share_permille / 2;
                let counters = Counters {
                    uptime: Some(Duration::from_millis(at_ms)),
                    old: Collector { invocations, time: Duration::from_millis(gc_ms) },
                    old_used: *old_permille,
                    old_capacity: 1000,
                    ..Counters::default()
                };
                told = readings.push(Duration::ZERO, counters).is_exhausted;
            }
        }
        told
    }
    let cases: [(&str, &[Turn], bool); 10] = [
        ("full, and at it all the time", &[(6, 4, 950, 995)], true),
        ("not long enough to tell", &[(5, 4, 950, 995)], false),
        ("full collections free some", &[(30, 4, 950, 970)], false),
        ("full, and quiet", &[(30, 0, 0, 999)], false),
        ("full, and the program gets to its work", &[(30, 4, 700, 995)], false),
        ("collections of the young generation alone", &[(30, 0, 950, 995)], false),
        ("it was quiet before", &[(60, 0, 10, 500), (10, 4, 950, 995)], true),
        ("one that is a little better stays", &[(10, 4, 950, 995), (10, 4, 600, 960)], true),
        ("freed at once", &[(10, 4, 950, 995), (1, 4, 950, 400)], false),
        ("at its work again", &[(10, 4, 950, 995), (10, 2, 300, 990)], false),
    ];
    for (what, turns, expected) in cases {
        assert_eq!(after(turns), expected, "{what}");
    }
    let untold = Counters { old_used: 9, old_capacity: 0, ..Counters::default() };
    assert_eq!(untold.old_permille(), 0, "a JVM without generations");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = parse(&bytes);
        let mut file = MAGIC.to_vec();
        file.extend([LITTLE_ENDIAN, VERSION, 0, 1]);
        file.extend(&bytes);
        let _ = parse(&file);
    }

    #[test]
    fn no_damage_panics(edits in proptest::collection::vec((0..CAPTURE.len(), any::<u8>()), 1..40)) {
        let mut file = CAPTURE.to_vec();
        for (at, byte) in edits {
            file[at] = byte;
        }
        if let Ok(counters) = parse(&file) {
            let mut readings = Readings::default();
            readings.push(Duration::ZERO, counters);
            readings.push(Duration::ZERO, parse(CAPTURE).unwrap_or_default());
        }
    }
}
