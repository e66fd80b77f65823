//! Law 16: weights follow load.
//!
//! Each real server has a share of its planned weight: whole while at most the target of its threads is busy, and from there in
//! a straight line down to the floor when all are. Schedulers go by the ratio of weights alone, so the shares are taken
//! relative to the greatest of the pool: where all are as busy, all are whole, and the freest always is.
//!
//! ```text
//!   threads busy, and what slows it -> means over time -> share of its own -> relative to the freest -> steps of a tenth, now and then -> weight
//! ```

mod strain;

use std::cmp::Ordering;
use std::time::Duration;

use self::strain::Strain;
use super::settle::Settled;
use super::{PoolEvidence, earlier, standing};
use crate::{DynamicWeights, ServerEvidence, Verdict, Weight};

/// The whole of a weight, of a floor and of all threads, in thousandths.
pub const WHOLE: u16 = 1000;

/// Planned weights are times so much in the table, for of a weight of 1 there is no tenth.
const SCALE: u16 = 100;
/// Shares are multiples of this, or the floor.
const STEP: u16 = 100;
/// A share changes when it is off by so much: three quarters of a step, so that what lies between two steps does not chatter.
const HYSTERESIS: u16 = 75;
/// A share changes once in so long, and once more where that cannot wait. Longer than a change needs to show in what agents
/// tell.
pub const CHANGE_INTERVAL: Duration = Duration::from_secs(5);
/// A share that is to fall by so much does not wait.
const PLUNGE: u16 = 3 * STEP;
/// Where everyone is as busy as this for a while, nobody is freer than another, and nobody needs to be spared.
const ALL_FULL: u16 = 950;
/// The mean takes so many steps in its time constant. They lie on a grid, so that all real servers take theirs at once and to
/// look in between changes nothing.
const TICKS: u32 = 8;
/// A mean that is so near is there, in millionths.
const NEAR: u32 = 5_000;
const MILLION: u32 = 1_000_000;

/// What is remembered of a real server's load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoadHistory {
    /// Nothing: it was out of rotation, or its pool's weights do not follow load.
    #[default]
    None,
    /// The weight that the kernel held when the director started tells the share.
    Adopted,
    /// It was in rotation.
    Followed(Followed),
}

/// Of one in rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Followed {
    /// None until something was told.
    mean: Option<Mean>,
    /// Nothing is told any longer: the mean is the last that was.
    is_silent: bool,
    /// Share in force, in thousandths.
    share: u16,
    /// When it changed last.
    changed: Option<Duration>,
    /// When it fell last without waiting.
    hurried: Option<Duration>,
    basis: Basis,
}

/// What the share rests on, as it was when it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Basis {
    /// The kernel's table.
    Kernel,
    /// Nothing is told.
    Silence,
    /// The agent's verdict, without numbers.
    Verdict,
    /// So many threads were busy, of so many.
    Threads { busy: u32, all: u32, strain: Strain },
}

/// The means of what was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mean {
    /// Of threads busy.
    busy: Course,
    /// Of what its strain takes of the share.
    drag: Course,
    /// Ticks until which both have moved.
    tick: u128,
}

/// One mean, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Course {
    value: u32,
    /// What was told last: the mean moves towards it.
    told: u32,
}

/// What an agent tells of load.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// In millionths of all threads.
    busy: u32,
    threads: u32,
    is_full: bool,
    strain: Strain,
}

/// What the agent's evidence says of load; none when nothing. Whatever else tells how busy a server is belongs here.
fn told(agent: Option<&ServerEvidence>) -> Option<Told> {
    let evidence = agent?;
    let load = evidence.load.filter(|load| load.max_threads > 0);
    let threads = load.map_or(0, |load| load.max_threads);
    let is_full = evidence.verdict == Verdict::Saturated
        || load.is_some_and(|load| load.busy_threads >= load.max_threads);
    let strain = load.map_or_else(Strain::default, |load| Strain {
        gc_permille: load.gc_share_permille,
        request_us: u32::try_from(load.mean_request_us).unwrap_or(u32::MAX),
        usual_us: 0,
    });
    if is_full {
        return Some(Told { busy: MILLION, threads, is_full, strain });
    }
    let load = load?;
    let busy = u64::from(load.busy_threads) * u64::from(MILLION) / u64::from(load.max_threads);
    Some(Told { busy: u32::try_from(busy).unwrap_or(MILLION), threads, is_full, strain })
}

