//! Reads exports of OTLP where they lie, without a copy of each text. Pure.
//!
//! Runners export each second, and most of an export are names and tags that have not changed. So they are compared in
//! place and nothing is allocated for them. Fields that nothing here needs are skipped.
//! <https://protobuf.dev/programming-guides/encoding/>
//! <https://github.com/open-telemetry/opentelemetry-proto/blob/v1.9.0/opentelemetry/proto/metrics/v1/metrics.proto>

use super::bounds::BUCKETS;
use super::histogram::{Buckets, Histogram};
use super::moment::UnixNanos;
use std::str::Utf8Error;
use std::sync::Arc;
use thiserror::Error;

/// Why an export can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// The message ends within a field.
    #[error("it ends within a field")]
    Truncated,
    /// A number has more bytes than it can have.
    #[error("a number is too long")]
    Number,
    /// A field has an encoding that its type does not have.
    #[error("field {0} is not of its type")]
    Type(u32),
    /// A text is not UTF-8.
    #[error("a text is not UTF-8: {0}")]
    Text(Utf8Error),
}

/// An export, with the metrics of all resources and scopes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Export<'a> {
    pub(super) metrics: Vec<Metric<'a>>,
    /// The tags of all points, one point after the other.
    attributes: Vec<Attribute<'a>>,
}

/// A metric with its points.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Metric<'a> {
    pub(super) name: &'a str,
    pub(super) unit: &'a str,
    pub(super) data: Option<Data>,
}

/// The points of a metric, by its type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Gauge(Vec<NumberPoint>),
    Sum {
        points: Vec<NumberPoint>,
        temporality: i32,
    },
    ExponentialHistogram {
        points: Vec<HistogramPoint>,
        temporality: i32,
    },
    /// k6 exports none of these.
    Histogram,
    Summary,
}

/// A tag of a point. Its text is empty where the value is no text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attribute<'a> {
    pub(super) key: &'a str,
    pub(super) text: &'a str,
}

/// Which tags of an export are those of a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    from: usize,
    to: usize,
}

/// A number of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Double(f64),
    Int(i64),
}

/// A point of a gauge or a sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct NumberPoint {
    pub(super) attributes: Attributes,
    pub(super) time: UnixNanos,
    pub(super) value: Option<Number>,
}

/// A point of an exponential histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct HistogramPoint {
    pub(super) attributes: Attributes,
    pub(super) time: UnixNanos,
    /// Of more buckets than are allowed, only the first are here, one more than that.
    pub(super) histogram: Arc<Histogram>,
}

impl<'a> Export<'a> {
    /// Reads an `ExportMetricsServiceRequest`.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut metrics = Vec::new();
        let mut attributes = Vec::new();
        each(bytes, |field, value| match field {
            1 => each(value.message(field)?, |field, value| match field {
                2 => each(value.message(field)?, |field, value| match field {
                    2 => {
                        metrics.push(Metric::decode(value.message(field)?, &mut attributes)?);
                        Ok(())
                    }
                    _ => Ok(()),
                }),
                _ => Ok(()),
            }),
            _ => Ok(()),
        })?;
        Ok(Self { metrics, attributes })
    }

    /// The tags of a point of this export.
    pub(super) fn attributes(&self, Attributes { from, to }: Attributes) -> &[Attribute<'a>] {
        self.attributes.get(from..to).unwrap_or_default()
    }
}

impl<'a> Metric<'a> {
    fn decode(bytes: &'a [u8], all: &mut Vec<Attribute<'a>>) -> Result<Self, WireError> {
        let mut metric = Self::default();
        each(bytes, |field, value| {
            match field {
                1 => metric.name = value.text(field)?,
                3 => metric.unit = value.text(field)?,
                5 => {
                    let (points, _) = points(value.message(field)?, |point| NumberPoint::decode(point, all))?;
                    metric.data = Some(Data::Gauge(points));
                }
                7 => {
                    let (points, temporality) =
                        points(value.message(field)?, |point| NumberPoint::decode(point, all))?;
                    metric.data = Some(Data::Sum { points, temporality });
                }
                9 => metric.data = Some(Data::Histogram),
                10 => {
                    let (points, temporality) =
                        points(value.message(field)?, |point| HistogramPoint::decode(point, all))?;
                    metric.data = Some(Data::ExponentialHistogram { points, temporality });
                }
                11 => metric.data = Some(Data::Summary),
                _ => {}
            }
            Ok(())
        })?;
        Ok(metric)
    }
}

/// The points of a metric, and its temporality.
fn points<'a, T>(
    bytes: &'a [u8],
    mut decode: impl FnMut(&'a [u8]) -> Result<T, WireError>,
) -> Result<(Vec<T>, i32), WireError> {
    let mut points = Vec::new();
    let mut temporality = 0;
    each(bytes, |field, value| {
        match field {
            1 => points.push(decode(value.message(field)?)?),
            // An enumeration is an int32.
            2 => temporality = value.varint(field)? as i32,
            _ => {}
        }
        Ok(())
    })?;
    Ok((points, temporality))
}

