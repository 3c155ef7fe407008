//! Base-2 exponential histograms and estimates of the values in them. Pure.
//!
//! A bucket of index `i` at scale `s` counts values in `(base^i, base^(i+1)]`, with `base = 2^(2^-s)`. Joining
//! neighbours gives the next coarser scale and moves no value across a border. So histograms of different scales are
//! merged without an error of their own:
//! <https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram>.

use super::Estimate;

/// The most buckets of one sign. If there are more, neighbours are joined. OpenTelemetry's exporters keep 160.
const MOST_BUCKETS: usize = 2048;

/// Consecutive buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    /// The index of the first bucket.
    pub offset: i32,
    /// The number of values in each bucket.
    pub counts: Vec<u64>,
}

impl Buckets {
    /// The index after the last bucket.
    fn end(&self) -> i64 {
        i64::from(self.offset) + i64::try_from(self.counts.len()).unwrap_or(i64::MAX)
    }

    /// Joins neighbours, this many times.
    fn coarser(&self, steps: u32) -> Self {
        if steps == 0 || self.counts.is_empty() {
            return self.clone();
        }
        // After a shift by 31, an index is 0 or -1 and does not change any more.
        let steps = steps.min(31);
        let offset = self.offset >> steps;
        let last = (self.end() - 1) >> steps;
        let length = usize::try_from(last - i64::from(offset) + 1).unwrap_or(0);
        let mut counts = vec![0_u64; length];
        for (at, count) in (i64::from(self.offset)..).zip(&self.counts) {
            let to = usize::try_from((at >> steps) - i64::from(offset)).unwrap_or(0);
            if let Some(sum) = counts.get_mut(to) {
                *sum = sum.saturating_add(*count);
            }
        }
        Self { offset, counts }
    }

    /// The number of buckets that both together span.
    fn span(&self, other: &Self) -> usize {
        match (self.counts.is_empty(), other.counts.is_empty()) {
            (_, true) => self.counts.len(),
            (true, false) => other.counts.len(),
            (false, false) => {
                let first = self.offset.min(other.offset);
                let end = self.end().max(other.end());
                usize::try_from(end - i64::from(first)).unwrap_or(usize::MAX)
            }
        }
    }

    /// Adds buckets of the same scale.
    fn add(&mut self, other: &Self) {
        if other.counts.is_empty() {
            return;
        }
        if self.counts.is_empty() {
            self.clone_from(other);
            return;
        }
        let span = self.span(other);
        if other.offset < self.offset {
            let more = self.offset.abs_diff(other.offset) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
            self.offset = other.offset;
        }
        self.counts.resize(span, 0);
        let from = other.offset.abs_diff(self.offset) as usize;
        for (sum, count) in self.counts.iter_mut().skip(from).zip(&other.counts) {
            *sum = sum.saturating_add(*count);
        }
    }

    /// Subtracts the buckets of an earlier state, which has the same scale.
    fn take(&mut self, earlier: &Self) {
        for (at, count) in (i64::from(earlier.offset)..).zip(&earlier.counts) {
            let here = usize::try_from(at - i64::from(self.offset)).ok();
            if let Some(rest) = here.and_then(|here| self.counts.get_mut(here)) {
                *rest = rest.saturating_sub(*count);
            }
        }
    }
}

/// Whether the buckets contain as many values as `count` says.
pub fn adds_up(buckets: [&[u64]; 2], zeros: u64, count: u64) -> bool {
    let counts = buckets.into_iter().flatten();
    counts.fold(zeros, |sum, count| sum.saturating_add(*count)) == count
}

