//! How types of the machine stand in the history. Its format does not change: a status that an older operator wrote
//! must be read.

/// An enum of two cases as a boolean.
pub(super) mod flag {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Copy + Into<bool>, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        (*value).into().serialize(to)
    }

    pub fn deserialize<'de, T: From<bool>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        bool::deserialize(from).map(T::from)
    }
}

/// A duration as a whole number of seconds.
pub(super) mod seconds {
    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &SignedDuration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(duration.as_secs())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SignedDuration, D::Error> {
        u32::deserialize(from).map(|seconds| SignedDuration::from_secs(seconds.into()))
    }

    /// The same of a duration that may be absent.
    pub mod option {
        use jiff::SignedDuration;
        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        pub fn serialize<S: Serializer>(duration: &Option<SignedDuration>, to: S) -> Result<S::Ok, S::Error> {
            duration.map(|duration| duration.as_secs()).serialize(to)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SignedDuration>, D::Error> {
            let seconds: Option<u32> = Option::deserialize(from)?;
            Ok(seconds.map(|seconds| SignedDuration::from_secs(seconds.into())))
        }
    }
}

/// Says which case of an enum of two stands as which boolean.
macro_rules! stored_as_flag {
    ($type:ident { false: $off:ident, true: $on:ident }) => {
        impl From<bool> for $type {
            fn from(is_on: bool) -> Self {
                if is_on { Self::$on } else { Self::$off }
            }
        }

        impl From<$type> for bool {
            fn from(value: $type) -> Self {
                value == $type::$on
            }
        }
    };
}
pub(super) use stored_as_flag;