impl NumberPoint {
    fn decode<'a>(bytes: &'a [u8], all: &mut Vec<Attribute<'a>>) -> Result<Self, WireError> {
        let mut point = Self::default();
        let from = all.len();
        each(bytes, |field, value| {
            match field {
                3 => point.time = UnixNanos(value.fixed64(field)?),
                4 => point.value = Some(Number::Double(f64::from_bits(value.fixed64(field)?))),
                6 => point.value = Some(Number::Int(value.fixed64(field)?.cast_signed())),
                7 => all.push(Attribute::decode(value.message(field)?)?),
                _ => {}
            }
            Ok(())
        })?;
        point.attributes = Attributes { from, to: all.len() };
        Ok(point)
    }
}

impl HistogramPoint {
    fn decode<'a>(bytes: &'a [u8], all: &mut Vec<Attribute<'a>>) -> Result<Self, WireError> {
        let from = all.len();
        let mut time = UnixNanos::NONE;
        let mut histogram = Histogram {
            scale: 0,
            min: f64::NEG_INFINITY,
            max: f64::INFINITY,
            ..Histogram::default()
        };
        each(bytes, |field, value| {
            let double = || value.fixed64(field).map(f64::from_bits);
            match field {
                1 => all.push(Attribute::decode(value.message(field)?)?),
                3 => time = UnixNanos(value.fixed64(field)?),
                4 => histogram.count = value.fixed64(field)?,
                5 => histogram.sum = double()?,
                6 => histogram.scale = zigzag(value.varint(field)?),
                7 => histogram.zeros = value.fixed64(field)?,
                8 => histogram.positive = buckets(value.message(field)?)?,
                9 => histogram.negative = buckets(value.message(field)?)?,
                12 => histogram.min = double()?,
                13 => histogram.max = double()?,
                14 => histogram.zero_threshold = double()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(Self {
            attributes: Attributes { from, to: all.len() },
            time,
            histogram: Arc::new(histogram),
        })
    }
}

impl<'a> Attribute<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut attribute = Self::default();
        each(bytes, |field, value| {
            match field {
                1 => attribute.key = value.text(field)?,
                2 => {
                    attribute.text = "";
                    each(value.message(field)?, |field, value| {
                        if field == 1 {
                            attribute.text = value.text(field)?;
                        }
                        Ok(())
                    })?;
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(attribute)
    }
}

fn buckets(bytes: &[u8]) -> Result<Buckets, WireError> {
    let mut buckets = Buckets::default();
    let add = |counts: &mut Vec<u64>, count: u64| {
        if counts.len() <= BUCKETS {
            counts.push(count);
        }
    };
    each(bytes, |field, value| {
        match (field, value) {
            (1, _) => buckets.offset = zigzag(value.varint(field)?),
            (2, Value::Bytes(mut packed)) => {
                // The last byte of each number has no high bit.
                let count = packed.iter().filter(|byte| **byte < 0x80).count();
                buckets.counts.reserve_exact(count.min(BUCKETS + 1));
                while !packed.is_empty() {
                    add(&mut buckets.counts, varint(&mut packed)?);
                }
            }
            (2, _) => add(&mut buckets.counts, value.varint(field)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(buckets)
}

/// A field's value, as it is encoded.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    fn message(self, field: u32) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Fixed64(_) | Self::Fixed32 => Err(WireError::Type(field)),
        }
    }

    fn text(self, field: u32) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.message(field)?).map_err(WireError::Text)
    }

    fn varint(self, field: u32) -> Result<u64, WireError> {
        match self {
            Self::Varint(number) => Ok(number),
            Self::Bytes(_) | Self::Fixed64(_) | Self::Fixed32 => Err(WireError::Type(field)),
        }
    }

    fn fixed64(self, field: u32) -> Result<u64, WireError> {
        match self {
            Self::Fixed64(bits) => Ok(bits),
            Self::Varint(_) | Self::Bytes(_) | Self::Fixed32 => Err(WireError::Type(field)),
        }
    }
}

/// Calls a function for each field of a message.
fn each<'a>(
    mut bytes: &'a [u8],
    mut of: impl FnMut(u32, Value<'a>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let field = u32::try_from(key >> 3).map_err(|_| WireError::Number)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => Value::Fixed64(fixed64(&mut bytes)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| WireError::Number)?;
                Value::Bytes(taken(&mut bytes, length)?)
            }
            5 => {
                taken(&mut bytes, 4)?;
                Value::Fixed32
            }
            // Groups, which this version of the language does not have.
            _ => return Err(WireError::Type(field)),
        };
        of(field, value)?;
    }
    Ok(())
}

/// Takes this many bytes off the front.
fn taken<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], WireError> {
    let (front, rest) = bytes.split_at_checked(length).ok_or(WireError::Truncated)?;
    *bytes = rest;
    Ok(front)
}

fn fixed64(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let (front, rest) = bytes.split_first_chunk().ok_or(WireError::Truncated)?;
    *bytes = rest;
    Ok(u64::from_le_bytes(*front))
}

/// Nearly all numbers take one byte: the keys of fields, lengths, and most counts.
#[inline]
fn varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    match bytes.split_first() {
        Some((byte, rest)) if *byte < 0x80 => {
            *bytes = rest;
            Ok(u64::from(*byte))
        }
        _ => long_varint(bytes),
    }
}

fn long_varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(WireError::Truncated)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Ok(number);
        }
    }
    Err(WireError::Number)
}

/// A `sint32`.
fn zigzag(number: u64) -> i32 {
    let number = number as u32;
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests;
