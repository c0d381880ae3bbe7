//! Reading a certificate: how each dataset fares, as the platform's own readers find it, by position between the dividers.

/// A line of exactly sixteen of these divides the certificate's head from the rest.
const DIVIDER: &str = "================";

/// What a certificate says of one dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) dataset: String,
    pub(crate) status: String,
    pub(crate) last_command: String,
}

/// The datasets' lines, in their order.
pub(crate) fn lines(certificate: &str) -> Vec<Line> {
    let mut lines = certificate.lines();
    lines.by_ref().take_while(|line| *line != DIVIDER).for_each(drop);
    lines.take_while(|line| *line != DIVIDER).filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Line> {
    let (dataset, rest) = line.strip_prefix("DATANAME: ")?.split_once(" | STATUS: ")?;
    let (status, rest) = rest.split_once(" | TIME: ")?;
    let last_command = rest.split_once(" | LAST COMMAND: ").map_or("", |(_, rest)| rest);
    let last_command = last_command.rsplit_once(" | CPU_USAGE: ").map_or(last_command, |(command, _)| command);
    Some(Line { dataset: dataset.to_owned(), status: status.to_owned(), last_command: last_command.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_datasets_stand_between_the_dividers() {
        let certificate = "PER ENVIRONMENT MONITORING:\n================\n\
            DATANAME: lab/inputs/a.npy | STATUS: IN PROGRESS | TIME: 2026_11_22_10_24_55 | LAST COMMAND: a | b | CPU_USAGE: 97.2\n\
            DATANAME: lab/inputs/b.npy | STATUS: SUCCESS | TIME: 2026_11_22_10_24_55 (finished) | LAST COMMAND: N/A | CPU_USAGE: N/A\n\
            ================\nDATANAME: not one | STATUS: X | TIME: y\n";
        let lines = lines(certificate);
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].status.as_str(), lines[0].last_command.as_str()), ("IN PROGRESS", "a | b"));
        assert_eq!((lines[1].dataset.as_str(), lines[1].status.as_str()), ("lab/inputs/b.npy", "SUCCESS"));
    }

    #[test]
    fn what_is_no_certificate_has_no_lines() {
        assert!(lines("").is_empty() && lines("================").is_empty() && lines("x\ny").is_empty());
    }
}
