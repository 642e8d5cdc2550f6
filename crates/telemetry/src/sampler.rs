//! Which traces are recorded.

use crate::SpanContext;

/// Whether a trace is recorded: `OTEL_TRACES_SAMPLER`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampler {
    /// Whether a parent that has decided is followed.
    follows_parent: bool,
    /// The part of all traces that is recorded otherwise.
    ratio: f64,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { follows_parent: true, ratio: 1.0 }
    }
}

impl Sampler {
    /// The sampler `name` with the argument `ratio`; none for an unknown one.
    pub(crate) fn parse(name: &str, ratio: Option<f64>) -> Option<Self> {
        let (follows_parent, kind) = match name.strip_prefix("parentbased_") {
            Some(kind) => (true, kind),
            None => (false, name),
        };
        let ratio = match kind {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => ratio.unwrap_or(1.0),
            _ => return None,
        };
        Some(Self { follows_parent, ratio })
    }

    /// Whether the trace with this id is recorded. All who ask with the same ratio
    /// get the same answer for the same trace.
    pub(crate) fn samples(&self, trace_id: [u8; 16], parent: Option<&SpanContext>) -> bool {
        match parent {
            Some(parent) if self.follows_parent => parent.sampled,
            _ => {
                let random = u128::from_be_bytes(trace_id) as u64 >> 1;
                (random as f64) < self.ratio * (1_u64 << 63) as f64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sampler_of_the_specification_decides_as_it_says() {
        let id = u128::from(u64::MAX / 4).to_be_bytes();
        let parent = |sampled| SpanContext { sampled, ..SpanContext::child_of(None) };
        for (name, ratio, alone, with_sampled, with_unsampled) in [
            ("always_on", None, true, true, true),
            ("always_off", None, false, false, false),
            ("traceidratio", Some(0.5), true, true, true),
            ("traceidratio", Some(0.1), false, false, false),
            ("parentbased_always_on", None, true, true, false),
            ("parentbased_always_off", None, false, true, false),
            ("parentbased_traceidratio", Some(0.1), false, true, false),
            ("parentbased_traceidratio", Some(0.5), true, true, false),
        ] {
            let sampler = Sampler::parse(name, ratio).unwrap();
            let decided = [None, Some(parent(true)), Some(parent(false))]
                .map(|parent| sampler.samples(id, parent.as_ref()));
            assert_eq!(decided, [alone, with_sampled, with_unsampled], "{name} {ratio:?}");
        }
        assert_eq!(Sampler::parse("sometimes", None), None);
        assert_eq!(Sampler::parse("parentbased_always_on", None), Some(Sampler::default()));
    }
}
