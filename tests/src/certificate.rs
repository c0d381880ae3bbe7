//! Reads a certificate as the platform's client reads it.

/// A dataset's line in the certificate.
#[derive(Debug)]
pub struct CertificateLine {
    /// The match of the client's `DATANAME: (.*?) |`: up to the first space.
    pub found: String,
    /// The dataset's key.
    pub dataname: String,
    /// `INITIALIZING`, `IN PROGRESS`, `SUCCESS` or `FAILED`.
    pub status: String,
    /// As it is written.
    pub time: String,
    /// The last line of output.
    pub last_command: String,
    /// In percent of one CPU, as text.
    pub cpu: String,
}

/// Reads a certificate as the platform's client does: by position between the only two dividers.
pub fn parse_certificate(text: &str) -> Vec<CertificateLine> {
    let lines: Vec<&str> = text.split('\n').collect();
    let dividers: Vec<usize> = (0..lines.len()).filter(|&at| lines[at] == "================").collect();
    assert_eq!(dividers.len(), 2, "{text}");
    let line = |line: &&str| {
        let fields: Vec<&str> = line.split(" | ").collect();
        assert_eq!(fields.len(), 5, "{line}");
        let value = |at: usize, name: &str| {
            fields[at].strip_prefix(name).unwrap_or_else(|| panic!("no {name} in {line}")).to_owned()
        };
        CertificateLine {
            found: line.strip_prefix("DATANAME: ").unwrap().split(' ').next().unwrap().to_owned(),
            dataname: value(0, "DATANAME: "),
            status: value(1, "STATUS: "),
            time: value(2, "TIME: "),
            last_command: value(3, "LAST COMMAND: "),
            cpu: value(4, "CPU_USAGE: "),
        }
    };
    lines[dividers[0] + 1..dividers[1]].iter().map(line).collect()
}

/// The certificate's dataset lines, found as the platform's client finds them: by position between the dividers.
pub fn certificate_dataset_lines(certificate: &str) -> Vec<&str> {
    let lines: Vec<&str> = certificate.split('\n').collect();
    let dividers: Vec<usize> = (0..lines.len()).filter(|&at| lines[at] == "================").collect();
    assert_eq!(dividers.len(), 2, "{certificate}");
    lines[dividers[0] + 1..dividers[1]].to_vec()
}
