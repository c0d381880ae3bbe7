//! Amounts in the units that records and the engine have them in.

use ncaas_core::quantity;

/// A length of time in whole seconds, at least one.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    quantity::parse_duration(text).map(|time| time.as_secs_f64().ceil() as u64)
}

/// A number of processors, `0.5` for half of one.
pub(crate) fn cpus(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(cpus) if (0.01..1e6).contains(&cpus) => Ok(cpus),
        _ => Err(format!("`{text}` is no number of processors: write for example `2` or `0.5`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_second_is_one() {
        assert_eq!(seconds("0.2"), Ok(1));
        assert_eq!(seconds("90s"), Ok(90));
    }

    #[test]
    fn processors_may_be_parts_of_one() {
        assert_eq!(cpus("0.5"), Ok(0.5));
        assert!(cpus("0").is_err() && cpus("two").is_err());
    }
}