/// A set of values, known by its buckets, count, sum and extremes.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The scale of the buckets.
    pub scale: i32,
    /// The number of values that are zero, or no larger than [`Histogram::zero_threshold`].
    pub zeros: u64,
    /// The magnitude up to which a value counts as zero.
    pub zero_threshold: f64,
    /// The buckets of the values above zero.
    pub positive: Buckets,
    /// The buckets of the values below zero, by magnitude.
    pub negative: Buckets,
    /// The number of values.
    pub count: u64,
    /// The sum of all values.
    pub sum: f64,
    /// The smallest value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            scale: 20,
            zeros: 0,
            zero_threshold: 0.0,
            positive: Buckets::default(),
            negative: Buckets::default(),
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl Histogram {
    fn at_scale(&mut self, scale: i32) {
        if let Ok(steps @ 1..) = u32::try_from(self.scale.saturating_sub(scale)) {
            self.positive = self.positive.coarser(steps);
            self.negative = self.negative.coarser(steps);
            self.scale = scale;
        }
    }

    /// Adds the values of another histogram.
    pub fn add(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.scale == other.scale {
            let widest = self
                .positive
                .span(&other.positive)
                .max(self.negative.span(&other.negative));
            if widest <= MOST_BUCKETS {
                self.add_buckets(&other.positive, &other.negative);
                self.add_rest(other);
                return;
            }
        }
        let mut scale = self.scale.min(other.scale);
        let mut theirs = (other.positive.coarser(0), other.negative.coarser(0));
        let mut steps = other.scale.saturating_sub(scale);
        self.at_scale(scale);
        loop {
            let by = u32::try_from(steps).unwrap_or(0);
            theirs = (theirs.0.coarser(by), theirs.1.coarser(by));
            let widest = self.positive.span(&theirs.0).max(self.negative.span(&theirs.1));
            if widest <= MOST_BUCKETS {
                break;
            }
            steps = 1;
            scale -= 1;
            self.at_scale(scale);
        }
        self.add_buckets(&theirs.0, &theirs.1);
        self.add_rest(other);
    }

    /// Adds buckets of the same scale.
    fn add_buckets(&mut self, positive: &Buckets, negative: &Buckets) {
        self.positive.add(positive);
        self.negative.add(negative);
    }

    /// Adds everything but the buckets.
    fn add_rest(&mut self, other: &Self) {
        self.zeros = self.zeros.saturating_add(other.zeros);
        self.zero_threshold = self.zero_threshold.max(other.zero_threshold);
        self.count = self.count.saturating_add(other.count);
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The values that were added after an earlier state. Their extremes are known only as far as the buckets tell.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut rest = self.clone();
        let mut earlier = earlier.clone();
        rest.at_scale(earlier.scale.min(self.scale));
        earlier.at_scale(rest.scale);
        rest.positive.take(&earlier.positive);
        rest.negative.take(&earlier.negative);
        rest.zeros = rest.zeros.saturating_sub(earlier.zeros);
        rest.count = rest.count.saturating_sub(earlier.count);
        rest.sum -= earlier.sum;
        let (least, most) = rest.span();
        rest.min = rest.min.max(least);
        rest.max = rest.max.min(most);
        rest
    }

    /// The bounds of all values, by the buckets and the extremes.
    fn span(&self) -> (f64, f64) {
        let filled = |buckets: &Buckets| {
            let first = buckets.counts.iter().position(|count| *count > 0)?;
            let last = buckets.counts.iter().rposition(|count| *count > 0)?;
            let offset = f64::from(buckets.offset);
            Some((
                self.border(offset + first as f64),
                self.border(offset + last as f64 + 1.0),
            ))
        };
        let (negative, positive) = (filled(&self.negative), filled(&self.positive));
        let zero = (self.zeros > 0).then_some(self.zero_threshold);
        let least = negative.map(|(_, most)| -most).or(zero.map(|zero| -zero));
        let most = positive.map(|(_, most)| most).or(zero);
        (
            least
                .or(positive.map(|(least, _)| least))
                .unwrap_or(f64::INFINITY),
            most.or(negative.map(|(least, _)| -least))
                .unwrap_or(f64::NEG_INFINITY),
        )
    }

    fn border(&self, index: f64) -> f64 {
        (index * (-f64::from(self.scale)).exp2()).exp2()
    }

    /// The mean, or 0 if there are no values.
    pub fn mean(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum / self.count as f64
        }
    }

    /// A quantile, by linear interpolation between the closest ranks (R-7, as in k6), with its bounds. None if there
    /// are no values or `q` is not between 0 and 1.
    pub fn quantile(&self, q: f64) -> Option<Estimate> {
        if self.count == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let position = q * (self.count - 1) as f64;
        let below = position.floor();
        let part = position - below;
        let rank = below as u64;
        let lower = self.ranked(rank);
        if part == 0.0 {
            return Some(lower);
        }
        let upper = self.ranked(rank + 1);
        let between = |lower: f64, upper: f64| lower + part * (upper - lower);
        Some(Estimate {
            value: between(lower.value, upper.value),
            low: between(lower.low, upper.low),
            high: between(lower.high, upper.high),
        })
    }

    /// An estimate of the value at this rank, counted from 0.
    fn ranked(&self, rank: u64) -> Estimate {
        if rank == 0 {
            return Estimate::exact(self.min);
        }
        if rank >= self.count - 1 {
            return Estimate::exact(self.max);
        }
        let mut before = 0_u64;
        let negative = (i64::from(self.negative.offset)..).zip(&self.negative.counts);
        for (index, count) in negative.collect::<Vec<_>>().into_iter().rev() {
            if rank < before.saturating_add(*count) {
                // Ranks are counted from 0.
                let last = before.saturating_add(*count) - 1;
                let magnitude = self.within(index, *count, last - rank);
                return self.clamped(-magnitude.value, -magnitude.high, -magnitude.low);
            }
            before = before.saturating_add(*count);
        }
        if rank < before.saturating_add(self.zeros) {
            return self.clamped(0.0, -self.zero_threshold, self.zero_threshold);
        }
        before = before.saturating_add(self.zeros);
        for (index, count) in (i64::from(self.positive.offset)..).zip(&self.positive.counts) {
            if rank < before.saturating_add(*count) {
                let found = self.within(index, *count, rank - before);
                return self.clamped(found.value, found.low, found.high);
            }
            before = before.saturating_add(*count);
        }
        Estimate::exact(self.max)
    }

    /// An estimate of the `nth` value in a bucket, as if the values were spread evenly on its logarithmic scale.
    fn within(&self, index: i64, count: u64, nth: u64) -> Estimate {
        let index = index as f64;
        Estimate {
            value: self.border(index + (nth as f64 + 0.5) / count as f64),
            low: self.border(index),
            high: self.border(index + 1.0),
        }
    }

    fn clamped(&self, value: f64, low: f64, high: f64) -> Estimate {
        let clamp = |x: f64| x.max(self.min).min(self.max);
        Estimate {
            value: clamp(value),
            low: clamp(low),
            high: clamp(high),
        }
    }
}