/// What the pool's planned weights are times in the table. One factor for all, so that their ratios stay.
fn scale(pool: &PoolEvidence<'_>) -> u16 {
    let greatest = pool.members.iter().map(|member| member.planned.get()).max().unwrap_or(0);
    u16::MAX.checked_div(greatest).unwrap_or(SCALE).clamp(1, SCALE)
}

/// Lowers the weights of those that are busier than others, and moves what is remembered on. Answers with when to look again.
pub(super) fn lower(
    now: Duration,
    pool: &PoolEvidence<'_>,
    members: &mut [Settled],
) -> Option<Duration> {
    let Some(law) = pool.dynamic_weights else {
        for member in members {
            member.load = LoadHistory::None;
        }
        return None;
    };
    let clock = Clock::of(now, law.smoothing);
    let scale = scale(pool);
    let heard = pool.members.iter().map(|member| standing::heard_agent(pool.requirement, member));
    let mut all_told: Vec<Option<Told>> = heard.map(told).collect();
    strain::compare(&mut all_told, |place| {
        members.get(place).is_some_and(|member| !member.is_held && member.weight > Weight::ZERO)
    });
    for ((candidate, member), told) in pool.members.iter().zip(&mut *members).zip(&all_told) {
        member.whole = times(member.whole, scale);
        if !member.is_held {
            member.weight = times(member.weight, scale);
            let weights = (candidate.history.weight, member.weight);
            member.load = member.load.heard(clock, law, *told, weights);
        }
    }
    let in_rotation = || members.iter().filter(|member| !member.is_held);
    let followed = || in_rotation().filter_map(|member| member.load.followed());
    let freest = followed().map(|followed| followed.own_share(law)).max().unwrap_or(WHOLE);
    let nobody_is_freer = followed().all(|followed| followed.busy() >= ALL_FULL);
    let mut next_look = None;
    for (member, told) in members.iter_mut().zip(all_told) {
        if member.is_held {
            continue;
        }
        if let LoadHistory::Followed(followed) = &mut member.load {
            let is_full = told.is_some_and(|told| told.is_full);
            let wish = followed.wish(law, freest);
            let look = followed.follow(clock, wish, Need { is_full, nobody_is_freer }, told);
            next_look = earlier(next_look, look);
            let followed = *followed;
            member.lower_to(followed);
        }
    }
    next_look
}

/// A weight in the table's scale.
fn times(weight: Weight, scale: u16) -> Weight {
    let scaled = u64::from(weight.get()) * u64::from(scale);
    Weight::new(scaled.min(u16::MAX.into())).unwrap_or(weight)
}

/// The share of one that is so busy, before it is compared with others. Both in thousandths.
fn own_share(law: DynamicWeights, busy: u16) -> u16 {
    let target = u32::from(law.target_percent) * 10;
    let floor = u32::from(floor(law));
    let whole = u32::from(WHOLE);
    let free = whole - u32::from(busy).clamp(target, whole);
    let share = floor + (whole - floor) * free / (whole - target).max(1);
    u16::try_from(share).unwrap_or(WHOLE)
}

fn floor(law: DynamicWeights) -> u16 {
    u16::from(law.floor_percent) * 10
}

/// Time in ticks of the mean.
#[derive(Clone, Copy)]
struct Clock {
    now: Duration,
    tick: Duration,
}

impl Clock {
    fn of(now: Duration, smoothing: Duration) -> Self {
        Self { now, tick: (smoothing / TICKS).max(Duration::from_millis(1)) }
    }

    fn ticks(self) -> u128 {
        self.now.as_nanos() / self.tick.as_nanos()
    }

    fn last_tick(self) -> Duration {
        self.time_of(self.ticks())
    }

    /// The first tick at or after that moment, and after now.
    fn look_at(self, moment: Duration) -> Duration {
        let next = |moment: Duration| moment.as_nanos() / self.tick.as_nanos() + 1;
        let at = moment.saturating_sub(Duration::from_nanos(1));
        self.time_of(next(at).max(next(self.now)))
    }

