//! How weights follow load, both ways.

use fulcrum_model::DynamicWeights;

use super::duration::duration_to_wire;
use super::fields::{DurationRule, Fields};
use crate::v1;

/// `Some(None)` when they do not.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
pub(super) fn read(
    fields: &mut Fields<'_>,
    wire: Option<&v1::DynamicWeights>,
) -> Option<Option<DynamicWeights>> {
    let Some(wire) = wire else { return Some(None) };
    let mut fields = fields.within("dynamic_weights");
    let default = DynamicWeights::default();
    let floor = match wire.floor_percent {
        0 => Some(default.floor_percent),
        floor => percent(&mut fields, "floor_percent", floor, DynamicWeights::MAX_FLOOR_PERCENT),
    };
    let target = match wire.target_percent {
        None => Some(default.target_percent),
        Some(target) => {
            percent(&mut fields, "target_percent", target, DynamicWeights::MAX_TARGET_PERCENT)
        }
    };
    let rule = DurationRule {
        default: Some(default.smoothing),
        min: DynamicWeights::MIN_SMOOTHING,
        max: DynamicWeights::MAX_SMOOTHING,
    };
    let smoothing = fields.duration("smoothing", wire.smoothing.as_ref(), &rule);
    Some(Some(DynamicWeights {
        floor_percent: floor?,
        target_percent: target?,
        smoothing: smoothing?,
    }))
}

pub(super) fn to_wire(law: DynamicWeights) -> v1::DynamicWeights {
    v1::DynamicWeights {
        floor_percent: law.floor_percent.into(),
        target_percent: Some(law.target_percent.into()),
        smoothing: Some(duration_to_wire(law.smoothing)),
    }
}

fn percent(fields: &mut Fields<'_>, field: &str, found: u32, most: u8) -> Option<u8> {
    let fits = u8::try_from(found).ok().filter(|percent| *percent <= most);
    fields.accept(field, fits, found, &format!("a share in percent, at most {most}"))
}