    fn time_of(self, tick: u128) -> Duration {
        let nanos = tick.saturating_mul(self.tick.as_nanos());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Mean {
    /// Moves on with what was told until now, and takes what is told from now on. Whatever has no thread left is full at once.
    fn moved(before: Option<Self>, clock: Clock, told: Told) -> Self {
        let (tick, drag) = (clock.ticks(), told.strain.drag());
        let begun = Self { busy: Course::at(told.busy), drag: Course::at(drag), tick };
        let mut mean = before.unwrap_or(begun);
        for _ in mean.tick..tick {
            if !mean.is_moving() {
                break;
            }
            (mean.busy, mean.drag) = (mean.busy.stepped(), mean.drag.stepped());
        }
        let busy = if told.is_full { MILLION } else { mean.busy.value };
        Self {
            busy: Course { value: busy, told: told.busy },
            drag: Course { told: drag, ..mean.drag },
            tick,
        }
    }

    fn is_moving(self) -> bool {
        self.busy.is_moving() || self.drag.is_moving()
    }
}

impl Course {
    fn at(told: u32) -> Self {
        Self { value: told, told }
    }

    /// After one tick.
    fn stepped(self) -> Self {
        let Self { value, told } = self;
        let off = value.abs_diff(told);
        let step = if off <= NEAR { off } else { off.div_ceil(TICKS) };
        Self { value: if told > value { value + step } else { value - step }, told }
    }

    fn is_moving(self) -> bool {
        self.value != self.told
    }
}

/// What makes a share hurry.
#[derive(Clone, Copy)]
struct Need {
    /// It has no thread left.
    is_full: bool,
    /// Nor has anybody else.
    nobody_is_freer: bool,
}

impl LoadHistory {
    /// Takes what is told. `before` is the weight in the table until now, `whole` what it would be without load.
    fn heard(
        self,
        clock: Clock,
        law: DynamicWeights,
        told: Option<Told>,
        (before, whole): (Option<Weight>, Weight),
    ) -> Self {
        if whole == Weight::ZERO {
            return Self::None;
        }
        let begins = Followed {
            mean: None,
            is_silent: true,
            share: WHOLE,
            changed: None,
            hurried: None,
            basis: Basis::Kernel,
        };
        let mut followed = match self {
            Self::None => begins,
            // It is given the time in which its agent is heard.
            Self::Adopted => {
                Followed { share: share_of(before, whole, law), changed: Some(clock.now), ..begins }
            }
            Self::Followed(followed) => followed,
        };
        followed.is_silent = told.is_none();
        if let Some(told) = told {
            followed.mean = Some(Mean::moved(followed.mean, clock, told));
        }
        Self::Followed(followed)
    }

    /// None when it is out of rotation.
    fn followed(self) -> Option<Followed> {
        match self {
            Self::None | Self::Adopted => None,
            Self::Followed(followed) => Some(followed),
        }
    }

    /// The share in force, in thousandths.
    pub fn share(self) -> u16 {
        match self {
            Self::None | Self::Adopted => WHOLE,
            Self::Followed(followed) => followed.share,
        }
    }
}

/// The share that a weight in the table is of. What is below the floor is no share: it was written before weights followed load.
fn share_of(known: Option<Weight>, whole: Weight, law: DynamicWeights) -> u16 {
    let known = known.map_or(0, |known| u32::from(known.get()));
    let share = (known * u32::from(WHOLE)).checked_div(whole.get().into()).unwrap_or(0);
    u16::try_from(share).ok().filter(|share| (floor(law)..WHOLE).contains(share)).unwrap_or(WHOLE)
}

impl Followed {
    /// How busy it is or was last, in thousandths: idle for all that was ever told.
    fn busy(self) -> u16 {
        self.mean.map_or(0, |mean| u16::try_from(mean.busy.value / 1000).unwrap_or(WHOLE))
    }

    /// Its share before it is compared with others, in thousandths.
    fn own_share(self, law: DynamicWeights) -> u16 {
        let by_threads = u64::from(own_share(law, self.busy()));
        let left = MILLION - self.mean.map_or(0, |mean| mean.drag.value.min(MILLION));
        let share = by_threads * u64::from(left) / u64::from(MILLION);
        u16::try_from(share).unwrap_or(WHOLE).max(floor(law))
    }

    /// The share it should have: whole when nothing is known, for an agent that is silent takes nothing away.
    fn wish(self, law: DynamicWeights, freest: u16) -> u16 {
        if self.is_silent {
            return WHOLE;
        }
        let own = u32::from(self.own_share(law));
        let relative = own * u32::from(WHOLE) / u32::from(freest.max(1));
        let relative = u16::try_from(relative).unwrap_or(WHOLE).min(WHOLE);
        // The ends are reached although no step leads there.
        if relative == WHOLE || relative <= floor(law) {
            return relative;
        }
        if self.share.abs_diff(relative) < HYSTERESIS {
            return self.share;
        }
        ((relative + STEP / 2) / STEP * STEP).max(floor(law))
    }

    /// Takes a step towards the wish, if it is time. Answers with when to look again.
    fn follow(
        &mut self,
        clock: Clock,
        wish: u16,
        need: Need,
        told: Option<Told>,
    ) -> Option<Duration> {
        let now = clock.now;
        let due = |last: Option<Duration>| last.map(|last| last + CHANGE_INTERVAL);
        // By the grid, so that to look in between changes nothing.
        let is_due = |last| due(last).is_none_or(|due| due <= clock.last_tick());
        let is_pressing = need.is_full || wish + PLUNGE <= self.share;
        let hurries = is_pressing && is_due(self.hurried);
        let next = match wish.cmp(&self.share) {
            Ordering::Equal => self.share,
            Ordering::Less if hurries => {
                self.hurried = Some(now);
                wish
            }
            Ordering::Less | Ordering::Greater if !is_due(self.changed) => self.share,
            Ordering::Less => wish,
            // Where what slows them differs, some are freer all the same.
            Ordering::Greater if need.nobody_is_freer && wish == WHOLE => wish,
            Ordering::Greater => wish.min((self.share / STEP + 1) * STEP),
        };
        if next != self.share {
            self.share = next;
            self.changed = Some(now);
            self.basis = Basis::of(self.mean, told);
        }
        let waits = (wish != next).then(|| clock.look_at(due(self.changed).unwrap_or(now)));
        let is_moving = !self.is_silent && self.mean.is_some_and(Mean::is_moving);
        let moves = is_moving.then(|| clock.look_at(now));
        earlier(waits, moves)
    }

    /// In words that change with the share alone.
    fn words(self, weight: Weight, whole: Weight) -> String {
        let why = match self.basis {
            Basis::Kernel => "load not known yet, and found so in the kernel's table".to_owned(),
            Basis::Silence => "no load is told any longer, and the weight rises".to_owned(),
            Basis::Verdict => "saturated".to_owned(),
            Basis::Threads { busy, all, strain } => {
                format!("{busy} of {all} threads busy{}", strain.words())
            }
        };
        format!("{why}: weight {weight} of {whole}")
    }
}

impl Basis {
    /// Threads by the mean, for that is what decides; pauses and the time of requests as told last, for those name the cause.
    fn of(mean: Option<Mean>, told: Option<Told>) -> Self {
        match (mean, told) {
            (Some(_), Some(Told { threads: 0, .. })) => Self::Verdict,
            (Some(mean), Some(Told { threads, strain, .. })) => {
                let busy = u64::from(mean.busy.value) * u64::from(threads) / u64::from(MILLION);
                Self::Threads { busy: u32::try_from(busy).unwrap_or(threads), all: threads, strain }
            }
            (None, _) | (_, None) => Self::Silence,
        }
    }
}

impl Settled {
    /// Lowers the weight to its share, and not to zero.
    fn lower_to(&mut self, followed: Followed) {
        let whole = self.weight;
        let share = u64::from(whole.get()) * u64::from(followed.share) / u64::from(WHOLE);
        self.weight = Weight::new(share.max(1)).unwrap_or(whole).min(whole);
        if followed.share < WHOLE {
            self.reasons.insert(0, followed.words(self.weight, whole));
        } else if followed.is_silent {
            self.reasons.push("no load is told: the weight is whole".to_owned());
        }
    }
}
